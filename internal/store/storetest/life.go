package storetest

import (
	"fmt"
	"testing"

	"lyftr/internal/message"
)

func testStatus(t *testing.T, d *db) {
	check := func(rows int64) {
		t.Helper()
		if err := d.Ready(t.Context()); err != nil {
			t.Errorf("Ready: %v", err)
		}
		st := d.Status()
		wantEqual(t, "Status().Messages", rows, st.Messages)
		wantEqual(t, "List's total", rows, list(t, d, message.Query{Limit: 1}).Total)
		wantEqual(t, "Stats' total", rows, stats(t, d, message.Filter{}).Total)
		wantEqual(t, "Status().QueueDepth", 0, st.QueueDepth)
		if st.QueueCapacity <= 0 {
			t.Errorf("Status: the queue has room for %d", st.QueueCapacity)
		}
		if st.DatabaseBytes <= 0 || st.LogBytes < 0 {
			t.Errorf("Status: the database has %d bytes, its log %d", st.DatabaseBytes, st.LogBytes)
		}
		select {
		case <-d.Failed():
			t.Error("Failed is closed")
		default:
		}
	}
	check(0)
	a, b := newMessage("a", noon), newMessage("b", noon)
	save(t, d, a)
	check(1)
	save(t, d, a, newMessage("a", noon, setText("other")))
	check(1)
	save(t, d, b, b, newMessage("a", noon, setSource("twilio")))
	check(3)
	d.reopen(t)
	check(3)
	save(t, d, a, newMessage("e", noon))
	check(4)
}

func testReopen(t *testing.T, d *db) {
	messages := manyTies()
	save(t, d, messages...)
	whole := everything(t, d)
	first := message.Query{Limit: 5}
	filtered := message.Query{Limit: 2, Order: message.Descending, Filter: message.Filter{From: "+1", Text: "X"}}
	cursor := list(t, d, first).NextCursor
	filteredWhole := all(t, d, filtered)
	filteredCursor := list(t, d, filtered).NextCursor
	numbers := stats(t, d, message.Filter{})

	for again := range 2 {
		d.reopen(t)
		wantEqual(t, "messages", whole, everything(t, d))
		wantEqual(t, "stats", numbers, stats(t, d, message.Filter{}))
		for i, o := range save(t, d, messages...) {
			wantEqual(t, fmt.Sprintf("opened again %d times: outcome of the repeat of message %d", again+1, i), duplicate, o)
		}
		q := first
		q.Cursor = cursor
		wantEqual(t, "behind an old cursor", whole[5:], all(t, d, q))
		q = filtered
		q.Cursor = filteredCursor
		wantEqual(t, "behind an old cursor with a filter", filteredWhole[2:], all(t, d, q))
	}
}
