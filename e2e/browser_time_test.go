package e2e

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
)

// testZone shows times in UTC, and in the zone of whoever looks if he wants.
func testZone(t *testing.T, b *browser) {
	p := face(t)
	store(t, p,
		[4]string{"m1", "+919876543210", "2025-01-15T10:00:00Z", "by day"},
		[4]string{"m2", "+919876543210", "2025-01-15T22:30:00Z", "the next day in India"},
		[4]string{"m3", "+919876543210", "2025-01-16T04:30:00.250Z", "with a fraction"})
	w := b.open(t, p.url(""), "")
	w.run(call(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kolkata"}))
	w.goTo("/?since=2025-01-15T06:00:00Z&until=2025-01-16T18:00:00Z")
	shown := func(since string, times ...string) {
		t.Helper()
		for i, text := range times {
			w.await(`document.querySelectorAll(".messages td.at time")[` + string(rune('0'+i)) + `]?.textContent === ` + quote(text))
		}
		w.await(`document.querySelector("#f-since").value.startsWith(` + quote(since) + `)`)
	}
	utc := []string{"2025-01-16 04:30:00", "2025-01-15 22:30:00", "2025-01-15 10:00:00"}
	local := []string{"2025-01-16 10:00:00", "2025-01-16 04:00:00", "2025-01-15 15:30:00"}
	shown("2025-01-15T06:00", utc...)
	w.awaitText("#zone", "UTC")
	w.click("#zone")
	shown("2025-01-15T11:30", local...)
	w.await(`/^Asia.(Kolkata|Calcutta)$/.test(document.querySelector("#zone").textContent)`)
	if got, want := w.address(), "/?since=2025-01-15T06:00:00Z&until=2025-01-16T18:00:00Z"; got != want {
		t.Errorf("another zone makes another address: %s, want %s", got, want)
	}
	// What is chosen is meant in that zone, and the zone is remembered.
	w.run(script(`{ const f = document.querySelector("#f-since"); f.value = "2025-01-16T04:00"; f.dispatchEvent(new Event("change", { bubbles: true })); }`))
	w.await(`new URLSearchParams(location.search).get("since") === "2025-01-15T22:30:00Z"`)
	w.rows("with a fraction", "the next day in India")
	w.goTo("/?message=m2")
	w.awaitText("dialog[open] dd time", "2025-01-16 04:00:00")
	w.press("Escape")
	w.view("live")
	w.live("live")
	store(t, p, [4]string{"m4", "+919876543210", "2025-01-15T20:00:00Z", "live"})
	w.awaitText(".live td.at time", "2025-01-16 01:30:00")
	w.click("#zone")
	w.awaitText(".live td.at time", "2025-01-15 20:00:00")

	// Charts by hour are in that zone, days are those of UTC.
	w.goTo("/?view=charts&bucket=hour")
	w.chart("hour")
	w.await(`document.querySelector("#timeline-note").textContent.startsWith("By hour, UTC.")`)
	w.click("#timeline-table summary")
	w.awaitText("#timeline-table tbody td", "2025-01-15 10:00–11:00")
	w.click("#zone")
	w.awaitText("#timeline-table tbody td", "2025-01-15 15:30–16:30")
	w.choose("#bucket", "day")
	w.chart("day")
	w.await(`document.querySelector("#timeline-note").textContent.startsWith("By day, days of UTC.")`)
	w.awaitText("#timeline-table tbody td", "2025-01-15")
}
