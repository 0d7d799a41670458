package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// whole has, for each view by its address, what tells that all of it is there.
var whole = map[string]string{
	"/":             `document.querySelector(".messages tbody tr") && /^[0-9]/.test(document.querySelector(".count").textContent)`,
	"/?message=m1":  `document.querySelector("dialog[open] code.id")`,
	"/?q=nothing":   `document.querySelector(".notice:not([hidden])") && document.querySelector(".count").textContent === "0 messages"`,
	"/?view=live":   `document.querySelector("#live-status")?.dataset.state === "live"`,
	"/?view=charts": `document.querySelector("#timeline[data-state=ready]:not([aria-busy])") && document.querySelector("#delay .bars") && document.querySelector("#senders .bars")`,
	"/?view=health": `document.querySelector("#refused tbody tr") && document.querySelectorAll("#health canvas").length === 3`,
	"/sign-in":      `document.querySelector("#token")`,
}

// comes goes to a view and waits until all of it is there.
func (w *tab) comes(path string) {
	w.tb.Helper()
	w.goTo(path)
	w.await(whole[path])
}

// controls are all that can be used of a page, or of the dialog that is open.
const controls = `[...(document.querySelector("dialog[open]") ?? document).querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")]
	.filter(e => !e.disabled && e.checkVisibility({ visibilityProperty: true }) && !(e.closest("details:not([open])") && e.tagName !== "SUMMARY"))`

// nameOf names a control.
const nameOf = `(e => e.tagName.toLowerCase() + (e.id && "#" + e.id) + (e.className && "." + e.className) + " " + (e.getAttribute("aria-label") ?? e.textContent).trim().slice(0, 30))`

