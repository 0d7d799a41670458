package e2e

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// store sends messages, given as id, sender, ts and text.
func store(t *testing.T, p *process, messages ...[4]string) {
	t.Helper()
	client := newClient(t, 1)
	for _, m := range messages {
		if status, answer := post(client, p.url("/webhook"), body(m[0], m[1], m[2], &m[3])); status != 200 {
			t.Fatalf("%s: %d %s", m[0], status, answer)
		}
	}
}

// Where the parts of the page are.
const (
	rowTexts = ".messages tbody td.text"
	count    = ".count"
)

// rows waits until the list shows these texts, from the top.
func (w *tab) rows(texts ...string) {
	w.tb.Helper()
	w.await(fmt.Sprintf("JSON.stringify([...document.querySelectorAll(%s)].map(e => e.textContent)) === JSON.stringify(%s)", quote(rowTexts), quoteAll(texts)))
}

func threeMessages(t *testing.T, p *process) {
	t.Helper()
	store(t, p,
		[4]string{"m1", "+919876543210", "2025-01-15T10:00:00Z", "The parcel is late"},
		[4]string{"m2", "+14155550001", "2025-01-16T10:00:00Z", "École à Paris"},
		[4]string{"m3", "+919876543210", "2025-01-17T10:00:00Z", "Where is my PARCEL?"})
}

func testSearch(t *testing.T, b *browser) {
	p := face(t)
	w := b.open(t, p.url(""), "/")
	w.await(`document.querySelector(".notice")?.textContent.startsWith("No message has arrived yet")`)
	threeMessages(t, p)
	w.goTo("/")
	w.rows("Where is my PARCEL?", "École à Paris", "The parcel is late")
	w.awaitText(count, "3 messages")

	w.press("/") // goes to the search
	w.insert("parcel")
	w.rows("Where is my PARCEL?", "The parcel is late")
	w.awaitText(count, "2 messages")
	w.await(`location.search === "?q=parcel"`)
	w.write("#f-search", "école")
	w.rows("École à Paris")
	w.write("#f-search", "no such text")
	w.rows()
	w.awaitText(".notice", "No message matches these filters.")
	w.awaitText(count, "0 messages")
	w.write("#f-search", "")
	w.awaitText(count, "3 messages")
	w.await(`location.search === ""`)

	w.write("#f-from", "+919876543210")
	w.rows("Where is my PARCEL?", "The parcel is late")
	w.write("#f-search", "late")
	w.rows("The parcel is late")
	if got, want := w.address(), "/?q=late&from=%2B919876543210"; got != want {
		t.Errorf("the address is %s, want %s", got, want)
	}
	w.click(".filters .quiet") // clear
	w.awaitText(count, "3 messages")
	if got := w.address(); got != "/" {
		t.Errorf("without filters the address is %s", got)
	}
	w.run(back)
	w.rows("The parcel is late")
	w.await(`document.querySelector("#f-search").value === "late"`)

	w.goTo("/?since=2025-01-16T00:00:00Z&until=2025-01-17T00:00:00Z")
	w.rows("École à Paris")
	w.await(`document.querySelector("#f-since").value.startsWith("2025-01-16T00:00")`)
	w.goTo("/?to=%2B14155550100")
	w.awaitText(count, "3 messages")
	w.goTo("/?to=%2B14155550199")
	w.awaitText(count, "0 messages")
	w.goTo("/?since=yesterday")
	w.await(`document.querySelector(".notice.fault")?.textContent.includes("since")`)
	w.allow("422")
}

// odd are ids with what has a meaning in an address.
var odd = []string{"a/b?c#d%", "with space & more=1", `"quotes" 'and' <tags>`, "नमस्ते 👋", "a//b", "/", "%2F", "+1", "a;b,c"}

func testDeepLinks(t *testing.T, b *browser) {
	p := face(t)
	threeMessages(t, p)
	for i, id := range odd {
		store(t, p, [4]string{id, "+4915112345678", fmt.Sprintf("2024-01-15T10:00:%02dZ", i), "odd " + id})
	}
	w := b.open(t, p.url(""), "/?from=+919876543210&message=m1") // with the plus as it is
	w.rows("Where is my PARCEL?", "The parcel is late")
	w.awaitText("dialog[open] .full", "The parcel is late")
	w.await(`document.querySelector("#f-from").value === "+919876543210"`)
	for _, id := range odd {
		w.goTo("/?message=" + url.QueryEscape(id) + "&message_source=native")
		w.awaitText("dialog[open] code.id", strings.TrimSpace(id))
		w.awaitText("dialog[open] .full", "odd "+id)
	}
	// The same by a click, whose address is taken to another window.
	w.goTo("/?from=%2B4915112345678")
	w.await(`document.querySelectorAll(".messages tbody tr").length === ` + fmt.Sprint(len(odd)))
	w.click(".messages tbody tr a")
	last := odd[len(odd)-1]
	w.awaitText("dialog[open] code.id", last)
	other := b.open(t, p.url(""), w.address())
	other.awaitText("dialog[open] code.id", last)
	other.goTo("/?message=none")
	other.await(`document.querySelector("dialog[open] .fault")?.textContent.startsWith("There is no such message")`)
	other.allow("404")
}

