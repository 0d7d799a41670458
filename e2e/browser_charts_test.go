package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// pixels counts the pixels of the first canvas that a selector names: it is an
// expression of how many have colour, and how many have one colour.
func pixels(selector, colour string) string {
	return fmt.Sprintf(`(() => {
		const c = document.querySelector(%s), [r, g, b] = [1, 3, 5].map(i => parseInt(%s.slice(i, i + 2), 16));
		const copy = new OffscreenCanvas(c.width, c.height).getContext("2d", { willReadFrequently: true });
		copy.drawImage(c, 0, 0);
		const d = copy.getImageData(0, 0, c.width, c.height).data;
		let all = 0, those = 0;
		for (let i = 0; i < d.length; i += 4) {
			if (d[i + 3] === 0) continue;
			all++;
			if (d[i] === r && d[i + 1] === g && d[i + 2] === b) those++;
		}
		return [all, those];
	})()`, quote(selector), quote(colour))
}

// drag draws the mouse over an element, from one part of its width to another.
func (w *tab) drag(selector string, from, to float64) {
	w.tb.Helper()
	box := eval[[]float64](w, fmt.Sprintf(`(() => {
		const e = document.querySelector(%s);
		e.scrollIntoView({ block: "center" });
		const r = e.getBoundingClientRect();
		return [r.left, r.top, r.width, r.height];
	})()`, quote(selector)))
	x := func(part float64) float64 { return box[0] + part*box[2] }
	y := box[1] + box[3]/2
	left := func(p *input.DispatchMouseEventParams) {
		p.Button, p.Buttons, p.ClickCount = input.MouseButtonLeft, 1, 1
	}
	w.run(
		chromedp.MouseEvent(chromedp.MouseMoved, x(from), y),
		chromedp.MouseEvent(chromedp.MousePressed, x(from), y, left),
		chromedp.MouseEvent(chromedp.MouseMoved, x((from+to)/2), y, left),
		chromedp.MouseEvent(chromedp.MouseMoved, x(to), y, left),
		chromedp.MouseEvent(chromedp.MouseReleased, x(to), y, left),
	)
}

// chart waits until the messages over time are drawn by a bucket.
func (w *tab) chart(bucket string) {
	w.tb.Helper()
	w.await(`document.querySelector("#timeline[data-state=ready]:not([aria-busy])")?.dataset.bucket === ` + quote(bucket))
}