// testPhone: on a phone nothing is wider than the screen, and each control can be
// seen, is above all else and large enough for a finger. A row is opened by a tap
// anywhere on it, and what stands in a sentence is as high as that.
func testPhone(t *testing.T, b *browser) {
	p, open, closed := windows(t, b)
	for path := range whole {
		w := open
		if path == "/sign-in" {
			w = closed
		}
		w.run(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
		w.comes(path)
		if strings.HasSuffix(path, "live") {
			store(t, p, [4]string{"live", "+919876543210", "2025-01-15T10:00:00Z", hostile[len(hostile)-1]})
			w.arrivals("live")
		}
		if wide := eval[int](w, `Math.max(innerWidth, document.scrollingElement.scrollWidth)`); wide != 390 {
			t.Errorf("%s is %d pixels wide", path, wide)
		}
		found := eval[[]string](w, `(() => {
			const fold = document.querySelector(".filters:not([hidden]) .toggle[aria-expanded=false]");
			if (fold && !document.querySelector("dialog[open]")) fold.click();
			const wrong = [];
			for (const e of `+controls+`) {
				if (e.matches(".skip")) continue;
				e.scrollIntoView({ block: "center", inline: "nearest" });
				const r = e.getBoundingClientRect(), name = `+nameOf+`(e);
				const x = r.left + r.width / 2, y = r.top + r.height / 2;
				const top = document.elementFromPoint(x, y);
				if (r.left < 0 || r.right > innerWidth) wrong.push(name + " is outside of the screen");
				else if (!top || !e.contains(top) && !top.contains(e)) wrong.push(name + " is below " + (top && top.outerHTML.slice(0, 80)));
				if ((r.width < 24 || r.height < 24) && !e.closest("p, tr[data-id]")) wrong.push(name + " has " + r.width.toFixed(1) + " by " + r.height.toFixed(1) + " pixels");
			}
			return wrong;
		})()`)
		for _, f := range found {
			t.Errorf("%s: %s", path, f)
		}
	}
	// With a finger: the filters, which stay as they are left, and a row.
	w := open
	w.comes("/")
	unfolded := func(want bool) {
		t.Helper()
		w.await(fmt.Sprintf(`document.querySelector("#f-from").checkVisibility() === %t`, want))
	}
	unfolded(false)
	w.run(chromedp.Tap(chromedp.CSS(".toggle")))
	unfolded(true)
	w.goTo("/?to=%2B14155550100")
	w.await(whole["/"])
	unfolded(true) // nobody filters without seeing it
	w.run(chromedp.Tap(chromedp.CSS(".toggle")))
	unfolded(false)
	w.run(chromedp.Tap(chromedp.CSS(".messages tbody tr:nth-child(2) td.text")))
	w.await(`document.querySelector("dialog[open] code.id")`)
	w.run(chromedp.Tap(chromedp.CSS("dialog[open] .close")))
	w.await(`!document.querySelector("dialog[open]")`)
	unfolded(false)
}

// testKeyboard reaches all there is with the keyboard alone, and sees where it is.
func testKeyboard(t *testing.T, b *browser) {
	_, open, closed := windows(t, b)
	for path := range whole {
		w := open
		if path == "/sign-in" {
			w = closed
		}
		w.comes(path)
		want := eval[[]string](w, controls+".map("+nameOf+")")
		var got []string
		for len(got) < len(want) {
			if len(got) > 0 || !strings.Contains(path, "message=") && path != "/sign-in" { // they begin with the focus on the first
				w.press("Tab")
			}
			at := eval[[]string](w, `(() => {
				const e = document.activeElement, s = getComputedStyle(e);
				return [`+nameOf+`(e), s.outlineStyle + " " + s.outlineWidth, String(e.matches(":focus-visible"))];
			})()`)
			if strings.HasPrefix(at[0], "body") {
				break
			}
			got = append(got, at[0])
			if strings.HasPrefix(at[1], "none") || strings.HasSuffix(at[1], " 0px") || at[2] != "true" {
				t.Errorf("%s: nobody sees that the focus is on %s: %s", path, at[0], at[1])
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: with the keyboard one comes to\n%q, want\n%q", path, got, want)
		}
	}
	w := open
	w.comes("/")
	w.press("Tab")
	w.awaitText(":focus", "Skip to the content")
	if box := eval[[]float64](w, `(r => [r.width, r.height])(document.activeElement.getBoundingClientRect())`); box[0] < 24 || box[1] < 24 {
		t.Errorf("the link that skips has %v pixels", box)
	}
	w.press("Enter")
	w.await(`document.activeElement.id === "main"`)
	w.press("Tab")
	w.await(`document.activeElement.id === "f-search"`)
	w.await(whole["/"])
}

// windows opens a window on a server with some of all that can be shown, and one on
// a server that asks for a token.
func windows(t *testing.T, b *browser) (p *process, open, closed *tab) {
	t.Helper()
	p = everything(t)
	return p, b.open(t, p.url(""), ""), b.open(t, face(t, "API_TOKEN=token-of-the-readers").url(""), "")
}

// everything is a server with some of all that can be shown.
func everything(t *testing.T) *process {
	t.Helper()
	p := face(t, "WHATSAPP_APP_SECRET="+appSecret)
	threeMessages(t, p)
	client := newClient(t, 1)
	if status, answer := postWhatsApp(client, p.url("/webhook"), whatsAppDelivery("wa1", "919876543210", "Asha", "from a phone", time.Unix(1749416383, 0))); status != 200 {
		t.Fatalf("WhatsApp is answered %d %s", status, answer)
	}
	if status, answer := postSigned(client, p.url("/webhook"), []byte("{}"), strings.Repeat("0", 64)); status != 401 {
		t.Fatalf("a wrong signature is answered %d %s", status, answer)
	}
	return p
}

// whatsAppDelivery is one of WhatsApp's with a message and what became of another
// of the same id.
func whatsAppDelivery(id, from, name, text string, at time.Time) []byte {
	later := func(seconds int64) int64 { return at.Unix() + seconds }
	id, from, name, text = quote(id), quote(from), quote(name), quote(text)
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messaging_product":"whatsapp",
		"metadata":{"display_phone_number":"15550783881","phone_number_id":"1"},
		"contacts":[{"profile":{"name":%s},"wa_id":%s}],
		"messages":[{"from":%s,"id":%s,"timestamp":"%d","type":"text","text":{"body":%s}}],
		"statuses":[{"id":%s,"status":"sent","timestamp":"%d","recipient_id":%s},{"id":%s,"status":"read","timestamp":"%d","recipient_id":%s}]}}]}]}`,
		name, from, from, id, later(0), text, id, later(7), from, id, later(16), from)
}
