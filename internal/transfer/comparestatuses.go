package transfer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"strings"
	"time"

	"lyftr/internal/message"
)

// statusLag is how much later than it was accepted a status may be stored: it
// waits for its commit.
const statusLag = time.Second

// CompareStatuses walks through the statuses of both stores side by side.
func (c *Comparer) CompareStatuses(ctx context.Context) (Comparison, error) {
	since := c.StatusesSince
	if since.IsZero() {
		since = time.Now()
	}
	since = since.Add(-statusLag)
	s := sides[message.Status]{
		what: "statuses",
		walk: func(ctx context.Context, db message.Store, yield func(message.Status) error) error {
			return db.WalkStatuses(ctx, yield)
		},
		order: func(a, b *message.Status) int {
			return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Source, b.Source), strings.Compare(a.Status, b.Status))
		},
		id:     func(s *message.Status) string { return s.ID },
		weight: func(s *message.Status) int { return len(s.Raw) },
		dated:  func(s *message.Status) bool { return !s.ReceivedAt.IsZero() },
		row:    appendStatusRow,
		arrived: func(_ context.Context, s *message.Status, _ time.Time) (bool, error) {
			return !s.ReceivedAt.Before(since), nil
		},
		differ: func(a, b *message.Status) {
			if c.OnStatusDifference != nil {
				c.OnStatusDifference(a, differingStatus(a, b))
			}
		},
		count: func(done int64) {
			if c.OnStatus != nil {
				c.OnStatus(done)
			}
		},
	}
	return s.compare(ctx, c.From, c.To)
}

// differingStatus names the members in which two statuses of one key differ, none
// if there is no other.
func differingStatus(a, b *message.Status) []string {
	if b == nil {
		return nil
	}
	return names(
		member{"recipient", a.Recipient != b.Recipient},
		member{"at", a.At.UnixMilli() != b.At.UnixMilli()},
		member{"received_at", !a.ReceivedAt.IsZero() && (b.ReceivedAt.IsZero() || a.ReceivedAt.UnixMilli() != b.ReceivedAt.UnixMilli())},
		member{"raw", !bytes.Equal(a.Raw, b.Raw)},
	)
}

// appendStatusRow appends all that is known of a status.
func appendStatusRow(b []byte, s *message.Status, dated bool) []byte {
	for _, field := range [...]string{s.Source, s.ID, s.Status, s.Recipient} {
		b = appendField(b, field)
	}
	b = binary.AppendVarint(b, s.At.UnixMilli())
	return appendArrival(b, s.ReceivedAt, dated, s.Raw)
}
