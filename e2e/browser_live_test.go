package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// liveIDs returns the ids of the rows in the live view, the newest first.
const liveIDs = `[...document.querySelectorAll(".live tbody tr")].map(r => r.dataset.id)`

// arrivals waits until the live view shows messages with these ids, from the top.
func (w *tab) arrivals(ids ...string) {
	w.tb.Helper()
	w.await(fmt.Sprintf(`(%s).join(" ") === %s`, liveIDs, quote(strings.Join(ids, " "))))
}

// live waits until the live view is in a state.
func (w *tab) live(state string) {
	w.tb.Helper()
	w.await(`document.querySelector("#live-status")?.dataset.state === ` + quote(state))
}

// view goes to another view by its link.
func (w *tab) view(name string) {
	w.tb.Helper()
	w.click(fmt.Sprintf(`#views a:nth-child(%d)`, 1+slices.Index([]string{"messages", "live", "charts", "health"}, name)))
	w.await(`document.querySelector("#views [aria-current]")?.textContent.toLowerCase() === ` + quote(name))
}

func testLive(t *testing.T, b *browser) {
	const one, other = "+919876543210", "+14155550001"
	at := func(minute int) string { return fmt.Sprintf("2025-01-15T10:%02d:00Z", minute) }
	p := face(t)
	store(t, p, [4]string{"before", one, at(0), "was there before"})
	w := b.open(t, p.url(""), "/?view=live")
	w.live("live")
	w.awaitText("#live-count", "0 arrived")
	store(t, p, [4]string{"m1", one, at(2), "The parcel is late"}, [4]string{"m2", other, at(1), "sent before, stored after"})
	w.arrivals("m2", "m1")
	w.awaitText("#live-count", "2 arrived")

	w.press("p")
	w.live("paused")
	w.awaitText("#pause", "Resume")
	store(t, p, [4]string{"m3", one, at(3), "PARCEL again"})
	w.click("#pause")
	w.live("live")
	w.awaitText("#pause", "Pause")
	w.arrivals("m3", "m2", "m1")

	// Elsewhere for a while, which loses none.
	w.view("messages")
	w.awaitText(count, "4 messages")
	store(t, p, [4]string{"m4", other, at(4), "Parcels, parcels"})
	w.view("live")
	w.arrivals("m4", "m3", "m2", "m1")

	// The filters choose among what has arrived.
	w.press("/")
	w.insert("parcel")
	w.arrivals("m4", "m3", "m1")
	w.awaitText("#live-count", "4 arrived, 3 match")
	store(t, p, [4]string{"m5", one, at(5), "nothing of it"}, [4]string{"m6", one, at(6), "one parcel more"})
	w.arrivals("m6", "m4", "m3", "m1")
	w.awaitText("#live-count", "6 arrived, 4 match")
	w.write("#f-from", other)
	w.arrivals("m4")
	w.choose("#f-source", "whatsapp")
	w.arrivals()
	w.awaitText("#live-notice", "None of what has arrived matches these filters.")
	w.click(".filters .quiet")
	w.arrivals("m6", "m5", "m4", "m3", "m2", "m1")

	w.click(`.live tr[data-id="m2"] td.text`)
	w.awaitText("dialog[open] .full", "sent before, stored after")
	w.press("Escape")
	w.await(`!document.querySelector("dialog[open]") && location.search === "?view=live"`)

	w.click("#clear")
	w.arrivals()
	store(t, p, [4]string{"m7", one, at(7), "after all"})
	w.arrivals("m7")
	w.awaitText("#live-count", "1 arrived")
}

