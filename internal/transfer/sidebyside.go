package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"time"

	"lyftr/internal/message"
)

// sides is how the values of one type are compared, side by side in two stores.
type sides[T any] struct {
	what string // they are, in the plural
	walk func(ctx context.Context, db message.Store, yield func(T) error) error
	// order is that of the walk; two values without one are of one key.
	order  func(a, b *T) int
	id     func(v *T) string // of its message
	weight func(v *T) int    // in bytes, besides what every one has
	dated  func(v *T) bool   // whether it has a time of arrival
	// row appends all that is known of a value, with its time of arrival or
	// without, so that different values are different bytes, and the bytes of
	// several can be told apart.
	row func(b []byte, v *T, dated bool) []byte
	// arrived reports whether a value that was read at a time arrived meanwhile.
	arrived func(ctx context.Context, v *T, read time.Time) (bool, error)
	// differ is told of two of one key that differ, and of one that is missing,
	// with nil for the other.
	differ func(a, b *T)
	count  func(done int64) // told of each value of from
}

// compare walks through both stores.
func (s *sides[T]) compare(ctx context.Context, fromStore, toStore message.Store) (Comparison, error) {
	ctx, end := context.WithCancel(ctx)
	from, to := s.start(ctx, "source", fromStore), s.start(ctx, "destination", toStore)
	defer func() {
		end()
		from.wait()
		to.wait()
	}()
	sums := struct{ from, to rowHash[T] }{newRowHash(s.row), newRowHash(s.row)}
	var result Comparison
	a, err := from.next()
	if err != nil {
		return result, err
	}
	b, err := to.next()
	if err != nil {
		return result, err
	}
	for a != nil || b != nil {
		order := s.compareKeys(a, b)
		switch {
		case order > 0:
			result.More++
		case order < 0:
			late, err := s.arrived(ctx, a, from.page.read)
			if err != nil {
				return result, err
			}
			if late {
				result.Arrived++
				break
			}
			sums.from.add(a, true)
			result.From.Count++
			s.count(result.From.Count)
			result.Missing++
			s.differ(a, nil)
		default:
			dated := s.dated(a)
			if !dated {
				result.Undated++
			}
			result.From.Count++
			s.count(result.From.Count)
			result.To.Count++
			if !bytes.Equal(sums.from.add(a, dated), sums.to.add(b, dated)) {
				result.Different++
				s.differ(a, b)
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

// compareKeys compares two values by their order. Behind the last there is nil.
func (s *sides[T]) compareKeys(a, b *T) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return s.order(a, b)
}

const (
	// walkValues, and walkBytes of weight, are how much goes from one goroutine to
	// another at one time.
	walkValues = 256
	walkBytes  = 1 << 20
)

// walkPage is a piece of a walk.
type walkPage[T any] struct {
	values []T
	read   time.Time // the last of them
}

// walk is a walk through a store in a goroutine of its own.
type walk[T any] struct {
	sides *sides[T]
	name  string // of the store
	pages chan walkPage[T]
	page  walkPage[T] // what is left of it
	err   error       // set before pages is closed
	last  *T
}

// start begins to walk through all values, until ctx ends.
func (s *sides[T]) start(ctx context.Context, name string, db message.Store) *walk[T] {
	w := &walk[T]{sides: s, name: name, pages: make(chan walkPage[T], 1)}
	go func() {
		defer close(w.pages)
		var page walkPage[T]
		size := 0
		send := func() error {
			page.read = time.Now()
			select {
			case w.pages <- page:
				page, size = walkPage[T]{}, 0
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		w.err = s.walk(ctx, db, func(v T) error {
			page.values = append(page.values, v)
			if size += s.weight(&v); len(page.values) == walkValues || size >= walkBytes {
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

// wait waits until the goroutine has ended.
func (w *walk[T]) wait() {
	for range w.pages { // until it has
	}
}

// next returns the next value, nil at the end. A store that does not list in
// order cannot be compared.
func (w *walk[T]) next() (*T, error) {
	for len(w.page.values) == 0 {
		var ok bool
		if w.page, ok = <-w.pages; !ok {
			if w.err != nil {
				return nil, fmt.Errorf("read the %s: %w", w.name, w.err)
			}
			return nil, nil
		}
	}
	v := &w.page.values[0]
	w.page.values = w.page.values[1:]
	if s := w.sides; w.last != nil && s.order(w.last, v) >= 0 {
		return nil, fmt.Errorf("the %s lists its %s out of order: %q after %q", w.name, s.what, s.id(v), s.id(w.last))
	}
	w.last = v
	return v, nil
}

// rowHash hashes values one after the other.
type rowHash[T any] struct {
	hash   hash.Hash
	row    func(b []byte, v *T, dated bool) []byte
	buffer []byte
}

func newRowHash[T any](row func(b []byte, v *T, dated bool) []byte) rowHash[T] {
	return rowHash[T]{hash: sha256.New(), row: row}
}

// add adds a value, with its time of arrival or without, and returns what it
// added, which is good until the next one.
func (h *rowHash[T]) add(v *T, dated bool) []byte {
	h.buffer = h.row(h.buffer[:0], v, dated)
	_, _ = h.hash.Write(h.buffer) // a hash takes everything
	return h.buffer
}

func (h *rowHash[T]) sum() (sum [sha256.Size]byte) {
	h.hash.Sum(sum[:0])
	return sum
}
