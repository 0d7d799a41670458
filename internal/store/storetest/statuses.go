package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// newStatus returns a status of a message of WhatsApp; the edits change it.
func newStatus(id, status, at string, edits ...func(*message.Status)) message.Status {
	s := message.Status{
		Source: "whatsapp", ID: id, Status: status, Recipient: "+100", At: instant(at), Raw: []byte(`{"status":"` + status + `"}`),
	}
	for _, edit := range edits {
		edit(&s)
	}
	return s
}

func ofSource(s string) func(*message.Status)    { return func(m *message.Status) { m.Source = s } }
func toRecipient(s string) func(*message.Status) { return func(m *message.Status) { m.Recipient = s } }
func reported(ts string) func(*message.Status) {
	return func(m *message.Status) { m.ReceivedAt = instant(ts) }
}

func saveStatuses(t failer, s message.Store, statuses ...message.Status) []message.Outcome {
	t.Helper()
	outcomes, err := s.Save(t.Context(), nil, statuses)
	if err != nil {
		t.Fatalf("Save of statuses: %v", err)
	}
	return outcomes
}

func statuses(t failer, s message.Store, source, id string) []message.Status {
	t.Helper()
	list, err := s.Statuses(t.Context(), source, id)
	if err != nil {
		t.Fatalf("Statuses(%q, %q): %v", source, id, err)
	}
	return list
}

func walkedStatuses(t failer, s message.Store) []message.Status {
	t.Helper()
	var all []message.Status
	if err := s.WalkStatuses(t.Context(), func(m message.Status) error { all = append(all, m); return nil }); err != nil {
		t.Fatalf("WalkStatuses: %v", err)
	}
	return all
}

// compareStatuses holds all statuses of the store against the model.
func (m *model) compareStatuses(t failer, s message.Store) {
	t.Helper()
	want := m.allStatuses()
	wantEqual(t, "all statuses", want, walkedStatuses(t, s))
	for i := range want {
		id := want[i].ID
		if i > 0 && want[i-1].ID == id {
			continue
		}
		for _, source := range []string{"", want[i].Source} {
			wantEqual(t, fmt.Sprintf("Statuses(%q, %q)", source, id), m.statusesOf(source, id), statuses(t, s, source, id))
		}
	}
}

// saveAllBoth saves into the model and the store.
func (m *model) saveAllBoth(t failer, d *db, messages []message.Message, statuses []message.Status) {
	t.Helper()
	want := append(m.save(messages), m.saveStatuses(statuses)...)
	got, err := d.Save(t.Context(), messages, statuses)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	wantEqual(t, "outcomes", want, got)
}

// testStatusOutcomes: messages and statuses share a call, and a status is its
// source, ID and Status.
func testStatusOutcomes(t *testing.T, d *db) {
	a, b := newMessage("a", noon, setSource("whatsapp")), newMessage("b", noon, setSource("whatsapp"))
	sent, read := newStatus("a", "sent", noon), newStatus("a", "read", noon)
	saveAll := func(messages []message.Message, statuses []message.Status) []message.Outcome {
		t.Helper()
		o, err := d.Save(t.Context(), messages, statuses)
		if err != nil {
			t.Fatalf("Save: %v", err)
		}
		return o
	}
	wantEqual(t, "both", outcomes(created, created, created, duplicate),
		saveAll([]message.Message{a, b}, []message.Status{sent, sent}))
	wantEqual(t, "messages first", outcomes(duplicate, created, duplicate),
		saveAll([]message.Message{a}, []message.Status{read, sent}))
	// What differs in anything else is the same one, and the first stays.
	later := newStatus("a", "sent", "2025-01-15T13:00:00Z", toRecipient("+999"), func(m *message.Status) { m.Raw = nil })
	wantEqual(t, "another time and recipient", outcomes(duplicate), saveStatuses(t, d, later))
	others := []message.Status{
		newStatus("a", "Sent", noon), newStatus("a", "sent ", noon), newStatus("a", "", noon), newStatus("a ", "sent", noon),
		newStatus("A", "sent", noon), newStatus("a", "sent", noon, ofSource("twilio")), newStatus("asent", "", noon), newStatus("", "sent", noon),
	}
	for _, s := range others {
		wantEqual(t, fmt.Sprintf("of %q, %q, %q", s.Source, s.ID, s.Status), outcomes(created), saveStatuses(t, d, s))
	}
	m := model{}
	m.saveStatuses(append(others, sent, read))
	m.compareStatuses(t, d)
	d.reopen(t)
	m.compareStatuses(t, d)
	wantEqual(t, "all again", outcomes(duplicate, duplicate), saveStatuses(t, d, read, later))

	// They are no messages.
	wantEqual(t, "Status().Messages", int64(2), d.Status().Messages)
	wantEqual(t, "messages", []message.Message{a, b}, everything(t, d))
	fed, _ := follow(t, d, message.MaxFeedLimit)
	wantEqual(t, "the feed", []message.Message{a, b}, fed)
}

