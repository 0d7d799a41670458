package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"lyftr/internal/message"
)

func stats(t failer, s message.Store, f message.Filter) message.Stats {
	t.Helper()
	st, err := s.Stats(t.Context(), f)
	if err != nil {
		t.Fatalf("Stats(%+v): %v", f, err)
	}
	return st
}

func testStatsEmpty(t *testing.T, d *db) {
	wantEqual(t, "of an empty store", message.Stats{}, stats(t, d, message.Filter{}))
	save(t, d, newMessage("a", noon))
	wantEqual(t, "without a match", message.Stats{}, stats(t, d, message.Filter{From: "+999"}))
}

func testStatsTop(t *testing.T, d *db) {
	n := 0
	send := func(from string, count int) {
		for range count {
			n++
			save(t, d, newMessage(fmt.Sprint(n), fmt.Sprintf("2025-01-15T10:%02d:%02dZ", n/60, n%60), setFrom(from)))
		}
	}
	for _, s := range []struct {
		from  string
		count int
	}{
		{"+5", 3}, {"+40", 3}, {"+4", 3}, {"+400", 3}, {"+04", 3}, // ties, by bytes
		{"+9", 7}, {"+1", 1}, {"+2", 1}, {"+3", 2},
	} {
		send(s.from, s.count)
	}
	want := message.Stats{
		Total: 26, Senders: 9,
		Top: []message.SenderCount{
			{From: "+9", Count: 7},
			{From: "+04", Count: 3}, {From: "+4", Count: 3}, {From: "+40", Count: 3}, {From: "+400", Count: 3}, {From: "+5", Count: 3},
			{From: "+3", Count: 2},
			{From: "+1", Count: 1}, {From: "+2", Count: 1},
		},
		FirstTS: "2025-01-15T10:00:01Z", LastTS: "2025-01-15T10:00:26Z",
	}
	wantEqual(t, "nine senders", want, stats(t, d, message.Filter{}))

	// Three more with one message: ten are named, the last of them by a tie.
	send("+15", 1)
	send("+0", 1)
	send("+8", 1)
	want.Total, want.Senders, want.LastTS = 29, 12, "2025-01-15T10:00:29Z"
	want.Top = append(want.Top[:7], message.SenderCount{From: "+0", Count: 1},
		message.SenderCount{From: "+1", Count: 1}, message.SenderCount{From: "+15", Count: 1})
	wantEqual(t, "twelve senders", want, stats(t, d, message.Filter{}))
}

func testStatsFilters(t *testing.T, d *db) {
	save(t, d,
		newMessage("b", "2025-01-15T10:00:00.50Z", setFrom("+1"), setTo("+9"), setText("one")),
		newMessage("a", "2025-01-15T10:00:00.5Z", setFrom("+2"), setTo("+9"), setText("two")),
		newMessage("c", "2025-01-15T10:00:00Z", setFrom("+1"), setTo("+8")),
		newMessage("d", "2025-01-15T11:00:00.000Z", setFrom("+1"), setTo("+9"), setText("One")),
		newMessage("d", "2025-01-15T11:00:00Z", setFrom("+3"), setTo("+9"), setSource("twilio")),
	)
	count := func(from string, n int64) message.SenderCount { return message.SenderCount{From: from, Count: n} }
	tests := []struct {
		name   string
		filter message.Filter
		want   message.Stats
	}{
		{"none", message.Filter{}, message.Stats{
			Total: 5, Senders: 3, Top: []message.SenderCount{count("+1", 3), count("+2", 1), count("+3", 1)},
			FirstTS: "2025-01-15T10:00:00Z", LastTS: "2025-01-15T11:00:00Z",
		}},
		{"from", message.Filter{From: "+1"}, message.Stats{
			Total: 3, Senders: 1, Top: []message.SenderCount{count("+1", 3)},
			FirstTS: "2025-01-15T10:00:00Z", LastTS: "2025-01-15T11:00:00.000Z",
		}},
		{"since: the first of one instant by ID", message.Filter{Since: instant("2025-01-15T10:00:00.1Z")}, message.Stats{
			Total: 4, Senders: 3, Top: []message.SenderCount{count("+1", 2), count("+2", 1), count("+3", 1)},
			FirstTS: "2025-01-15T10:00:00.5Z", LastTS: "2025-01-15T11:00:00Z",
		}},
		{"until: the last of one instant by ID", message.Filter{Until: instant("2025-01-15T11:00:00Z")}, message.Stats{
			Total: 3, Senders: 2, Top: []message.SenderCount{count("+1", 2), count("+2", 1)},
			FirstTS: "2025-01-15T10:00:00Z", LastTS: "2025-01-15T10:00:00.50Z",
		}},
		{"source", message.Filter{Source: "twilio"}, message.Stats{
			Total: 1, Senders: 1, Top: []message.SenderCount{count("+3", 1)},
			FirstTS: "2025-01-15T11:00:00Z", LastTS: "2025-01-15T11:00:00Z",
		}},
		{"source and times", message.Filter{Source: message.SourceNative, Since: instant("2025-01-15T10:00:00.1Z")}, message.Stats{
			Total: 3, Senders: 2, Top: []message.SenderCount{count("+1", 2), count("+2", 1)},
			FirstTS: "2025-01-15T10:00:00.5Z", LastTS: "2025-01-15T11:00:00.000Z",
		}},
		{"to and text", message.Filter{To: "+9", Text: "ONE"}, message.Stats{
			Total: 2, Senders: 1, Top: []message.SenderCount{count("+1", 2)},
			FirstTS: "2025-01-15T10:00:00.50Z", LastTS: "2025-01-15T11:00:00.000Z",
		}},
	}
	for _, tt := range tests {
		wantEqual(t, tt.name, tt.want, stats(t, d, tt.filter))
	}
}

