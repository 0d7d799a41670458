package transfer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"lyftr/internal/message"
)

// Sum is a number of messages, or statuses, and a hash over all that is known of
// each of them, in order: that of a list, or of Store.WalkStatuses.
type Sum struct {
	Count  int64
	SHA256 [sha256.Size]byte
}

// Comparison is what Compare found of messages, or CompareStatuses of statuses.
type Comparison struct {
	From Sum
	// To is of the messages that From has.
	To Sum
	// Missing messages are not in To, or not at their time; Different ones are
	// there with anything else than in From.
	Missing, Different int64
	// More is how many messages To has that From has not.
	More int64
	// Arrived is how many messages From got meanwhile that To does not have: they
	// are left out of everything else.
	Arrived int64
	// Undated is how many messages have no time of arrival in From. To has one,
	// when they were copied; it is left out of both hashes.
	Undated int64
}

// Equal reports whether To has every message of From.
func (c *Comparison) Equal() bool { return c.From == c.To && c.Missing == 0 && c.Different == 0 }

// Comparer compares two stores message by message, at constant memory but for
// what arrives meanwhile, and status by status.
type Comparer struct {
	From, To message.Store
	// Since is a position in the feed of From, its end if left out. What stands
	// behind it is compared if To has it, and is not missing if To has not.
	Since string
	// StatusesSince is a time, the begin of CompareStatuses if left out. Statuses
	// that From got since then are not missing if To does not have them.
	StatusesSince time.Time
	// OnMessage, if set, is called for each message of From.
	OnMessage func(done int64)
	// OnDifference, if set, is told of each message that is different, with the
	// members that differ, and of each that is missing, with none.
	OnDifference func(m *message.Message, members []string)
	// OnStatus and OnStatusDifference are the same for statuses.
	OnStatus           func(done int64)
	OnStatusDifference func(s *message.Status, members []string)
}

// Compare walks through the messages of both stores side by side.
func (c *Comparer) Compare(ctx context.Context) (Comparison, error) {
	if c.Since == "" {
		end, err := c.From.Feed(ctx, message.FeedLatest, 0)
		if err != nil {
			return Comparison{}, fmt.Errorf("%w: %w", ErrCopyRead, err)
		}
		c.Since = end.Next
	}
	arrived := arrivals{db: c.From, position: c.Since, seen: map[[2]string]bool{}}
	s := sides[message.Message]{
		what: "messages",
		walk: func(ctx context.Context, db message.Store, yield func(message.Message) error) error {
			return db.Walk(ctx, message.Filter{}, message.Ascending, yield)
		},
		order: func(a, b *message.Message) int {
			return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID), strings.Compare(a.Source, b.Source))
		},
		id:      func(m *message.Message) string { return m.ID },
		weight:  weight,
		dated:   func(m *message.Message) bool { return !m.ReceivedAt.IsZero() },
		row:     appendRow,
		arrived: arrived.has,
		differ: func(a, b *message.Message) {
			if c.OnDifference != nil {
				c.OnDifference(a, differing(a, b))
			}
		},
		count: func(done int64) {
			if c.OnMessage != nil {
				c.OnMessage(done)
			}
		},
	}
	return s.compare(ctx, c.From, c.To)
}

// member is one that may differ.
type member struct {
	name   string
	differ bool
}

// names are those of the members that differ.
func names(members ...member) (names []string) {
	for _, m := range members {
		if m.differ {
			names = append(names, m.name)
		}
	}
	return names
}

// differing names the members in which two messages of one key differ, none if
// there is no other.
func differing(a, b *message.Message) []string {
	if b == nil {
		return nil
	}
	return names(
		member{"from", a.From != b.From},
		member{"to", a.To != b.To},
		member{"ts", a.TS != b.TS},
		member{"text", (a.Text == nil) != (b.Text == nil) || a.Text != nil && *a.Text != *b.Text},
		member{"received_at", !a.ReceivedAt.IsZero() && (b.ReceivedAt.IsZero() || a.ReceivedAt.UnixMilli() != b.ReceivedAt.UnixMilli())},
		member{"raw", !bytes.Equal(a.Raw, b.Raw)},
	)
}

// arrivals are the messages behind a position of a feed.
type arrivals struct {
	db       message.Store
	position string
	looked   time.Time          // for the last time
	seen     map[[2]string]bool // source and ID
}

// has reports whether the feed has the message, which was read at a time, behind
// the position.
func (r *arrivals) has(ctx context.Context, m *message.Message, read time.Time) (bool, error) {
	key := [2]string{m.Source, m.ID}
	if r.seen[key] || r.looked.After(read) {
		return r.seen[key], nil
	}
	r.looked = time.Now()
	for more := true; more; {
		page, err := r.db.Feed(ctx, r.position, message.MaxFeedLimit)
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrCopyRead, err)
		}
		for i := range page.Messages {
			r.seen[[2]string{page.Messages[i].Source, page.Messages[i].ID}] = true
		}
		r.position, more = page.Next, page.More
	}
	return r.seen[key], nil
}

// appendRow appends all that is known of a message.
func appendRow(b []byte, m *message.Message, dated bool) []byte {
	for _, s := range [...]string{m.Source, m.ID, m.From, m.To, m.TS} {
		b = appendField(b, s)
	}
	b = binary.AppendVarint(b, m.At.Unix())
	b = binary.AppendVarint(b, int64(m.At.Nanosecond()))
	if m.Text == nil {
		b = append(b, 0)
	} else {
		b = appendField(append(b, 1), *m.Text)
	}
	return appendArrival(b, m.ReceivedAt, dated, m.Raw)
}

// What a row has at its end.
const (
	rowReceivedAt = 1 << iota
	rowRaw
)

// appendArrival appends the time of arrival, unless it is not to count or is not
// known, and raw, unless there is none.
func appendArrival(b []byte, at time.Time, dated bool, raw []byte) []byte {
	what := len(b)
	b = append(b, 0)
	if dated && !at.IsZero() {
		b[what] |= rowReceivedAt
		b = binary.AppendVarint(b, at.UnixMilli())
	}
	if len(raw) > 0 {
		b[what] |= rowRaw
		b = appendField(b, raw)
	}
	return b
}

// appendField appends a string behind its length.
func appendField[S string | []byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