// testStatusAnyOrder: a status is stored before its message, after it, and
// without it.
func testStatusAnyOrder(t *testing.T, d *db) {
	var m model
	ofWhatsApp := setSource("whatsapp")
	m.saveAllBoth(t, d, nil, []message.Status{newStatus("early", "read", noon)})
	m.saveAllBoth(t, d, []message.Message{newMessage("early", noon, ofWhatsApp), newMessage("late", noon, ofWhatsApp)}, nil)
	m.saveAllBoth(t, d, nil, []message.Status{newStatus("late", "sent", noon), newStatus("never", "sent", noon)})
	m.saveAllBoth(t, d, []message.Message{newMessage("with", noon, ofWhatsApp)}, []message.Status{newStatus("with", "sent", noon)})
	m.compareStatuses(t, d)
	m.compare(t, d)
	wantNotFound(t, d, "whatsapp", "never")
	for _, s := range []struct{ source, id string }{{"", "none"}, {"twilio", "late"}, {"whatsapp", ""}, {"", ""}, {"", "\x00"}, {"\xff", "late"}, {"", "late\xff"}} {
		if got := statuses(t, d, s.source, s.id); len(got) != 0 {
			t.Errorf("Statuses(%q, %q): got %+v, want none", s.source, s.id, got)
		}
	}
}

// testStatusContent: everything that is known comes back.
func testStatusContent(t *testing.T, d *db) {
	const slack = time.Minute // the database may run on another machine
	given := "2020-02-03T04:05:06.789Z"
	long := `{"errors":"` + strings.Repeat("é", 50<<10) + `"}`
	want := []message.Status{
		newStatus("a", "sent", "2025-01-15T12:00:00.123Z", reported(given)),
		newStatus("a", "delivered", "2025-01-15T12:00:00.122Z", reported(given), toRecipient("")),
		newStatus("a", "failed", "2025-01-15T12:00:00.123Z", reported(given), func(m *message.Status) { m.Raw = nil }),
		newStatus("a", "before 1970", "1969-12-31T23:59:59.999Z", reported("1969-12-31T23:59:59.001Z")),
		newStatus("a", "of the year 1", "0001-01-01T00:00:00Z", reported("0001-01-01T00:00:00.001Z")),
		newStatus("a", "read", "9999-12-31T23:59:59.999Z", reported("9999-12-31T23:59:59.999Z"), toRecipient("US.13491208655302741918")),
		newStatus("a", "zone", noon, reported(given), func(m *message.Status) {
			m.At, m.Raw = m.At.In(time.FixedZone("", 3600)), []byte(`{"a":"\u0000"} `)
		}),
		newStatus("a", "long", noon, reported(given), func(m *message.Status) { m.Raw = []byte(long) }),
	}
	saveStatuses(t, d, want...)
	before := time.Now()
	saveStatuses(t, d, newStatus("now", "sent", noon))
	after := time.Now()
	m := model{}
	m.saveStatuses(want)
	for range 2 {
		got := statuses(t, d, "whatsapp", "a")
		wantEqual(t, "Statuses", m.statusesOf("whatsapp", "a"), got)
		for i, s := range m.statusesOf("", "a") {
			if r := got[i]; !r.ReceivedAt.Equal(s.ReceivedAt) || r.ReceivedAt.Location() != time.UTC || r.At.Location() != time.UTC || (r.Raw == nil) != (s.Raw == nil) {
				t.Errorf("status %q: got At %v, ReceivedAt %v, want %v, %v in UTC", r.Status, r.At, r.ReceivedAt, s.At, s.ReceivedAt)
			}
		}
		now := statuses(t, d, "", "now")
		if at := now[0].ReceivedAt; at.Before(before.Add(-slack)) || at.After(after.Add(slack)) || at.Nanosecond()%int(time.Millisecond) != 0 {
			t.Errorf("ReceivedAt: got %v, want between %v and %v", at, before, after)
		}
		d.reopen(t)
	}
}

