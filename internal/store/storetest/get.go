package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

func wantNotFound(t *testing.T, s message.Store, source, id string) {
	t.Helper()
	if m, err := s.Get(t.Context(), source, id); !errors.Is(err, message.ErrNotFound) || errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Get(%q, %q): got %+v, error %v, want ErrNotFound", source, id, m, err)
	}
}

func testGetSources(t *testing.T, d *db) {
	wantNotFound(t, d, "", "a")
	native := newMessage("a", noon, setText("native"))
	twilio := newMessage("a", noon, setText("twilio"), setSource("twilio"))
	upper := newMessage("a", noon, setText("upper"), setSource("Twilio"))
	whatsapp := newMessage("b", noon, setSource("whatsapp"))
	save(t, d, twilio, native, whatsapp)

	get := func(source, id string, want message.Message) {
		t.Helper()
		got, err := d.Get(t.Context(), source, id)
		if err != nil {
			t.Fatalf("Get(%q, %q): %v", source, id, err)
		}
		wantEqual(t, "Get", want, got)
	}
	get(message.SourceNative, "a", native)
	get("twilio", "a", twilio)
	get("", "a", native)
	get("", "b", whatsapp)
	get("whatsapp", "b", whatsapp)
	save(t, d, upper)
	get("", "a", upper) // the first by bytes
	get("twilio", "a", twilio)

	wantNotFound(t, d, "whatsapp", "a")
	wantNotFound(t, d, message.SourceNative, "b")
	wantNotFound(t, d, "NATIVE", "a")
	wantNotFound(t, d, "", "A")
	wantNotFound(t, d, "", "a ")
	wantNotFound(t, d, "", "%")
	wantNotFound(t, d, "", "")
}

func testGetAnyCharacters(t *testing.T, d *db) {
	var messages []message.Message
	for _, id := range []string{
		"/", "a/b", "/a/", "..", ".", "a//b", "?x=1", "#", "&", "%", "%2F", "%00", "_", `\`, `\0`,
		"'", `"`, "`", "'; DROP TABLE messages; --", "$1", ":id", "@p", "{id}", "a b", " ", "  ", "+",
		"é", "e\u0301", "ﬀ", "日本語", "😀", "👩‍👩‍👧", "\u202etxt", "\ufeff", "\u2028", "\u00a0", "\ufffd", "\uffff", "\U0010ffff",
		"0", "00", "-1", "1e3", "0x10", "NaN", "null", "NULL", "true", "[]", "wamid.HBgLMTQxNTU1NTAxMDAVAgARGBI=",
		strings.Repeat("a", message.MaxIDLength),
		strings.Repeat("é", message.MaxIDLength),
		strings.Repeat("😀", message.MaxIDLength),
		strings.Repeat("😀", message.MaxIDLength-1) + "x",
	} {
		messages = append(messages, newMessage(id, noon, setText("of "+id)))
	}
	for i, o := range save(t, d, messages...) {
		if o != created {
			t.Errorf("Save of ID %q: got %v, want created", messages[i].ID, o)
		}
	}
	for i, o := range save(t, d, messages...) {
		if o != duplicate {
			t.Errorf("Save of ID %q again: got %v, want duplicate", messages[i].ID, o)
		}
	}
	for _, m := range messages {
		got, err := d.Get(t.Context(), "", m.ID)
		if err != nil {
			t.Errorf("Get(%q): %v", m.ID, err)
		}
		wantEqual(t, "Get", m, got)
	}
	wantEqual(t, "pages of one, joined", everything(t, d), all(t, d, message.Query{Limit: 1}))
	// What nothing that is stored can be is asked for like anything else.
	for _, s := range []string{"\xff", "\xed\xa0\x80", "a\xc0", "\x00", "0\x00"} {
		for source, id := range map[string]string{"": s, s: "0", message.SourceNative: s} {
			wantNotFound(t, d, source, id)
		}
		for _, f := range []message.Filter{{From: s}, {To: s}, {Text: "0" + s}} {
			wantEqual(t, fmt.Sprintf("messages of %+v", f), int64(0), list(t, d, message.Query{Limit: 1, Filter: f}).Total)
		}
	}
}

// testReceivedAt: it is when the first copy was accepted.
func testReceivedAt(t *testing.T, d *db) {
	const slack = time.Minute // the database may run on another machine
	m := newMessage("a", "2001-01-01T00:00:00Z")
	before := time.Now()
	save(t, d, m)
	after := time.Now()
	first, err := d.Get(t.Context(), "", "a")
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if at := first.ReceivedAt; at.Before(before.Add(-slack)) || at.After(after.Add(slack)) || at.Location() != time.UTC {
		t.Errorf("ReceivedAt: got %v, want between %v and %v, in UTC", at, before, after)
	}
	save(t, d, m)
	d.reopen(t)
	later, err := d.Get(t.Context(), "", "a")
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	wantEqual(t, "Get after a repeat and after opening again", first, later)
}
