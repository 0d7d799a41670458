package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// testDocs: the page of the API document shows it, tries a request with a token,
// and asks no other host for anything.
func testDocs(t *testing.T, b *browser) {
	const token = "token-of-the-readers"
	p := face(t, "API_TOKEN="+token)
	store(t, p, [4]string{"m1", "+919876543210", "2025-01-15T10:00:00Z", "The parcel is late"})
	w := b.open(t, p.url(""), "/docs")
	w.allow("401")
	const list = "#operations-messages-listMessages"
	w.await(`document.querySelector("` + list + `") !== null`)
	for _, path := range []string{"/webhook", "/messages/{message_id}", "/feed", "/metrics"} {
		w.await(`[...document.querySelectorAll(".opblock-summary-path")].some(e => e.dataset.path === "` + path + `")`)
	}

	// By keyboard: what is above grows and moves the rest while the page is made.
	use := func(selector string) {
		t.Helper()
		w.await("document.querySelector(" + quote(selector) + ") !== null")
		w.run(focus(selector))
		w.press("Enter")
	}
	try := func(want string) {
		t.Helper()
		use(list + " .execute")
		w.await(`document.querySelector("` + list + ` .live-responses-table tbody .response-col_status")?.textContent.startsWith("` + want + `")`)
	}
	use(list + " .opblock-summary-control")
	use(list + " .try-out__btn")
	try("401")
	use(".auth-wrapper .authorize")
	w.await(`document.querySelector("#auth-bearer-value") !== null`)
	w.write("#auth-bearer-value", token)
	w.press("Enter")
	use(".auth-container:has(#auth-bearer-value) .btn-done, .btn-done")
	try("200")
	if got := w.texts(list + " .live-responses-table tbody .response-col_description"); !strings.Contains(strings.Join(got, ""), "The parcel is late") {
		t.Errorf("what was tried is answered %q", got)
	}
}

// testDocsAccessibility holds the page of the API document, with an operation
// open, to axe's rules, light and wide, dark and narrow.
func testDocsAccessibility(t *testing.T, b *browser) {
	w := b.open(t, face(t).url(""), "")
	w.goTo("/docs#/messages/eraseMessages")
	w.await(`document.querySelector("#operations-messages-eraseMessages .try-out__btn") !== null`)
	for scheme, width := range map[string]int64{"light": 1300, "dark": 390} {
		w.scheme(scheme)
		w.size(width, 844)
		w.await(fmt.Sprintf(`document.documentElement.classList.contains("dark-mode") === %t`, scheme == "dark"))
		for _, v := range w.violations() {
			t.Errorf("%s, %d pixels: %s", scheme, width, v)
		}
		if over := eval[int](w, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
			t.Errorf("%s: the page is %d pixels wider than the window of %d", scheme, over, width)
		}
	}
}
