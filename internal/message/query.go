package message

import (
	"errors"
	"time"
)

// Limits of a page of messages.
const (
	DefaultLimit = 50
	MaxLimit     = 100
)

// MaxBuckets is the largest number of buckets in one timeline.
const MaxBuckets = 10_000

// TopSenders is how many senders Stats names.
const TopSenders = 10

// ErrTooManyBuckets is what Store.Timeline returns for more than MaxBuckets.
var ErrTooManyBuckets = errors.New("too many buckets")

// Filter chooses messages. The zero value matches all; every member that is
// set narrows it.
type Filter struct {
	From  string    // exact sender
	To    string    // exact recipient
	Since time.Time // inclusive
	Until time.Time // exclusive
	// Text is a substring of the text, compared without regard to case by
	// Fold. Nothing in it is a wildcard.
	Text   string
	Source string // exact source
}

// OnlyTimes reports whether a filter chooses by times alone, if at all.
func (f Filter) OnlyTimes() bool { return f == Filter{Since: f.Since, Until: f.Until} }

// Order is the direction of a list; the key is always the instant, then the ID
// by bytes, then the source by bytes.
type Order string

// The orders of a list. The zero value is Ascending.
const (
	Ascending  Order = "asc"
	Descending Order = "desc"
)

// Query asks for one page of messages.
type Query struct {
	Filter
	Limit  int   // 1 to MaxLimit
	Offset int64 // 0 or more; not used with a cursor
	Cursor string
	Order  Order
	// NoTotal says that nobody needs Page.Total: a page of many matches may be
	// found without looking at all of them.
	NoTotal bool
}

// Page is one page of messages.
type Page struct {
	Messages []Message
	// Total is the exact number of messages that match the filter, -1 if the
	// query said NoTotal.
	Total int64
	// NextCursor continues behind the last message; empty at the end.
	NextCursor string
}

// Stats sums up the messages that match a filter.
type Stats struct {
	Total   int64
	Senders int64
	// Top holds at most TopSenders senders, most messages first, equal counts
	// by sender.
	Top []SenderCount
	// FirstTS and LastTS are the timestamps, as received, of the first and the
	// last message in list order; empty if there is none.
	FirstTS, LastTS string
}

// SenderCount is how many messages came from one sender.
type SenderCount struct {
	From  string
	Count int64
}

// Bucket is the width of a timeline's buckets, which begin at whole UTC
// minutes, hours or days.
type Bucket time.Duration

// The widths of a timeline's buckets.
const (
	Minute = Bucket(time.Minute)
	Hour   = Bucket(time.Hour)
	Day    = Bucket(24 * time.Hour)
)

// Seconds is the bucket's width in seconds.
func (b Bucket) Seconds() int64 { return int64(time.Duration(b) / time.Second) }

// Floor returns the start of the bucket that holds the Unix time, in seconds.
func (b Bucket) Floor(unix int64) int64 {
	w := b.Seconds()
	r := unix % w
	if r < 0 {
		r += w
	}
	return unix - r
}

// BucketCount is the number of messages in the bucket that starts at Start.
type BucketCount struct {
	Start time.Time
	Count int64
}

// FillBuckets turns the counts of the buckets that hold messages, keyed by
// their start in Unix seconds, into a timeline without gaps. It reaches from
// the filter's Since and to its Until where they are set, else from the first
// and to the last bucket in counts.
func FillBuckets(f Filter, b Bucket, counts map[int64]int64) ([]BucketCount, error) {
	var first, last int64
	known := false
	for start := range counts {
		if !known {
			first, last, known = start, start, true
		}
		first, last = min(first, start), max(last, start)
	}
	if !known && (f.Since.IsZero() || f.Until.IsZero()) {
		return []BucketCount{}, nil
	}
	if !f.Since.IsZero() {
		first = b.Floor(f.Since.Unix())
	}
	if !f.Until.IsZero() {
		// Until is exclusive: a range that ends on a boundary does not touch
		// the bucket behind it.
		last = b.Floor(f.Until.Add(-1).Unix())
	}
	if last < first {
		return []BucketCount{}, nil
	}
	n := (last-first)/b.Seconds() + 1
	if n > MaxBuckets {
		return nil, ErrTooManyBuckets
	}
	line := make([]BucketCount, 0, n)
	for start := first; start <= last; start += b.Seconds() {
		line = append(line, BucketCount{Start: time.Unix(start, 0).UTC(), Count: counts[start]})
	}
	return line, nil
}
