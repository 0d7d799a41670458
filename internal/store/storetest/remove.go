package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/message"
)

func erase(t failer, s message.Store, from string) int64 {
	t.Helper()
	n, err := s.Erase(t.Context(), from)
	if err != nil {
		t.Fatalf("Erase(%q): %v", from, err)
	}
	return n
}

func expire(t failer, s message.Store, before time.Time) int64 {
	t.Helper()
	n, err := s.Expire(t.Context(), before)
	if err != nil {
		t.Fatalf("Expire(%v): %v", before, err)
	}
	return n
}

// compare holds all that can be asked of the store against the model.
func (m *model) compare(t failer, d *db) {
	t.Helper()
	whole := m.matching(message.Filter{}, message.Ascending)
	wantEqual(t, "all messages", whole, everything(t, d))
	wantEqual(t, "Status().Messages", int64(len(whole)), d.Status().Messages)
	wantEqual(t, "Stats", m.stats(message.Filter{}), stats(t, d, message.Filter{}))
	line, err := d.Timeline(t.Context(), message.Filter{}, message.Day)
	if want, ok := m.timeline(message.Filter{}, message.Day); ok && err == nil {
		wantEqual(t, "Timeline", want, line)
	} else if ok || !errors.Is(err, message.ErrTooManyBuckets) {
		t.Errorf("Timeline: %v, want too many buckets %v", err, !ok)
	}
	for _, r := range whole {
		got, err := d.Get(t.Context(), r.Source, r.ID)
		if err != nil {
			t.Errorf("Get(%q, %q): %v", r.Source, r.ID, err)
		}
		wantEqual(t, "Get", r, got)
	}
	for i := range m.removed {
		if _, err := d.Get(t.Context(), i.source, i.id); !errors.Is(err, message.ErrNotFound) {
			t.Errorf("Get of the removed %v: %v, want ErrNotFound", i, err)
		}
	}
}

func (m *model) saveBoth(t failer, d *db, messages ...message.Message) {
	t.Helper()
	wantEqual(t, "outcomes", m.save(messages), save(t, d, messages...))
}

// people are messages of three senders, of two sources, some with one ID.
func people() []message.Message {
	var messages []message.Message
	for i := range 30 {
		m := newMessage(fmt.Sprint(i/2), fmt.Sprintf("2025-01-%02dT10:00:00Z", 1+i%9), setFrom(fmt.Sprintf("+10%d", i%3)), setText(fmt.Sprint("text ", i)))
		if i%2 == 1 {
			m.Source = "twilio"
		}
		messages = append(messages, m)
	}
	return messages
}

func testErase(t *testing.T, d *db) {
	var m model
	wantEqual(t, "erased from an empty store", 0, erase(t, d, "+100"))
	m.saveBoth(t, d, people()...)
	for _, other := range []string{"+10", "+1000", "100", "", "+100 ", "%", "+200"} {
		wantEqual(t, "erased of "+other, 0, erase(t, d, other))
	}
	m.compare(t, d)
	for _, from := range []string{"+101", "+100"} {
		wantEqual(t, "erased", m.erase(from), erase(t, d, from))
		wantEqual(t, "erased again", 0, erase(t, d, from))
		wantEqual(t, "listed by sender", nil, all(t, d, message.Query{Limit: 10, Filter: message.Filter{From: from}}))
		wantEqual(t, "stats by sender", message.Stats{}, stats(t, d, message.Filter{From: from}))
		m.compare(t, d)
		d.reopen(t)
		m.compare(t, d)
	}
	// The sender is not barred: only what was removed stays away.
	m.saveBoth(t, d, newMessage("new", noon, setFrom("+101")))
	m.compare(t, d)
	wantEqual(t, "erased with the new one", 1, erase(t, d, "+101"))
}