// testStatusesOrder: by At, then Status, of the first source that has any.
func testStatusesOrder(t *testing.T, d *db) {
	var m model
	var saved []message.Status
	for i, source := range []string{"whatsapp", "twilio", "Zulu", "native"} {
		for j, status := range []string{"sent", "read", "delivered", "é", "Sent", "z"} {
			s := newStatus("a", status, fmt.Sprintf("2025-01-15T12:00:00.%03dZ", (i+j*7)%3), ofSource(source))
			saved = append(saved, s)
		}
	}
	for _, s := range saved {
		m.saveAllBoth(t, d, nil, []message.Status{s}) // each source may be the first for a while
		m.compareStatuses(t, d)
	}
	wantEqual(t, "the first source", "Zulu", statuses(t, d, "", "a")[0].Source)
	wantEqual(t, "another", "whatsapp", statuses(t, d, "whatsapp", "a")[0].Source)
}

func testStatusAnyCharacters(t *testing.T, d *db) {
	var m model
	var all []message.Status
	for _, id := range []string{
		"/", "a/b", "..", "?x=1", "#", "%", "%2F", "_", `\`, "'", `"`, "'; DROP TABLE statuses; --", "$1", ":id", "a b", " ", "é", "e\u0301",
		"日本語", "😀", "\ufeff", "\uffff", "\U0010ffff", "0", "00", "NULL", "wamid.HBgLMTQxNTU1NTAxMDAVAgARGBI=", strings.Repeat("😀", message.MaxIDLength),
	} {
		all = append(all, newStatus(id, "sent", noon), newStatus(id, id, noon, ofSource(id)))
	}
	m.saveAllBoth(t, d, nil, all)
	m.compareStatuses(t, d)
	m.saveAllBoth(t, d, nil, all)
}

// testStatusAtOnce: what many report at one time is created once.
func testStatusAtOnce(t *testing.T, d *db) {
	list := []message.Status{newStatus("a", "sent", noon), newStatus("a", "read", noon), newStatus("b", "sent", noon)}
	a := newMessage("a", noon, setSource("whatsapp"))
	counts := map[message.Outcome]int{}
	for _, o := range atOnce(callersAtOnce, func(i int) []message.Outcome {
		turned := slices.Concat(list[i%3:], list[:i%3])
		o, err := d.Save(t.Context(), []message.Message{a}, turned)
		if err != nil {
			t.Errorf("Save: %v", err)
		}
		return o
	}) {
		for _, o := range o {
			counts[o]++
		}
	}
	wantEqual(t, "outcomes", map[message.Outcome]int{created: 4, duplicate: 4 * (callersAtOnce - 1)}, counts)
	m := model{}
	m.saveStatuses(list)
	m.compareStatuses(t, d)
}

// keys are what tells statuses apart.
func keys(statuses []message.Status) []string {
	var keys []string
	for _, s := range statuses {
		keys = append(keys, fmt.Sprintf("%q %q %q", s.ID, s.Source, s.Status))
	}
	return keys
}

// testStatusMany: a call as large as a provider's gets, and a walk of more than
// one page.
func testStatusMany(t *testing.T, d *db) {
	var m model
	wantEqual(t, "an empty walk", nil, walkedStatuses(t, d))
	for call := range 3 {
		var messages []message.Message
		var list []message.Status
		for i := range 334 {
			id := fmt.Sprint(call, "-", i*7919%334)
			messages = append(messages, newMessage(id, noon, setSource("whatsapp")))
			list = append(list, newStatus(id, "sent", noon), newStatus(fmt.Sprint(i%10, "-", i), "read", noon, ofSource([]string{"twilio", "whatsapp"}[i%2])))
		}
		m.saveAllBoth(t, d, messages, list)
	}
	want := keys(m.allStatuses())
	wantEqual(t, "all statuses", want, keys(walkedStatuses(t, d)))

	mine := errors.New("enough")
	for _, after := range []int{1, 999, 1000, 1001, len(want)} {
		n := 0
		err := d.WalkStatuses(t.Context(), func(message.Status) error {
			if n++; n == after {
				return mine
			}
			return nil
		})
		if err != mine || n != after { //nolint:errorlint // as it is
			t.Errorf("after %d: got %v after %d, want the error of yield", after, err, n)
		}
	}
	// What is stored on the way comes once at most, and takes no place of others.
	there := map[string]bool{}
	for _, key := range want {
		there[key] = true
	}
	var got []string
	n := 0
	err := d.WalkStatuses(t.Context(), func(s message.Status) error {
		if n++; n%400 == 1 {
			saveStatuses(t, d, newStatus(s.ID, "a "+fmt.Sprint(n), noon), newStatus("zz "+fmt.Sprint(n), "sent", noon)) // nothing is held
		}
		if key := keys([]message.Status{s})[0]; there[key] {
			got = append(got, key)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("WalkStatuses: %v", err)
	}
	wantEqual(t, "what was there at the start", want, got)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.WalkStatuses(ctx, func(message.Status) error { return mine }); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("WalkStatuses with an ended context: %v, want ErrUnavailable", err)
	}
	if _, err := d.Statuses(ctx, "", "0-0"); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Statuses with an ended context: %v, want ErrUnavailable", err)
	}
}

