package e2e

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
)

// testSignInPage signs in with a token and out again; the address that was asked
// for is gone on with.
func testSignInPage(t *testing.T, b *browser) {
	const token = "token-of-the-readers"
	p := face(t, "API_TOKEN="+token)
	store(t, p, [4]string{"m1", "+919876543210", "2025-01-15T10:00:00Z", "The parcel is late"}, [4]string{"m2", "+919876543210", "2025-01-15T10:00:00Z", "Other"})
	w := b.open(t, p.url(""), "/?q=parcel&message=m1")
	w.allow("401")
	w.await(`document.querySelector("form[action='/sign-in'] #token") !== null`)
	w.write("#token", "wrong")
	w.press("Enter")
	w.awaitText("[role=alert]", "This is not one of the tokens.")
	w.write("#token", token)
	w.press("Enter")
	w.awaitText("dialog[open] code.id", "m1")
	w.rows("The parcel is late")
	if got, want := w.address(), "/?q=parcel&message=m1"; got != want {
		t.Errorf("signed in one is at %s, want %s", got, want)
	}
	if got := eval[string](w, "document.cookie"); got != "" {
		t.Errorf("scripts see the cookie %q", got)
	}
	w.press("Escape")
	w.click(".tools form button")
	w.await(`location.pathname === "/sign-in"`)
	w.goTo("/")
	w.await(`document.querySelector("#token") !== null`)
	// Who is no longer signed in while the page is open comes to the form too.
	w.write("#token", token)
	w.press("Enter")
	w.awaitText(count, "2 messages")
	w.run(call(network.ClearBrowserCookies, cdp.Empty{}))
	w.write("#f-search", "Other")
	w.await(`location.pathname === "/sign-in"`)
	w.write("#token", token)
	w.press("Enter")
	w.rows("Other")
}

//go:embed testdata/axe/axe.min.js
var axe string

// violations returns what axe finds wrong with the page as it is, once nothing
// moves any more.
//
// Source: https://github.com/dequelabs/axe-core, of which testdata has a copy.
func (w *tab) violations() []string {
	w.tb.Helper()
	// A colour on its way to another has the contrast of neither.
	w.await(`document.getAnimations().every(a => a.playState !== "running")`)
	if !eval[bool](w, `"axe" in window`) {
		w.run(script(axe))
	}
	found := eval[string](w, `axe.run(document, { resultTypes: ["violations"], preload: false }).then(r => JSON.stringify(r.violations.map(v =>
		({ id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map(n => n.html.slice(0, 200)) }))))`)
	var list []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		w.tb.Fatal(err)
	}
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprintf("%s (%s): %s: %s", v.ID, v.Impact, v.Help, strings.Join(v.Nodes, " | ")))
	}
	return texts
}

// testAccessibility holds every page to axe's rules, light and dark, wide and
// narrow.
func testAccessibility(t *testing.T, b *browser) {
	_, open, closed := windows(t, b)
	for path := range whole {
		w := open
		if path == "/sign-in" {
			w = closed
		}
		w.comes(path)
		for _, scheme := range []string{"light", "dark"} {
			w.scheme(scheme)
			for _, width := range []int64{1300, 390} {
				w.size(width, 844)
				for _, v := range w.violations() {
					t.Errorf("%s, %s, %d pixels: %s", path, scheme, width, v)
				}
			}
		}
	}
}
