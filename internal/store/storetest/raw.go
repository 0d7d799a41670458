package storetest

import (
	"fmt"
	"strings"
	"testing"

	"lyftr/internal/message"
)

func setRaw(raw string) func(*message.Message) {
	return func(m *message.Message) { m.Raw = []byte(raw) }
}

// listed are the messages as List gives them.
func listed(messages []message.Message) []message.Message {
	var without []message.Message
	for _, m := range messages {
		m.Raw = nil
		without = append(without, m)
	}
	return without
}

// manyRaws are messages with the JSON that their provider sent, and some without.
func manyRaws() []message.Message {
	var messages []message.Message
	for i, raw := range []string{
		"{}", `{"a":1}`, ` { "a" : 1.0, "a":2 } `, `{"text":"\u0000\ud83d\ude00\/"}`, `{"text":"नमस्ते 😀 é e` + "\u0301" + `"}`, `{"a":"'\"\\ $1 ? :a"}`,
		"{\n\t\"n\": 1e400, \"m\": -0.10 }", `{"long":"` + strings.Repeat("é", 50<<10) + `"}`,
	} {
		n := fmt.Sprint(i)
		messages = append(messages,
			newMessage("raw "+n, noon, setRaw(raw), setSource("twilio"), setText("of "+n)),
			newMessage("without "+n, noon, setFrom("+9")))
	}
	return messages
}

// testRaw: what a provider sent comes back byte for byte, but for the list.
func testRaw(t *testing.T, d *db) {
	messages := manyRaws()
	save(t, d, messages...)
	m := model{}
	m.save(messages)
	for range 2 {
		for _, want := range messages {
			got, err := d.Get(t.Context(), want.Source, want.ID)
			if err != nil {
				t.Fatalf("Get(%q): %v", want.ID, err)
			}
			wantEqual(t, "Get", want, got)
			if want.Raw == nil && got.Raw != nil {
				t.Errorf("Get of %q: Raw is not nil", want.ID)
			}
		}
		fed, _ := follow(t, d, message.MaxFeedLimit)
		wantEqual(t, "the feed", messages, fed)
		for _, f := range []message.Filter{{}, {To: "+200"}, {From: "+9"}, {Text: "OF"}, {Since: instant(noon)}} {
			for _, o := range []message.Order{message.Ascending, message.Descending} {
				what := fmt.Sprintf("(%+v, %s)", f, o)
				wantEqual(t, "Walk"+what, m.matching(f, o), walked(t, d, f, o))
				for _, got := range list(t, d, message.Query{Filter: f, Order: o, Limit: message.MaxLimit}).Messages {
					if got.Raw != nil {
						t.Errorf("List%s: %q has Raw", what, got.ID)
					}
				}
			}
		}
		d.reopen(t)
	}
}

// testRawIsNoContent: a repeat may know more than the first, which stays.
func testRawIsNoContent(t *testing.T, d *db) {
	with := newMessage("with", noon, setRaw(`{"a":1}`))
	without := newMessage("without", noon)
	save(t, d, with, without)
	for what, m := range map[string]message.Message{
		"the same": with, "other": newMessage("with", noon, setRaw(`{"b":1}`)), "none": newMessage("with", noon), "one for none": newMessage("without", noon, setRaw("{}")),
	} {
		wantEqual(t, what, outcomes(duplicate), save(t, d, m))
	}
	wantEqual(t, "another text", outcomes(mismatch), save(t, d, newMessage("with", noon, setRaw(`{"a":1}`), setText("x"))))
	wantEqual(t, "stored", []message.Message{with, without}, walked(t, d, message.Filter{}, ""))
}

// testArrivalIsNoContent: where the sender gave no time a repeat has another
// one, and the first stays.
func testArrivalIsNoContent(t *testing.T, d *db) {
	arrival := func(m *message.Message) { m.TSIsArrival = true }
	first := newMessage("a", noon, setText("one"))
	const later = "2025-01-15T12:00:07.5Z"
	save(t, d, first)
	wantEqual(t, "repeat", outcomes(duplicate), save(t, d, newMessage("a", later, setText("one"), arrival)))
	wantEqual(t, "repeats in one call", outcomes(created, duplicate),
		save(t, d, newMessage("b", noon, arrival), newMessage("b", later, arrival)))
	wantEqual(t, "other text", outcomes(mismatch), save(t, d, newMessage("a", later, setText("two"), arrival)))
	wantEqual(t, "a time of the sender's own", outcomes(mismatch), save(t, d, newMessage("a", later, setText("one"))))
	wantEqual(t, "stored", []message.Message{first, newMessage("b", noon)}, everything(t, d))
}