// testEraseRepeats: whoever sends a removed message again is told that it is a
// duplicate, whatever it says now.
func testEraseRepeats(t *testing.T, d *db) {
	a := newMessage("a", noon, setText("one"))
	same := newMessage("a", noon, setSource("twilio"), setFrom("+300"))
	other := newMessage("b", noon, setFrom("+300"))
	save(t, d, a, same, other)
	wantEqual(t, "erased", 1, erase(t, d, a.From))
	for range 2 {
		wantEqual(t, "repeat", outcomes(duplicate), save(t, d, a))
		wantEqual(t, "repeat that says something else", outcomes(duplicate), save(t, d, newMessage("a", noon, setText("two"), setFrom("+999"))))
		wantEqual(t, "among others", outcomes(duplicate, duplicate, duplicate, duplicate), save(t, d, a, same, other, a))
		wantEqual(t, "stored", []message.Message{same, other}, everything(t, d))
		wantEqual(t, "erased again", 0, erase(t, d, a.From))
		d.reopen(t)
	}
	// The same ID of another source is another message, and an ID that looks
	// alike when source and ID are joined is one too.
	more := []message.Message{
		newMessage("a", noon, setSource("whatsapp")), newMessage("ea", noon, setSource("nativ")), newMessage("", noon, setSource("nativea")),
	}
	wantEqual(t, "others", outcomes(created, created, created), save(t, d, more...))
}

// testEraseNewest: what is saved after the newest message was removed is a
// message of its own, also when the database was opened anew in between.
func testEraseNewest(t *testing.T, d *db) {
	var m model
	for i := range 5 {
		from := setFrom(fmt.Sprintf("+4%d", i))
		m.saveBoth(t, d, newMessage(fmt.Sprint("kept ", i), noon))
		m.saveBoth(t, d, newMessage(fmt.Sprint("a", i), noon, from), newMessage(fmt.Sprint("b", i), noon, from))
		wantEqual(t, "erased", m.erase(fmt.Sprintf("+4%d", i)), erase(t, d, fmt.Sprintf("+4%d", i)))
		if i%2 == 0 {
			d.reopen(t)
		}
		m.compare(t, d)
	}
	wantEqual(t, "all the rest", m.erase("+100"), erase(t, d, "+100"))
	m.compare(t, d)
	d.reopen(t)
	m.saveBoth(t, d, newMessage("first again", noon))
	m.compare(t, d)
}

// testEraseMany removes more than one step can, spread over everything.
func testEraseMany(t *testing.T, d *db) {
	var m model
	for i := range 10 {
		var messages []message.Message
		for j := range 200 {
			messages = append(messages, newMessage(fmt.Sprint(i, "-", j), fmt.Sprintf("2025-01-15T10:%02d:%02dZ", j%60, i),
				setFrom(fmt.Sprintf("+10%d", j%2)), setText(fmt.Sprint("text ", j))))
		}
		m.saveBoth(t, d, messages...)
	}
	wantEqual(t, "erased", m.erase("+101"), erase(t, d, "+101"))
	m.compare(t, d)
	d.reopen(t)
	m.compare(t, d)
}

// testEraseWhileSaving: erasing takes nothing from others, and what its sender
// sends meanwhile is erased or stored, as if it had come before or after.
func testEraseWhileSaving(t *testing.T, d *db) {
	var before []message.Message
	for i := range 600 {
		before = append(before, newMessage(fmt.Sprint("before ", i), noon, setFrom("+900")))
	}
	save(t, d, before...)

	const senders, each = 8, 40
	var kept sync.Map
	var erased atomic.Int64
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				others := newMessage(fmt.Sprint(i, "-", j), noon, setFrom(fmt.Sprintf("+80%d", i)))
				own := newMessage(fmt.Sprint("own ", i, "-", j), noon, setFrom("+900"))
				wantEqual(t, "outcomes", outcomes(created, created), saveInGoroutine(t, d, others, own))
				kept.Store(others.ID, true)
			}
		})
	}
	for range 3 {
		wg.Go(func() {
			n, err := d.Erase(t.Context(), "+900")
			if err != nil {
				t.Errorf("Erase: %v", err)
			}
			erased.Add(n)
		})
	}
	wg.Wait()
	left := erase(t, d, "+900")
	wantEqual(t, "erased by all calls", int64(len(before)+senders*each), erased.Load()+left)
	got := everything(t, d)
	for _, m := range got {
		if _, ok := kept.Load(m.ID); !ok {
			t.Errorf("%s is stored", m.ID)
		}
	}
	wantEqual(t, "how many of others are stored", senders*each, len(got))
	wantEqual(t, "Status().Messages", int64(senders*each), d.Status().Messages)
	for i, o := range save(t, d, before...) {
		if o != duplicate {
			t.Fatalf("repeat of message %d: %+v", i, o)
		}
	}
}