func testTimeline(t *testing.T, d *db) {
	save(t, d,
		newMessage("1", "1969-12-30T23:59:59.999999999Z"),
		newMessage("2", "1969-12-31T00:00:00Z"),
		newMessage("3", "1969-12-31T22:59:59Z"),
		newMessage("4", "1969-12-31T23:58:59.5Z"),
		newMessage("5", "1969-12-31T23:59:00Z"),
		newMessage("6", "1969-12-31T23:59:59.999999999Z"),
		newMessage("7", "1970-01-01T00:00:00Z"),
		newMessage("8", "1970-01-01T00:01:59Z", setFrom("+1"), setText("x")),
		newMessage("9", "1970-01-01T02:00:00Z", setFrom("+1")),
		newMessage("9", "1970-01-01T00:02:00Z", setSource("twilio")),
	)
	line := func(entries ...any) (line []message.BucketCount) {
		for i := 0; i < len(entries); i += 2 {
			line = append(line, message.BucketCount{Start: instant(entries[i].(string)), Count: int64(entries[i+1].(int))})
		}
		return line
	}
	between := func(since, until string) message.Filter {
		return message.Filter{Since: instant(since), Until: instant(until)}
	}
	tests := []struct {
		name   string
		filter message.Filter
		bucket message.Bucket
		want   []message.BucketCount
	}{
		{"days", message.Filter{}, message.Day, line(
			"1969-12-30T00:00:00Z", 1, "1969-12-31T00:00:00Z", 5, "1970-01-01T00:00:00Z", 4)},
		{"hours with empty ones", message.Filter{Since: instant("1969-12-31T21:30:00Z")}, message.Hour, line(
			"1969-12-31T21:00:00Z", 0, "1969-12-31T22:00:00Z", 1, "1969-12-31T23:00:00Z", 3,
			"1970-01-01T00:00:00Z", 3, "1970-01-01T01:00:00Z", 0, "1970-01-01T02:00:00Z", 1)},
		{"source", message.Filter{Source: "twilio"}, message.Hour, line("1970-01-01T00:00:00Z", 1)},
		{"minutes, until on a boundary", between("1969-12-31T23:58:00Z", "1970-01-01T00:03:00Z"), message.Minute, line(
			"1969-12-31T23:58:00Z", 1, "1969-12-31T23:59:00Z", 2, "1970-01-01T00:00:00Z", 1,
			"1970-01-01T00:01:00Z", 1, "1970-01-01T00:02:00Z", 1)},
		{"until behind a boundary", between("1970-01-01T00:00:00Z", "1970-01-01T00:01:00.000000001Z"), message.Minute, line(
			"1970-01-01T00:00:00Z", 1, "1970-01-01T00:01:00Z", 0)},
		{"since within a bucket counts a part of it", between("1969-12-31T23:59:30Z", "1970-01-01T00:00:00Z"), message.Minute, line(
			"1969-12-31T23:59:00Z", 1)},
		{"sender", message.Filter{From: "+1"}, message.Hour, line(
			"1970-01-01T00:00:00Z", 1, "1970-01-01T01:00:00Z", 0, "1970-01-01T02:00:00Z", 1)},
		{"text", message.Filter{Text: "X"}, message.Minute, line("1970-01-01T00:01:00Z", 1)},
		{"no match", message.Filter{From: "+999"}, message.Minute, nil},
		{"no match since", message.Filter{Since: instant("2000-01-01T00:00:00Z")}, message.Minute, nil},
		{"no match between", between("2000-01-01T00:00:00Z", "2000-01-03T00:00:00Z"), message.Day, line(
			"2000-01-01T00:00:00Z", 0, "2000-01-02T00:00:00Z", 0)},
		{"since behind until", between("2000-01-03T00:00:00Z", "2000-01-01T00:00:00Z"), message.Day, nil},
		{"since is until", between("1969-12-31T00:00:00Z", "1969-12-31T00:00:00Z"), message.Day, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := d.Timeline(t.Context(), tt.filter, tt.bucket)
			if err != nil {
				t.Fatalf("Timeline: %v", err)
			}
			wantEqual(t, "buckets", tt.want, got)
		})
	}
}

