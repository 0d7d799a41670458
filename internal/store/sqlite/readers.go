package sqlite

import (
	"context"
	"sync"
	"time"
)

// readers are the read transactions of all who ask. New ones can be held back
// for a moment: while there is always one that looks at the log, SQLite can
// neither begin the log anew nor empty it, and it grows without end.
type readers struct {
	mu      sync.Mutex
	active  int
	waiting chan struct{} // closed when new ones may begin; nil if they may
	none    chan struct{} // closed when the last one ends; nil if nobody waits for that
}

// enter waits until a transaction may begin, or returns the context's error.
// leave follows it.
func (r *readers) enter(ctx context.Context) error {
	for {
		r.mu.Lock()
		wait := r.waiting
		if wait == nil {
			r.active++
			r.mu.Unlock()
			return nil
		}
		r.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *readers) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active--
	if r.active == 0 && r.none != nil {
		close(r.none)
		r.none = nil
	}
}

// hold holds new transactions back until release is called, and reports whether
// those that had begun have ended within a time. One goroutine calls it.
func (r *readers) hold(ctx context.Context, limit time.Duration) (alone bool) {
	r.mu.Lock()
	r.waiting = make(chan struct{})
	none := make(chan struct{})
	if r.active == 0 {
		close(none)
	} else {
		r.none = none
	}
	r.mu.Unlock()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-none:
		return true
	case <-late.C:
	case <-ctx.Done():
	}
	return false
}

// release lets new transactions begin again.
func (r *readers) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.waiting)
	r.waiting, r.none = nil, nil
}