func testDetail(t *testing.T, b *browser) {
	p := face(t, "WHATSAPP_APP_SECRET="+appSecret)
	threeMessages(t, p)
	w := b.open(t, p.url(""), "/")
	w.awaitText(count, "3 messages")
	// By keyboard: the search, then on to the first row.
	w.run(focus(".messages tbody a"))
	w.press("Enter")
	w.awaitText("dialog[open] code.id", "m3")
	w.press("Escape")
	w.await(`!document.querySelector("dialog[open]") && location.search === ""`)
	w.await(`document.activeElement === document.querySelector(".messages tbody a")`)
	w.click(".messages tbody tr:nth-child(2) td.text")
	w.awaitText("dialog[open] code.id", "m2")
	w.run(back)
	w.await(`!document.querySelector("dialog[open]")`)
	w.run(forward)
	w.awaitText("dialog[open] code.id", "m2")
	w.click("dialog[open] dd a")
	w.rows("École à Paris")
	if got := w.address(); got != "/?from=%2B14155550001" {
		t.Errorf("the sender's link leads to %s", got)
	}
	if got, want := w.texts(".exports a"), []string{"CSV", "NDJSON"}; !slices.Equal(got, want) {
		t.Errorf("the exports are %q", got)
	}
	status, answer := get(t, eval[string](w, `document.querySelector(".exports a:last-child").href`))
	if status != 200 || strings.Count(string(answer), "\n") != 1 || !strings.Contains(string(answer), `"m2"`) {
		t.Errorf("the export is %d %s", status, answer)
	}
}

// testOlder goes through more than one page.
func testOlder(t *testing.T, b *browser) {
	p := face(t)
	const messages = 120
	var want []string
	for i := range messages {
		store(t, p, [4]string{fmt.Sprint("m", i), "+919876543210", fmt.Sprintf("2025-01-15T10:%02d:%02dZ", i/60, i%60), fmt.Sprint("text ", i)})
		want = append(want, fmt.Sprint("text ", messages-1-i))
	}
	w := b.open(t, p.url(""), "/")
	w.rows(want[:50]...)
	w.click(".more")
	w.rows(want[:100]...)
	w.click(".more")
	w.rows(want...)
	w.await(`document.querySelector(".more").hidden`)
}

// testSources tells messages by where they came from, and shows what WhatsApp's
// have besides.
func testSources(t *testing.T, b *browser) {
	p := everything(t)
	w := b.open(t, p.url(""), "/")
	w.awaitText(count, "4 messages")
	w.choose("#f-source", "whatsapp")
	w.rows("from a phone")
	w.awaitText(count, "1 message")
	w.await(`location.search === "?source=whatsapp"`)
	w.click(".messages tbody tr td.text")
	w.awaitText("dialog[open] code.id", "wa1")
	w.await(`location.search === "?source=whatsapp&message=wa1&message_source=whatsapp"`)
	if got, want := w.texts("dialog[open] table tbody td"), []string{"sent", "2025-06-08 20:59:50", "+919876543210", "read", "2025-06-08 20:59:59", "+919876543210"}; !slices.Equal(got, want) {
		t.Errorf("the statuses are %q, want %q", got, want)
	}
	if got := eval[string](w, `JSON.parse(document.querySelector("dialog[open] pre").textContent).contacts[0].profile.name`); got != "Asha" {
		t.Errorf("the raw data name the sender %q", got)
	}
	w.press("Escape")
	if got, want := w.texts("#f-source option"), []string{"All", "native", "whatsapp", "twilio", "standard"}; !slices.Equal(got, want) {
		t.Errorf("the sources to choose from are %q", got)
	}
	w.choose("#f-source", "native")
	w.rows("Where is my PARCEL?", "École à Paris", "The parcel is late")
	w.view("charts") // takes the filter along
	w.figure("messages", 3)
	w.view("messages")
	w.choose("#f-source", "twilio")
	w.awaitText(".notice", "No message matches these filters.")
	w.click(".filters .quiet")
	w.awaitText(count, "4 messages")
}