// testLiveRestart ends the server twice while messages are sent: once so that it
// can end what it does, once by force. Each message that was acknowledged is in
// the live view once, in the order in which they were stored.
func testLiveRestart(t *testing.T, b *browser) {
	const senders, each, rounds = 3, 30, 3
	database := filepath.Join(t.TempDir(), "app.db")
	p := start(t, database)
	_, port, _ := strings.Cut(p.address, ":")
	to := p.url("/webhook")
	w := b.open(t, p.url(""), "/?view=live")
	w.live("live")
	// What chromium says when a server goes away, and is away.
	w.allow("net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "net::ERR_EMPTY_RESPONSE")

	var sent []string
	for round := range rounds {
		var acknowledged atomic.Int64
		var halfway sync.WaitGroup // until half of them are acknowledged
		halfway.Add(senders * each / 2)
		var wg sync.WaitGroup
		for sender := range senders {
			client := newClient(t, 1)
			wg.Go(func() {
				for i := range each {
					send(t, client, to, fmt.Sprintf("r%d-%d-%d", round, sender, i))
					if acknowledged.Add(1) <= senders*each/2 {
						halfway.Done()
					}
				}
			})
			for i := range each {
				sent = append(sent, fmt.Sprintf("r%d-%d-%d", round, sender, i))
			}
		}
		halfway.Wait()
		switch round {
		case 0:
			if code, _ := p.terminate(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			p = start(t, database, "PORT="+port)
		case 1:
			p.kill()
			p = start(t, database, "PORT="+port)
		}
		wg.Wait()
		w.await(fmt.Sprintf(`document.querySelectorAll(".live tbody tr").length >= %d`, len(sent)))
		w.live("live")
	}

	_, answer := get(t, p.url("/feed?limit=1000&after="))
	var feed struct {
		Data []struct {
			ID string `json:"message_id"`
		}
	}
	if err := json.Unmarshal(answer, &feed); err != nil {
		t.Fatal(err)
	}
	var stored []string
	for _, m := range feed.Data {
		stored = append(stored, m.ID)
	}
	shown := eval[[]string](w, liveIDs)
	slices.Reverse(shown)
	if !slices.Equal(shown, stored) {
		t.Errorf("there are %d rows, in another order than %d messages were stored:\n%q\n%q", len(shown), len(stored), shown, stored)
	}
	slices.Sort(stored)
	slices.Sort(sent)
	if !slices.Equal(stored, sent) {
		t.Errorf("%d messages are stored of %d that were acknowledged", len(stored), len(sent))
	}
}

// send sends a message until it is acknowledged.
func send(t *testing.T, client *http.Client, to, id string) {
	text := "text of " + id
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); ; <-again.C {
		status, answer := post(client, to, body(id, "+919876543210", "2025-01-15T10:00:00Z", &text))
		if status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is not acknowledged: %d %s", id, status, answer)
			return
		}
	}
}

// testNews offers what has arrived since the list was made.
func testNews(t *testing.T, b *browser) {
	p := face(t)
	threeMessages(t, p)
	w := b.open(t, p.url(""), "/?from="+url.QueryEscape("+14155550001"))
	w.rows("École à Paris")
	// asked waits until so many questions after the first are answered: that one says
	// where the feed ends.
	asked := func(begins string, n int) {
		t.Helper()
		w.await(fmt.Sprintf(`performance.getEntriesByType("resource").filter(e => e.responseEnd > 0 && e.name.includes("/feed?after=%s")).length >= %d`, begins, n))
	}
	asked("latest", 1)
	store(t, p, [4]string{"m4", "+919876543210", "2025-01-18T10:00:00Z", "of another sender"})
	asked("", 2)
	if !eval[bool](w, `document.querySelector("#news").hidden`) {
		t.Error("a message is announced that does not match")
	}
	store(t, p, [4]string{"m5", "+14155550001", "2025-01-14T10:00:00Z", "sent long ago"})
	w.await(`!document.querySelector("#news").hidden`)
	w.rows("École à Paris")
	w.click("#news")
	w.rows("École à Paris", "sent long ago")
	w.awaitText(count, "2 messages")
	w.await(`document.querySelector("#news").hidden && document.activeElement === document.querySelector(".messages tbody a")`)
}