// testStatusContextEnded: stored once or not at all, with the message beside it.
func testStatusContextEnded(t *testing.T, d *db) {
	a, sent := newMessage("a", noon, setSource("whatsapp")), newStatus("a", "sent", noon)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o, err := d.Save(ctx, []message.Message{a}, []message.Status{sent}); !errors.Is(err, message.ErrUnavailable) || o != nil {
		t.Errorf("Save with an ended context: got %v, %v, want ErrUnavailable", o, err)
	}
	o, err := d.Save(t.Context(), []message.Message{a}, []message.Status{sent})
	if err != nil || len(o) != 2 || o[0] != o[1] {
		t.Errorf("Save again: got %v, %v, want both created or both duplicates", o, err)
	}
	wantEqual(t, "stored", []message.Status{sent}, walkedStatuses(t, d))
}

// testStatusErased: statuses go with their message, and with their recipient.
func testStatusErased(t *testing.T, d *db) {
	var m model
	const who, other = "+900", "+100"
	ofWhatsApp := setSource("whatsapp")
	m.saveAllBoth(t, d, []message.Message{newMessage("before", noon, ofWhatsApp, setFrom(who))}, nil)
	m.saveAllBoth(t, d,
		[]message.Message{newMessage("own", noon, ofWhatsApp, setFrom(who)), newMessage("kept", noon, ofWhatsApp), newMessage("own", noon, setFrom(other))},
		[]message.Status{
			newStatus("own", "sent", noon), newStatus("own", "read", noon, toRecipient("")), newStatus("before", "sent", noon),
			newStatus("own", "sent", noon, ofSource("native")), newStatus("own", "sent", noon, ofSource("twilio")),
			newStatus("kept", "sent", noon), newStatus("kept", "read", noon, toRecipient(who)),
			newStatus("never", "sent", noon, toRecipient(who)), newStatus("never", "read", noon), newStatus("nobody", "read", noon, toRecipient("")),
		})
	for _, nobody := range []string{"", "+90", "+9000", "900"} {
		wantEqual(t, "erased of "+nobody, 0, erase(t, d, nobody))
	}
	m.compareStatuses(t, d)
	wantEqual(t, "erased: messages alone count", m.erase(who), erase(t, d, who))
	for range 2 {
		m.compareStatuses(t, d)
		m.compare(t, d)
		// Of what is gone for good nothing is taken any more.
		m.saveAllBoth(t, d, []message.Message{newMessage("own", noon, ofWhatsApp)},
			[]message.Status{newStatus("own", "sent", noon), newStatus("own", "delivered", noon), newStatus("before", "played", noon)})
		d.reopen(t)
	}
	// The recipient is not barred, nor is what was reported of others' messages.
	m.saveAllBoth(t, d, nil, []message.Status{newStatus("kept", "read", noon, toRecipient(who)), newStatus("next", "sent", noon, toRecipient(who))})
	m.compareStatuses(t, d)
	wantEqual(t, "erased again", m.erase(who), erase(t, d, who))
	m.compareStatuses(t, d)
}

