package httpapi

import (
	"context"
	"sync"
	"time"

	"lyftr/internal/message"
)

const (
	// feedPace is the least time between two reads at the end of the feed. The
	// first message after a while is sent at once, those that follow within this
	// time go together, so that a busy inbox costs its readers twenty reads a
	// second and not thousands.
	feedPace = 50 * time.Millisecond
	// feedReads is how many reads run for waiting readers at one time: other
	// questions need the database too.
	feedReads = 2
)

// readers are those who wait for the feed. Those who stand at one position share
// one read of what comes next and the bytes that are made of it; one of them
// does it for all, so there is no goroutine besides theirs. Nothing is kept for
// those who lag behind: they read from the store.
type readers struct {
	store message.Store
	reads chan struct{}   // has room for the reads that may run at one time
	ended <-chan struct{} // closed when nobody shall wait any more

	mu    sync.Mutex
	pages map[feedKey]*sharedPage // that somebody waits for
	last  map[bool]time.Time      // when the end was last read for events and for others
}

// feedKey is what readers have to have in common to share a page.
type feedKey struct {
	after  string
	limit  int
	events bool // the page is made into events
}

// sharedPage is what comes behind one position.
type sharedPage struct {
	key     feedKey
	waiting int           // readers; guarded by readers.mu
	lead    chan struct{} // has room for the one who reads for all
	filled  chan struct{} // closed when what follows is there, and not changed again

	body []byte
	next string
	more bool
	err  error
}

func newReaders(store message.Store, ended <-chan struct{}) *readers {
	return &readers{
		store: store,
		reads: make(chan struct{}, feedReads),
		ended: ended,
		pages: map[feedKey]*sharedPage{},
		last:  map[bool]time.Time{},
	}
}

// over reports whether the feed has ended.
func (r *readers) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// next returns the page behind a position as soon as there is one, and nil when
// ctx or the feed ends or until fires before. tail says that the reader was at
// the end when he last read, so that there is no hurry.
func (r *readers) next(ctx context.Context, key feedKey, tail bool, until <-chan time.Time) (*sharedPage, error) {
	p := r.join(key)
	defer r.leave(p)
	select {
	case <-p.filled:
	case p.lead <- struct{}{}:
		defer func() { <-p.lead }() // if it is not filled then, another takes over
		w := &waiter{r, ctx, until}
		if !w.fill(p, tail) {
			return nil, nil
		}
	case <-until:
		return nil, nil
	case <-ctx.Done():
		return nil, nil
	case <-r.ended:
		return nil, nil
	}
	return p, p.err
}

func (r *readers) join(key feedKey) *sharedPage {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pages[key]
	if p == nil {
		p = &sharedPage{key: key, lead: make(chan struct{}, 1), filled: make(chan struct{})}
		r.pages[key] = p
	}
	p.waiting++
	return p
}

func (r *readers) leave(p *sharedPage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.waiting--; p.waiting == 0 && r.pages[p.key] == p {
		delete(r.pages, p.key)
	}
}

// publish gives the page to those who wait for it. Who comes to its position
// later gets a page of his own, which may hold more.
func (r *readers) publish(p *sharedPage) {
	r.mu.Lock()
	if r.pages[p.key] == p {
		delete(r.pages, p.key)
	}
	if !p.more {
		r.last[p.key.events] = time.Now()
	}
	r.mu.Unlock()
	close(p.filled)
}

// pause is how long to wait before the end is read again.
func (r *readers) pause(events bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return feedPace - time.Since(r.last[events])
}

// waiter is the reader who reads for all, as long as he waits himself.
type waiter struct {
	*readers
	ctx   context.Context
	until <-chan time.Time
}

// fill reads the page, once there is something to read, and publishes it. It
// returns false if the reader's own wait ended first.
func (w *waiter) fill(p *sharedPage, tail bool) bool {
	select {
	case <-p.filled: // by the one before
		return true
	default:
	}
	for {
		if tail && !w.sleep(w.pause(p.key.events)) {
			return false
		}
		changed := w.store.Changed() // before the read: what is stored after it is not missed
		found, ok := w.read(p)
		switch {
		case !ok:
			return false
		case found:
			w.publish(p)
			return true
		}
		tail = true
		select {
		case <-changed:
		case <-w.until:
			return false
		case <-w.ctx.Done():
			return false
		case <-w.ended:
			return false
		}
	}
}

func (w *waiter) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.until:
	case <-w.ctx.Done():
	case <-w.ended:
	}
	return false
}

// read reads the page and encodes it. It returns false for found if there is
// nothing yet, and for ok if the reader's own wait ended first. The read itself
// goes on without him: others wait for it.
func (w *waiter) read(p *sharedPage) (found, ok bool) {
	select {
	case w.reads <- struct{}{}:
	case <-w.until:
		return false, false
	case <-w.ctx.Done():
		return false, false
	case <-w.ended:
		return false, false
	}
	defer func() { <-w.reads }()
	page, err := w.store.Feed(context.WithoutCancel(w.ctx), p.key.after, p.key.limit)
	if err == nil && len(page.Messages) == 0 {
		return false, true
	}
	encode := encodeFeed
	if p.key.events {
		encode = encodeEvents
	}
	if err == nil {
		p.body, err = encode(page)
	}
	p.next, p.more, p.err = page.Next, page.More, err
	return true, true
}