// stats returns what the API says of a part of the messages.
func stats(t *testing.T, p *process, query string) (s struct {
	Total   int `json:"total_messages"`
	Senders int `json:"senders_count"`
	Top     []struct {
		From  string
		Count int
	} `json:"messages_per_sender"`
}) {
	t.Helper()
	status, answer := get(t, p.url("/stats"+query))
	if err := json.Unmarshal(answer, &s); status != 200 || err != nil {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	return s
}

// figure waits until a figure of the charts has a value.
func (w *tab) figure(key string, value int) {
	w.tb.Helper()
	w.await(fmt.Sprintf(`document.querySelector("[data-key=%s] dd")?.textContent.replaceAll(",", "") === "%d"`, key, value))
}

func testCharts(t *testing.T, b *browser) {
	const light, dark = "#1554c0", "#8ab4ff" // of the bars
	database := filepath.Join(t.TempDir(), "app.db")
	runFill(t, database, "--count=3000", "--senders=40", "--start=2025-01-01T00:00:00Z", "--span=240h")
	p := start(t, database)
	all := stats(t, p, "")
	w := b.open(t, p.url(""), "/?view=charts")
	w.chart("hour")
	w.figure("messages", all.Total)
	w.figure("senders", all.Senders)
	const canvas = "#timeline canvas"
	// drawn waits until there are bars of a colour, and axes besides.
	drawn := func(colour string) {
		t.Helper()
		w.await(fmt.Sprintf(`(([all, those]) => those > 5000 && all > those + 500)(%s)`, pixels(canvas, colour)))
	}
	drawn(light)
	w.scheme("dark")
	drawn(dark)
	w.scheme("light")

	w.choose("#bucket", "day")
	w.chart("day")
	drawn(light)
	if got := w.address(); got != "/?view=charts&bucket=day" {
		t.Errorf("by day the address is %s", got)
	}
	w.click("#timeline-table summary")
	w.await(`document.querySelectorAll("#timeline-table tbody tr").length >= 10`)
	sum := 0
	for _, n := range w.texts("#timeline-table td.n") {
		i, err := strconv.Atoi(strings.ReplaceAll(n, ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		sum += i
	}
	if sum != all.Total {
		t.Errorf("the table has %d messages, want %d", sum, all.Total)
	}
	// A day of the table leads to its hours, as dragging does.
	w.click("#timeline-table tbody tr:nth-child(3) button")
	w.await(`location.search === "?view=charts&since=2025-01-03T00%3A00%3A00Z&until=2025-01-04T00%3A00%3A00Z"`)
	w.figure("messages", stats(t, p, "?since=2025-01-03T00:00:00Z&until=2025-01-04T00:00:00Z").Total)
	w.click("#zoom-out")
	w.await(`location.search === "?view=charts&bucket=day"`)
	w.chart("day")

	w.drag("#timeline .u-over", 0.45, 0.6)
	w.await(`location.search.includes("since=") && location.search.includes("until=") && !location.search.includes("bucket=")`)
	since, until := zoomed(t, w.address())
	if first, end := day(1), day(12); since.Before(first) || until.After(end) || until.Sub(since) < 24*time.Hour || until.Sub(since) > 5*24*time.Hour {
		t.Errorf("a part of ten days was drawn over, what is shown is from %v until %v", since, until)
	}
	w.chart("hour")
	query := url.Values{"since": {since.Format(time.RFC3339)}, "until": {until.Format(time.RFC3339)}}.Encode()
	w.figure("messages", stats(t, p, "?"+query).Total)
	w.drag("#timeline .u-over", 0.2, 0.3) // once more
	w.await(`!location.search.includes(` + quote(url.QueryEscape(since.Format(time.RFC3339))) + `)`)
	if s, u := zoomed(t, w.address()); s.Before(since) || u.After(until) || u.Sub(s) >= until.Sub(since)/2 {
		t.Errorf("a part of it leads to what is from %v until %v", s, u)
	}
	w.click("#zoom-out")
	w.await(`location.search === ` + quote("?view=charts&"+query))
	w.click("#zoom-out")
	w.await(`location.search === "?view=charts&bucket=day" && document.querySelector("#zoom-out").disabled`)

	w.figure("messages", all.Total)
	top := all.Top[0]
	if got := w.texts("#senders tbody th"); len(got) != len(all.Top) || got[0] != top.From {
		t.Errorf("the top senders are %q", got)
	}
	w.click("#senders tbody a")
	w.await(`new URLSearchParams(location.search).get("from") === ` + quote(top.From))
	w.figure("messages", top.Count)
	w.figure("senders", 1)

	// None of these came through the server; what does, is counted by its delay.
	w.await(`document.querySelector("#delay .note")?.textContent.startsWith("No message has been stored since")`)
	now := time.Now().UTC()
	for i, ago := range []time.Duration{0, time.Minute, 2 * time.Hour} {
		store(t, p, [4]string{fmt.Sprint("late", i), "+4915112345678", now.Add(-ago).Format(time.RFC3339), "late"})
	}
	w.goTo("/?view=charts&from=%2B4915112345678")
	w.await(`[...document.querySelectorAll("#delay .bars td.n")].reduce((n, e) => n + parseInt(e.textContent), 0) === 3`)
	if bars := eval[int](w, `document.querySelectorAll("#delay .length-bar").length`); bars != 3 {
		t.Errorf("three delays are shown by %d bars", bars)
	}
	w.goTo("/?view=charts&from=nobody")
	w.awaitText("#timeline .notice", "No message matches these filters.")
	if got := w.texts("#senders .note"); len(got) != 1 || got[0] != "None." {
		t.Errorf("without messages the senders are %q", got)
	}
}

func day(n int) time.Time { return time.Date(2025, time.January, n, 0, 0, 0, 0, time.UTC) }

// zoomed returns the times that an address has.
func zoomed(t *testing.T, address string) (since, until time.Time) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]*time.Time{"since": &since, "until": &until} {
		if *at, err = time.Parse(time.RFC3339, u.Query().Get(name)); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
	}
	return since, until
}
