package httpapi

import (
	"context"
	"sync"
	"time"
)

// deadlineSlots is how many contexts a timeout is divided into.
const deadlineSlots = 16

// deadlines gives out contexts that end after a timeout. All that ask within a
// sixteenth of it share one, so that a save does not need a timer of its own.
type deadlines struct {
	timeout time.Duration

	mu   sync.Mutex
	ctx  context.Context
	ends time.Time // when ctx is not given out any more
}

// context returns a context that ends when the timeout is over since now, or up to
// a sixteenth of it earlier.
func (d *deadlines) context(now time.Time) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil || !now.Before(d.ends) {
		d.ends = now.Add(d.timeout / deadlineSlots)
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(d.timeout))
		context.AfterFunc(ctx, cancel) // whoever has it may be waiting until then
		d.ctx = ctx
	}
	return d.ctx
}