func testTimelineLimit(t *testing.T, d *db) {
	since := instant("2025-01-15T00:00:00Z")
	full := message.Filter{Since: since, Until: since.Add(message.MaxBuckets * time.Minute)}
	over := message.Filter{Since: since, Until: full.Until.Add(1)}
	wantLine := func(f message.Filter, messages int64) {
		t.Helper()
		line, err := d.Timeline(t.Context(), f, message.Minute)
		if err != nil {
			t.Fatalf("Timeline: %v", err)
		}
		var n int64
		for _, b := range line {
			n += b.Count
		}
		wantEqual(t, "buckets", message.MaxBuckets, len(line))
		wantEqual(t, "messages in them", messages, n)
	}
	wantTooMany := func(f message.Filter, b message.Bucket) {
		t.Helper()
		if line, err := d.Timeline(t.Context(), f, b); !errors.Is(err, message.ErrTooManyBuckets) {
			t.Errorf("Timeline: got %d buckets, error %v, want ErrTooManyBuckets", len(line), err)
		}
	}
	// Without a message between them.
	wantLine(full, 0)
	wantTooMany(over, message.Minute)
	// By the messages alone.
	save(t, d, newMessage("first", "2025-01-15T00:00:59Z"), newMessage("last", full.Until.Add(-time.Minute).Format(time.RFC3339)))
	wantLine(message.Filter{}, 2)
	wantLine(full, 2)
	save(t, d, newMessage("over", full.Until.Format(time.RFC3339)))
	wantLine(full, 2)
	wantTooMany(message.Filter{}, message.Minute)
	wantTooMany(message.Filter{Since: since}, message.Minute)
	// A message in every bucket.
	var each []message.Message
	for at := since; at.Before(full.Until); at = at.Add(time.Minute) {
		each = append(each, newMessage(fmt.Sprint("each ", len(each)), at.Format(time.RFC3339)))
	}
	for part := range slices.Chunk(each, 1000) {
		save(t, d, part...)
	}
	wantLine(full, message.MaxBuckets+2)
	wantTooMany(message.Filter{}, message.Minute)
	// As far apart as messages can be.
	save(t, d, newMessage("oldest", "0001-01-01T00:00:00Z"), newMessage("youngest", "9999-12-31T23:59:59.999999999Z"))
	wantTooMany(message.Filter{}, message.Day)
	wantTooMany(message.Filter{}, message.Minute)
	wantLine(full, message.MaxBuckets+2)
}