// testFeedLongRaws: what a provider sent counts where a page ends.
func testFeedLongRaws(t *testing.T, d *db) {
	raw := `{"text":"` + strings.Repeat("x", 40<<10) + `"}`
	var want []message.Message
	for i := range 2*message.MaxFeedBytes/len(raw) + 3 {
		want = append(want, newMessage(fmt.Sprintf("%03d", i), noon, setRaw(raw)))
	}
	save(t, d, want...)
	got, _ := follow(t, d, message.MaxFeedLimit)
	wantEqual(t, "pages joined", ids(want), ids(got))
	page := feed(t, d, "", message.MaxFeedLimit)
	if n := textBytes(page); n < message.MaxFeedBytes || n >= message.MaxFeedBytes+len(raw) || !page.More {
		t.Errorf("the first page has %d bytes of text and raw JSON, more: %v", n, page.More)
	}
}

// testWalkLongRaws: more than is held in memory at one time, in every way that
// a walk takes.
func testWalkLongRaws(t *testing.T, d *db) {
	raw := `{"text":"` + strings.Repeat("x", 100<<10) + `"}`
	var want []message.Message
	for i := range 100 {
		want = append(want, newMessage(fmt.Sprintf("%03d", i), noon, setRaw(raw), setFrom([]string{"+1", "+2"}[i%2])))
	}
	save(t, d, want...)
	m := model{}
	m.save(want)
	for _, f := range []message.Filter{{}, {From: "+2"}, {To: "+200"}} {
		got := walked(t, d, f, message.Descending)
		wantEqual(t, fmt.Sprintf("IDs of Walk(%+v)", f), ids(m.matching(f, message.Descending)), ids(got))
		for _, r := range got {
			if len(r.Raw) != len(raw) {
				t.Errorf("Walk(%+v): %q has %d bytes of raw JSON", f, r.ID, len(r.Raw))
			}
		}
	}
}

// testNames: a sender and a recipient may be known by something else than a
// number, or by nothing.
func testNames(t *testing.T, d *db) {
	var m model
	const scoped = "US.13491208655302741918"
	m.saveBoth(t, d,
		newMessage("scoped", noon, setFrom(scoped), setTo("MyBrand"), setText("a")),
		newMessage("scoped 2", "2025-01-15T11:00:00Z", setFrom(scoped), setTo("")),
		newMessage("brand", noon, setFrom("MyBrand"), setTo(scoped)),
		newMessage("other case", noon, setFrom("mybrand"), setTo("+1")),
		newMessage("nobody", noon, setFrom(""), setTo("")),
		newMessage("nobody 2", "2025-01-16T11:00:00Z", setFrom(""), setTo("+1")),
		newMessage("number", noon, setFrom("+13491208655"), setTo("+1")),
		newMessage("not Latin", noon, setFrom("Café 😀"), setTo(scoped)),
	)
	wantEqual(t, "the same without its sender", outcomes(mismatch), save(t, d, newMessage("scoped", noon, setFrom(""), setTo("MyBrand"), setText("a"))))
	ask := func() {
		t.Helper()
		m.compare(t, d)
		for _, f := range []message.Filter{
			{From: scoped}, {From: "MyBrand"}, {From: "Café 😀"}, {From: "US"}, {From: "13491208655302741918"}, {To: scoped}, {To: "MyBrand"},
			{From: scoped, To: "MyBrand", Text: "A"}, {To: "+1"}, {From: " "},
		} {
			want := m.matching(f, message.Ascending)
			wantEqual(t, fmt.Sprintf("List(%+v)", f), want, all(t, d, message.Query{Filter: f, Limit: 1}))
			wantEqual(t, fmt.Sprintf("Stats(%+v)", f), m.stats(f), stats(t, d, f))
		}
	}
	ask()
	wantEqual(t, "erased of nobody", 0, erase(t, d, ""))
	wantEqual(t, "erased", m.erase(scoped), erase(t, d, scoped))
	ask()
	d.reopen(t)
	ask()
	wantEqual(t, "erased", m.erase("MyBrand"), erase(t, d, "MyBrand"))
	wantEqual(t, "repeat", outcomes(duplicate), save(t, d, newMessage("brand", noon)))
	ask()
}
