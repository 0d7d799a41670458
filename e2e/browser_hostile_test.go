package e2e

import (
	"fmt"
	"strings"
	"testing"
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

func testHostileTexts(t *testing.T, b *browser) {
	p := face(t, "APP_NAME=<b>Inbox</b>\"><script>window.hacked=1</script>")
	for i, text := range hostile {
		id := strings.Map(func(r rune) rune {
			if r < ' ' {
				return -1
			}
			return r
		}, text)
		if r := []rune(id); len(r) > 200 {
			id = string(r[:200])
		}
		store(t, p, [4]string{fmt.Sprint(i, id), fmt.Sprintf("+9198%08d", i), fmt.Sprintf("2025-01-15T10:00:%02dZ", i), text})
	}
	w := b.open(t, p.url(""), "/")
	harmless := func(where string) {
		t.Helper()
		if eval[bool](w, `"hacked" in window`) {
			t.Errorf("%s: a script ran", where)
		}
		if wide := eval[int](w, "document.scrollingElement.scrollWidth - innerWidth"); wide > 0 {
			t.Errorf("%s: the page is %d pixels wider than the window", where, wide)
		}
	}
	var want []string
	for i := range hostile {
		want = append(want, hostile[len(hostile)-1-i])
	}
	for _, width := range []int64{1300, 390} {
		w.size(width, 844)
		w.goTo("/")
		w.rows(want...)
		harmless(fmt.Sprint("the list at ", width))
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
		harmless(fmt.Sprint("the details at ", width))
	}
	if title := eval[string](w, "document.querySelector('h1').textContent"); !strings.HasPrefix(title, "<b>Inbox</b>") {
		t.Errorf("the page is called %q", title)
	}
}