func testEraseContextEnded(t *testing.T, d *db) {
	var m model
	m.saveBoth(t, d, people()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := d.Erase(ctx, "+100"); n != 0 || !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Erase with an ended context: %d, %v, want ErrUnavailable", n, err)
	}
	if n, err := d.Expire(ctx, instant("2026-01-01T00:00:00Z")); n != 0 || !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Expire with an ended context: %d, %v, want ErrUnavailable", n, err)
	}
	m.compare(t, d)
	wantEqual(t, "erased by the next call", m.erase("+100"), erase(t, d, "+100"))
}

func received(ts string) func(*message.Message) {
	return func(m *message.Message) { m.ReceivedAt = instant(ts) }
}

func testExpire(t *testing.T, d *db) {
	var m model
	const old, edge, young = "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", "2025-02-01T00:00:00.001Z"
	m.saveBoth(t, d,
		newMessage("old", old, received(old)),
		newMessage("old, a nanosecond before", "2025-01-31T23:59:59.999999999Z", received("2025-01-31T23:59:59.999Z")),
		newMessage("at the time", edge, received(edge)),
		newMessage("arrived at the time", old, received(edge)),
		newMessage("ts at the time", edge, received(old)),
		newMessage("young", young, received(young)),
		newMessage("arrived now with a clock at 1970", "1970-01-01T00:00:00Z"),
		newMessage("arrived now", old),
		newMessage("from the future, arrived long ago", "2099-01-01T00:00:00Z", received(old)),
		newMessage("before 1970", "1969-12-31T23:59:59.5Z", received("1970-01-01T00:00:00Z")),
		newMessage("in the year 1", "0001-01-01T00:00:00Z", received("0001-01-01T00:00:00.001Z")),
	)
	for _, before := range []string{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.002Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.001Z", edge, edge, young, "2025-02-01T00:00:00.0015Z"} {
		wantEqual(t, "expired before "+before, m.expire(instant(before)), expire(t, d, instant(before)))
		m.compare(t, d)
	}
	d.reopen(t)
	m.compare(t, d)
	wantEqual(t, "what is left", 3, len(m.rows))
}

func testExpireRepeats(t *testing.T, d *db) {
	a := newMessage("a", noon, received(noon), setText("one"))
	save(t, d, a)
	wantEqual(t, "expired", 1, expire(t, d, instant(noon).Add(time.Millisecond)))
	wantEqual(t, "repeat", outcomes(duplicate), save(t, d, a))
	wantEqual(t, "repeat that says something else", outcomes(duplicate), save(t, d, newMessage("a", noon, setText("two"))))
	d.reopen(t)
	wantEqual(t, "repeat", outcomes(duplicate), save(t, d, a))
	wantEqual(t, "stored", nil, everything(t, d))
}

// testExpireMany: more than one page, and what is kept in between is passed by.
func testExpireMany(t *testing.T, d *db) {
	var m model
	for i := range 8 {
		var messages []message.Message
		for j := range 200 {
			n := newMessage(fmt.Sprint(i, "-", j), "2025-01-01T00:00:00Z", received("2025-01-02T00:00:00Z"))
			if j%3 == 0 {
				n.ReceivedAt = time.Time{}
			}
			if j%2 == 0 {
				setTS(fmt.Sprintf("2024-12-31T00:%02d:%02dZ", i, j%60))(&n)
			}
			messages = append(messages, n)
		}
		m.saveBoth(t, d, messages...)
	}
	before := instant("2025-02-01T00:00:00Z")
	wantEqual(t, "expired", m.expire(before), expire(t, d, before))
	m.compare(t, d)
	wantEqual(t, "expired again", 0, expire(t, d, before))
}
