package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lyftr/internal/message"
)

// walked are all messages that a walk yields.
func walked(t failer, s message.Store, f message.Filter, o message.Order) []message.Message {
	t.Helper()
	var all []message.Message
	if err := s.Walk(t.Context(), f, o, func(m message.Message) error { all = append(all, m); return nil }); err != nil {
		t.Fatalf("Walk(%+v, %s): %v", f, o, err)
	}
	return all
}

// testWalk: everything that matches, in order, with all that is known of it.
func testWalk(t *testing.T, d *db) {
	wantEqual(t, "an empty walk", nil, walked(t, d, message.Filter{}, message.Ascending))
	messages := manyTies()
	save(t, d, messages...)
	m := model{}
	m.save(messages)
	for _, f := range []message.Filter{
		{}, {From: "+1"}, {To: "+200"}, {Text: "X"}, {Since: instant(noon)}, {Until: instant(noon)},
		{From: "+1", Text: "x", Since: instant("2025-01-01T00:00:00Z"), Until: instant("2026-01-01T00:00:00Z")}, {From: "+nobody"},
	} {
		for _, o := range []message.Order{"", message.Ascending, message.Descending} {
			wantEqual(t, fmt.Sprintf("Walk(%+v, %s)", f, o), m.matching(f, o), walked(t, d, f, o))
		}
	}
	for _, got := range walked(t, d, message.Filter{}, "") {
		one, err := d.Get(t.Context(), got.Source, got.ID)
		if err != nil || !one.ReceivedAt.Equal(got.ReceivedAt) || got.ReceivedAt.IsZero() {
			t.Errorf("%s was received at %v, in the walk at %v, %v", got.ID, one.ReceivedAt, got.ReceivedAt, err)
		}
	}
}

// walkRows is more than any store reads at one time.
const walkRows = 2500

// longHistory are messages that come in pieces. Every fourth is of the same
// instant as the one before it, and the sources differ.
func longHistory(prefix string) []message.Message {
	begin := instant(noon)
	messages := make([]message.Message, walkRows)
	for i := range messages {
		at := begin.Add(time.Duration(i/4) * time.Second)
		messages[i] = newMessage(fmt.Sprintf("%s%05d", prefix, i*7919%walkRows), at.Format("2006-01-02T15:04:05Z"),
			setFrom("+"+fmt.Sprint(i%3+1)), setSource([]string{message.SourceNative, "twilio"}[i%2]))
	}
	return messages
}

// testWalkMeanwhile: what was there at the start comes once and in order,
// whatever is stored on the way, before and behind the place; nothing comes
// twice.
func testWalkMeanwhile(t *testing.T, d *db) {
	m := model{rows: longHistory("m")}
	save(t, d, m.rows...)
	for _, o := range []message.Order{message.Ascending, message.Descending} {
		for _, f := range []message.Filter{{}, {From: "+2"}} {
			want := m.matching(f, o)
			there := map[string]bool{}
			for _, r := range m.rows {
				there[r.Source+"/"+r.ID] = true
			}
			var got []message.Message
			seen := map[string]bool{}
			n := 0
			err := d.Walk(t.Context(), f, o, func(r message.Message) error {
				if n++; n%500 == 1 {
					arriving := longHistory(fmt.Sprintf("%s%s%d", o, f.From, n))[n%walkRows/3 : n%walkRows/3+20]
					save(t, d, arriving...) // nothing is held: a save does not wait
					m.save(arriving)
				}
				i := r.Source + "/" + r.ID
				if seen[i] {
					t.Errorf("%s comes twice", i)
				}
				if seen[i] = true; there[i] {
					got = append(got, r)
				}
				return nil
			})
			if err != nil {
				t.Fatalf("Walk: %v", err)
			}
			wantEqual(t, fmt.Sprintf("what was there at the start, %s, %+v", o, f), want, got)
		}
	}
}

// testWalkEnds: an error of yield ends it and comes back as it is, at any place;
// so does the context, as unavailable.
func testWalkEnds(t *testing.T, d *db) {
	save(t, d, longHistory("m")...)
	mine := errors.New("enough")
	for _, after := range []int{1, 2, 999, 1000, 1001, walkRows} {
		n := 0
		err := d.Walk(t.Context(), message.Filter{}, "", func(message.Message) error {
			if n++; n == after {
				return mine
			}
			return nil
		})
		if err != mine || n != after { //nolint:errorlint // as it is
			t.Errorf("after %d: got %v after %d, want the error of yield", after, err, n)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := d.Walk(ctx, message.Filter{}, "", func(message.Message) error {
		n++
		cancel()
		return nil
	})
	if !errors.Is(err, message.ErrUnavailable) || !errors.Is(err, context.Canceled) || n == walkRows {
		t.Errorf("with an ended context: got %v after %d of %d messages, want ErrUnavailable", err, n, walkRows)
	}
	if err := d.Walk(ctx, message.Filter{}, "", func(message.Message) error { return mine }); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("with an ended context: got %v, want ErrUnavailable", err)
	}
}

// walkAll compares a whole walk with the model.
func (r *random) walkAll(t *rapid.T) {
	f, o := someFilters.Draw(t, "filter"), someOrders.Draw(t, "order")
	wantEqual(t, "Walk", r.model.matching(f, o), walked(t, r, f, o))
}
