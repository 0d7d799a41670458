package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// hostile are texts that run, break out or break the page where a page takes
// text for something else.
var hostile = []string{
	`<script>window.hacked=1</script>`,
	`<img src=x onerror="window.hacked=1">`,
	`<svg onload=window.hacked=1>`,
	`"><script>window.hacked=1</script>`,
	`javascript:window.hacked=1`,
	`</bdi></td></tr></table><iframe srcdoc="<script>parent.hacked=1</script>">`,
	`<math><mtext><table><mglyph><style><img src=x onerror=window.hacked=1>`,
	`{{constructor.constructor('window.hacked=1')()}}`,
	`${window.hacked=1}`,
	`<a href="javascript:window.hacked=1">x</a>`,
	`<meta http-equiv=refresh content="0;url=https://evil.test/">`,
	`<base href="https://evil.test/">`,
	`<link rel=stylesheet href="https://evil.test/x.css">`,
	`<style>body{display:none}</style>`,
	`<details open ontoggle=window.hacked=1>`,
	"<input autofocus onfocus=window.hacked=1>",
	"\u202egnp.exe\u202c \u2066x\u2069",
	"مرحبا بالعالم 123 <b>",
	"Z̡͊͠͝a̴l̵g̶o" + strings.Repeat("\u0301", 60),
	strings.Repeat("W", 4000),
	strings.Repeat("👩‍👩‍👧‍👦", 300),
	"line\nline\r\nline\ttab",
	"&lt;b&gt;&amp;&#x3c;script&#x3e;",
	`\u003cscript\u003ewindow.hacked=1\u003c/script\u003e`,
	"'-window.hacked--'", "`;window.hacked=1;`",
}

// harmless fails the test if a text did more than be shown.
func (w *tab) harmless(where string) {
	w.tb.Helper()
	if eval[bool](w, `"hacked" in window`) {
		w.tb.Errorf("%s: a script ran", where)
	}
	if wide := eval[int](w, "document.scrollingElement.scrollWidth - innerWidth"); wide > 0 {
		w.tb.Errorf("%s: the page is %d pixels wider than the window", where, wide)
	}
	if n := eval[int](w, `document.querySelectorAll("main :is(script, img, iframe, math, style, link, meta, base, video, [onload], [onerror], [ontoggle], [onfocus])").length`); n > 0 {
		w.tb.Errorf("%s: %d elements came from a text", where, n)
	}
}

// hostileID makes an id of a text.
func hostileID(i int, text string) string {
	id := strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, text)
	if r := []rune(id); len(r) > 200 {
		id = string(r[:200])
	}
	return fmt.Sprint(i, id)
}

func testHostileTexts(t *testing.T, b *browser) {
	p := face(t, "APP_NAME=<b>Inbox</b>\"><script>window.hacked=1</script>")
	w := b.open(t, p.url(""), "/?view=live")
	w.live("live")
	var want []string
	for i, text := range hostile {
		store(t, p, [4]string{hostileID(i, text), fmt.Sprintf("+9198%08d", i), fmt.Sprintf("2025-01-15T10:00:%02dZ", i), text})
		want = append(want, hostile[len(hostile)-1-i])
	}
	const liveTexts = `JSON.stringify([...document.querySelectorAll(".live td.text")].map(e => e.textContent))`
	w.await(liveTexts + ` === JSON.stringify(` + quoteAll(want) + `)`)
	w.harmless("live")
	for _, width := range []int64{1300, 390} {
		w.size(width, 844)
		w.goTo("/")
		w.rows(want...)
		w.harmless(fmt.Sprint("the list at ", width))
		for i := range hostile {
			if i%2 == 0 == (width < 1000) {
				continue // half of them at each width
			}
			w.run(focus(fmt.Sprintf(".messages tbody tr:nth-child(%d) a", i+1)))
			w.press("Enter")
			w.await(fmt.Sprintf(`document.querySelector("dialog[open] .full bdi")?.textContent === %s`, quote(want[i])))
			w.press("Escape")
			w.await(`!document.querySelector("dialog[open]")`)
		}
		w.harmless(fmt.Sprint("the details at ", width))
	}
	if title := eval[string](w, "document.querySelector('h1').textContent"); !strings.HasPrefix(title, "<b>Inbox</b>") {
		t.Errorf("the page is called %q", title)
	}
	// From an address that somebody was given.
	w.allow("404", "422")
	for _, text := range []string{hostile[0], hostile[3]} {
		value := url.QueryEscape(text)
		for _, path := range []string{
			"/?message=" + value, "/?q=" + value + "&from=" + value + "&to=" + value + "&source=" + value,
			"/?view=charts&bucket=" + value + "&from=" + value, "/?view=" + value + "&since=" + value + "&until=" + value, "/?view=live&q=" + value,
		} {
			w.goTo(path)
			switch {
			case strings.Contains(path, "charts"):
				w.awaitText("#timeline .notice", "No message matches these filters.")
			case strings.Contains(path, "live"):
				w.live("live")
			case strings.Contains(path, "?message"):
				w.await(`document.querySelector("dialog[open] .fault")?.textContent.startsWith("There is no such message")`)
			default:
				w.await(`document.querySelector(".notice:not([hidden])")`)
			}
			w.harmless(path)
		}
	}
}

// testHostileSenders has what others than the native format and its texts bring
// into pages: WhatsApp's names, ids, statuses and raw data, and what of a refused
// request its reason repeats.
func testHostileSenders(t *testing.T, b *browser) {
	p := face(t, "WHATSAPP_APP_SECRET="+appSecret)
	w := b.open(t, p.url(""), "/?view=health")
	client := newClient(t, 1)
	var refused []string
	for i, text := range hostile[:8] {
		if status, answer := postWhatsApp(client, p.url("/webhook"), whatsAppDelivery(hostileID(i, text), text, text, text, time.Unix(1749416383, 0))); status != 200 {
			t.Fatalf("%q is answered %d %s", text, status, answer)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/webhook/"+url.PathEscape(text)), strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Request-ID", text)
		r.Header.Set("Content-Type", text)
		if status, answer := do(client, r); status != 404 {
			t.Fatalf("%q is answered %d %s", text, status, answer)
		}
		refused = append(refused, text)
	}
	w.await(fmt.Sprintf(`document.querySelectorAll("#refused tbody tr").length === %d`, len(refused)))
	reasons := strings.Join(w.texts("#refused .r-reason"), "\n")
	if !strings.Contains(reasons, "<script>") {
		t.Errorf("the reasons repeat nothing of the requests: %s", reasons)
	}
	w.harmless("refused deliveries")
	w.size(390, 844)
	w.harmless("refused deliveries on a phone")
	for i, text := range hostile[:8] {
		w.goTo("/?message=" + url.QueryEscape(hostileID(i, text)) + "&message_source=whatsapp")
		w.awaitText("dialog[open] .full", text)
		w.await(`document.querySelectorAll("dialog[open] table tbody tr").length === 2`)
		w.await(`JSON.parse(document.querySelector("dialog[open] pre").textContent).messages[0].text.body === ` + quote(text))
		w.harmless("a message of WhatsApp's")
	}
	w.goTo("/?view=charts")
	w.await(whole["/?view=charts"])
	w.harmless("charts")
}
