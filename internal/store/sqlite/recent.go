package sqlite

import (
	"slices"
	"sync"

	"lyftr/internal/message"
)

// mostRecent and mostRecentBytes bound what recent keeps. Its messages are
// forgotten as segments are made of them, so only an indexer that falls behind
// comes near.
const (
	mostRecent      = 64 << 10
	mostRecentBytes = 16 << 20
)

// brief is what a segment needs of a message.
type brief struct {
	id       int64
	time     int64 // when it was sent, whole Unix seconds
	from, to string
	text     string
}

// size is roughly how many bytes it keeps from being freed.
func (b *brief) size() int { return 96 + len(b.from) + len(b.to) + len(b.text) }

// recent keeps what was stored last, so that it need not be read again for its
// segment. Its ids follow one another without a gap. It may be empty at any
// time: everything in it is in the database too.
type recent struct {
	mu        sync.Mutex
	messages  []brief
	bytes     int
	deletions int64 // Store.deletions when the first of them was stored
}

// add appends messages that were committed, the first of which has this id. The
// writer goroutine calls it.
func (r *recent) add(first int64, messages []*message.Message, deletions int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.messages); n > 0 && (r.deletions != deletions || r.messages[n-1].id+1 != first || n > mostRecent || r.bytes > mostRecentBytes) {
		r.forget(n)
	}
	r.deletions = deletions
	for i, m := range messages {
		b := brief{id: first + int64(i), time: m.At.Unix(), from: m.From, to: m.To}
		if m.Text != nil {
			b.text = *m.Text
		}
		r.messages = append(r.messages, b)
		r.bytes += b.size()
	}
}

// find returns the messages from an id up to another if all of them are here
// and none was removed since, and else nil. deletions is what Store.deletions is
// now, and what it was when they were stored.
func (r *recent) find(from, to, deletions int64) []brief {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.messages) == 0 {
		return nil
	}
	if r.deletions != deletions {
		r.forget(len(r.messages)) // of what was removed nothing stays
		return nil
	}
	begin := from - r.messages[0].id
	if end := to - r.messages[0].id; begin >= 0 && end <= int64(len(r.messages)) {
		return slices.Clone(r.messages[begin:end])
	}
	return nil
}

// forgetUpTo forgets the messages up to an id.
func (r *recent) forgetUpTo(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.messages) > 0 {
		r.forget(int(min(max(id-r.messages[0].id, 0), int64(len(r.messages)))))
	}
}

// forget takes away the first n messages. mu is held.
func (r *recent) forget(n int) {
	for i := range r.messages[:n] {
		r.bytes -= r.messages[i].size()
	}
	r.messages = slices.Delete(r.messages, 0, n) // which clears what is behind
}