// testStatusRecipientErased: where nothing but statuses was removed, what is
// reported later of the same messages does not bring the recipient back, unless
// the message is stored.
func testStatusRecipientErased(t *testing.T, d *db) {
	var m model
	to := toRecipient("+900")
	m.saveAllBoth(t, d,
		[]message.Message{newMessage("kept", noon, setSource("whatsapp")), newMessage("gone", noon)},
		[]message.Status{
			newStatus("gone", "sent", noon, to), newStatus("gone", "delivered", noon, to), newStatus("gone", "failed", noon),
			newStatus("gone", "sent", noon, ofSource("twilio")), newStatus("kept", "sent", noon, to), newStatus("kept", "failed", noon),
			newStatus("other", "sent", noon),
		})
	wantEqual(t, "erased: no message", m.erase("+900"), erase(t, d, "+900"))
	m.compareStatuses(t, d)
	m.compare(t, d)
	for _, later := range []string{"read", "played"} {
		late := newStatus("gone", later, noon, to)
		wantEqual(t, "alone", outcomes(duplicate), saveStatuses(t, d, late))
		m.saveAllBoth(t, d, []message.Message{newMessage("gone", noon, setSource("whatsapp")), newMessage("with "+later, noon)},
			[]message.Status{
				newStatus("gone", later, noon, ofSource("twilio")), newStatus("gone", "sent", noon, to), newStatus("other", later, noon),
				late, newStatus("gone", later, noon), newStatus("kept", "sent", noon, to), newStatus("kept", later, noon, to), late,
				newStatus("with "+later, "sent", noon, to, ofSource("native")),
			})
		m.compareStatuses(t, d)
		m.compare(t, d)
		d.reopen(t)
		m.compareStatuses(t, d)
	}
	wantEqual(t, "erased again", m.erase("+900"), erase(t, d, "+900"))
	m.saveAllBoth(t, d, nil, []message.Status{newStatus("gone", "late", noon, to), newStatus("kept", "late", noon, to)})
	m.compareStatuses(t, d)
}

// testStatusEraseMany: more than one step and one page, and those of others
// between them stay.
func testStatusEraseMany(t *testing.T, d *db) {
	var m model
	for call := range 3 {
		var list []message.Status
		for i := range 700 {
			list = append(list, newStatus(fmt.Sprint(call, "-", i), "sent", noon, toRecipient(fmt.Sprint("+90", i%3))))
		}
		m.saveAllBoth(t, d, nil, list)
	}
	wantEqual(t, "erased", m.erase("+901"), erase(t, d, "+901"))
	wantEqual(t, "left", keys(m.allStatuses()), keys(walkedStatuses(t, d)))
	var late []message.Status
	for i := range 700 {
		late = append(late, newStatus(fmt.Sprint(i%3, "-", i), "read", noon, toRecipient("+901")))
	}
	m.saveAllBoth(t, d, nil, late)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := d.Erase(ctx, "+902"); n != 0 || !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Erase with an ended context: %d, %v, want ErrUnavailable", n, err)
	}
	wantEqual(t, "left", keys(m.allStatuses()), keys(walkedStatuses(t, d)))
}

// testStatusExpire: statuses go by when they arrived, and with their message.
func testStatusExpire(t *testing.T, d *db) {
	var m model
	const old, edge, young = "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", "2025-02-01T00:00:00.001Z"
	ofWhatsApp := setSource("whatsapp")
	m.saveAllBoth(t, d,
		[]message.Message{newMessage("old", old, ofWhatsApp, received(old)), newMessage("kept", young, ofWhatsApp, received(young))},
		[]message.Status{
			newStatus("old", "young", young, reported(young)), newStatus("old", "now", old), newStatus("old", "old", old, reported(old)),
			newStatus("kept", "old", young, reported(old)), newStatus("kept", "edge", old, reported(edge)), newStatus("kept", "young", old, reported(young)),
			newStatus("never", "a millisecond before", young, reported("2025-01-31T23:59:59.999Z")), newStatus("never", "now", old),
			newStatus("never", "year 1", young, reported("0001-01-01T00:00:00.001Z")), newStatus("never", "1969", young, reported("1969-12-31T23:59:59.999Z")),
		})
	for _, before := range []string{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000001Z", "1970-01-01T00:00:00Z", old, edge, edge, "2025-02-01T00:00:00.0005Z", "2025-02-01T00:00:00.0015Z"} {
		wantEqual(t, "expired before "+before, m.expire(instant(before)), expire(t, d, instant(before)))
		m.compareStatuses(t, d)
	}
	d.reopen(t)
	m.compareStatuses(t, d)
	m.compare(t, d)
	// Only what was of a removed message is not taken any more.
	m.saveAllBoth(t, d, nil, []message.Status{newStatus("old", "later", noon), newStatus("kept", "later", noon), newStatus("never", "1969", noon)})
	m.compareStatuses(t, d)

	var list []message.Status
	for i := range 1000 {
		s := newStatus(fmt.Sprint(i), "sent", noon)
		if i%3 > 0 {
			reported(old)(&s)
		}
		list = append(list, s)
	}
	m.saveAllBoth(t, d, nil, list)
	wantEqual(t, "expired", m.expire(instant(edge)), expire(t, d, instant(edge)))
	wantEqual(t, "left", keys(m.allStatuses()), keys(walkedStatuses(t, d)))
}
