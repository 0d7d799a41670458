package sqlite

import (
	"container/list"
	"sync"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// foundBytes bounds what is kept of searches.
const foundBytes = 16 << 20

// found keeps which messages of a segment have a text, for the searches that
// were made last: whoever goes through the pages of a search asks for the same
// again and again. A segment does not change; what was removed of it since is
// left out by the holes, as everywhere.
type found struct {
	mu    sync.Mutex
	byKey map[foundKey]*list.Element
	order list.List // of *foundSet, the last used one in front
	bytes int
}

type foundKey struct {
	segment int64
	text    string // folded
}

type foundSet struct {
	key  foundKey
	data []byte
}

// size is roughly what an entry takes.
func (s *foundSet) size() int {
	const overhead = 200
	return overhead + len(s.key.text) + len(s.data)
}

// get returns the messages, if they are known.
func (f *found) get(key foundKey, chunks int) (set segment.Set, ok bool, err error) {
	f.mu.Lock()
	e := f.byKey[key]
	if e == nil {
		f.mu.Unlock()
		return nil, false, nil
	}
	f.order.MoveToFront(e)
	data := e.Value.(*foundSet).data
	f.mu.Unlock()
	set, err = segment.DecodeSet(data, chunks)
	return set, err == nil, err
}

// put keeps the messages that were found.
func (f *found) put(key foundKey, set segment.Set) {
	s := &foundSet{key, set.Encode()}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey == nil {
		f.byKey = map[foundKey]*list.Element{}
	}
	if f.byKey[key] != nil || s.size() > foundBytes/4 {
		return
	}
	f.byKey[key] = f.order.PushFront(s)
	for f.bytes += s.size(); f.bytes > foundBytes; {
		oldest := f.order.Back()
		old := f.order.Remove(oldest).(*foundSet)
		delete(f.byKey, old.key)
		f.bytes -= old.size()
	}
}

// isSearch reports whether a filter is about a text and nothing else.
func isSearch(f message.Filter) bool {
	return f.Text != "" && f == message.Filter{Text: f.Text}
}
