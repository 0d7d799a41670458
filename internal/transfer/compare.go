package transfer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"strings"
	"time"

	"lyftr/internal/message"
)

// Sum is a number of messages and a hash over all that is known of each of them,
// in the order of a list.
type Sum struct {
	Messages int64
	SHA256   [sha256.Size]byte
}

// Comparison is what Compare found.
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
// what arrives meanwhile.
type Comparer struct {
	From, To message.Store
	// Since is a position in the feed of From, its end if left out. What stands
	// behind it is compared if To has it, and is not missing if To has not.
	Since string
	// OnMessage, if set, is called for each message of From.
	OnMessage func(done int64)
	// OnDifference, if set, is told of each message that is different, with the
	// members that differ, and of each that is missing, with none.
	OnDifference func(m *message.Message, members []string)
}

// Compare walks through both stores side by side.
func (c *Comparer) Compare(ctx context.Context) (Comparison, error) {
	if c.Since == "" {
		end, err := c.From.Feed(ctx, message.FeedLatest, 0)
		if err != nil {
			return Comparison{}, fmt.Errorf("%w: %w", ErrCopyRead, err)
		}
		c.Since = end.Next
	}
	from, to := startWalk(ctx, "source", c.From), startWalk(ctx, "destination", c.To)
	defer from.stop()
	defer to.stop()
	sums := struct{ from, to rowHash }{newRowHash(), newRowHash()}
	result, arrived := Comparison{}, arrivals{db: c.From, position: c.Since, seen: map[[2]string]bool{}}
	a, err := from.next()
	if err != nil {
		return result, err
	}
	b, err := to.next()
	if err != nil {
		return result, err
	}
	count := func() {
		if result.From.Messages++; c.OnMessage != nil {
			c.OnMessage(result.From.Messages)
		}
	}
	for a != nil || b != nil {
		order := compareKeys(a, b)
		switch {
		case order > 0:
			result.More++
		case order < 0:
			late, err := arrived.has(ctx, a, from.page.read)
			if err != nil {
				return result, err
			}
			if late {
				result.Arrived++
				break
			}
			sums.from.add(a, true)
			count()
			result.Missing++
			if c.OnDifference != nil {
				c.OnDifference(a, nil)
			}
		default:
			dated := !a.ReceivedAt.IsZero()
			if !dated {
				result.Undated++
			}
			count()
			result.To.Messages++
			if !bytes.Equal(sums.from.add(a, dated), sums.to.add(b, dated)) {
				result.Different++
				if c.OnDifference != nil {
					c.OnDifference(a, differing(a, b))
				}
			}
		}
		if order <= 0 {
			if a, err = from.next(); err != nil {
				return result, err
			}
		}
		if order >= 0 {
			if b, err = to.next(); err != nil {
				return result, err
			}
		}
	}
	result.From.SHA256, result.To.SHA256 = sums.from.sum(), sums.to.sum()
	return result, nil
}

// compareKeys compares two messages by the order of a list. Behind the last
// there is nil.
func compareKeys(a, b *message.Message) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID), strings.Compare(a.Source, b.Source))
}

// differing names the members in which two messages of one key differ.
func differing(a, b *message.Message) (members []string) {
	for _, m := range []struct {
		name   string
		differ bool
	}{
		{"from", a.From != b.From},
		{"to", a.To != b.To},
		{"ts", a.TS != b.TS},
		{"text", (a.Text == nil) != (b.Text == nil) || a.Text != nil && *a.Text != *b.Text},
		{"received_at", !a.ReceivedAt.IsZero() && (b.ReceivedAt.IsZero() || a.ReceivedAt.UnixMilli() != b.ReceivedAt.UnixMilli())},
	} {
		if m.differ {
			members = append(members, m.name)
		}
	}
	return members
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

// walkMessages is how many messages go from one goroutine to another at one
// time.
const walkMessages = 256

// walkPage is a piece of a walk.
type walkPage struct {
	messages []message.Message
	read     time.Time // the last of them
}

// walk is a Store.Walk in a goroutine of its own.
type walk struct {
	name  string
	pages chan walkPage
	page  walkPage // what is left of it
	err   error    // set before pages is closed
	last  *message.Message
	end   context.CancelFunc
}

// startWalk begins to walk through all messages; stop ends it.
func startWalk(ctx context.Context, name string, db message.Store) *walk {
	ctx, end := context.WithCancel(ctx)
	w := &walk{name: name, pages: make(chan walkPage, 1), end: end}
	go func() {
		defer close(w.pages)
		var page walkPage
		send := func() error {
			page.read = time.Now()
			select {
			case w.pages <- page:
				page = walkPage{}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w.err = db.Walk(ctx, message.Filter{}, message.Ascending, func(m message.Message) error {
			if page.messages = append(page.messages, m); len(page.messages) == walkMessages {
				return send()
			}
			return nil
		})
		if w.err == nil {
			w.err = send()
		}
	}()
	return w
}

// stop waits until the goroutine has ended.
func (w *walk) stop() {
	w.end()
	for range w.pages { // until it has
	}
}

// next returns the next message, nil at the end. A store that does not list in
// order cannot be compared.
func (w *walk) next() (*message.Message, error) {
	for len(w.page.messages) == 0 {
		var ok bool
		if w.page, ok = <-w.pages; !ok {
			if w.err != nil {
				return nil, fmt.Errorf("read the %s: %w", w.name, w.err)
			}
			return nil, nil
		}
	}
	m := &w.page.messages[0]
	w.page.messages = w.page.messages[1:]
	if w.last != nil && compareKeys(w.last, m) >= 0 {
		return nil, fmt.Errorf("the %s lists its messages out of order: %q after %q", w.name, m.ID, w.last.ID)
	}
	w.last = m
	return m, nil
}

// rowHash hashes messages one after the other.
type rowHash struct {
	hash   hash.Hash
	buffer []byte
}

func newRowHash() rowHash { return rowHash{hash: sha256.New()} }

// add adds a message, with its time of arrival or without, and returns what it
// added, which is good until the next one.
func (h *rowHash) add(m *message.Message, dated bool) []byte {
	h.buffer = appendRow(h.buffer[:0], m, dated)
	_, _ = h.hash.Write(h.buffer) // a hash takes everything
	return h.buffer
}

func (h *rowHash) sum() (sum [sha256.Size]byte) {
	h.hash.Sum(sum[:0])
	return sum
}

// appendRow appends all that is known of a message, so that different messages
// are different bytes, and the bytes of several can be told apart.
func appendRow(b []byte, m *message.Message, dated bool) []byte {
	for _, s := range [...]string{m.Source, m.ID, m.From, m.To, m.TS} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.AppendVarint(b, m.At.Unix())
	b = binary.AppendVarint(b, int64(m.At.Nanosecond()))
	if m.Text == nil {
		b = append(b, 0)
	} else {
		b = append(binary.AppendUvarint(append(b, 1), uint64(len(*m.Text))), *m.Text...)
	}
	if !dated || m.ReceivedAt.IsZero() {
		return append(b, 0)
	}
	return binary.AppendVarint(append(b, 1), m.ReceivedAt.UnixMilli())
}
