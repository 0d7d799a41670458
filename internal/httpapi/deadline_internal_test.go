package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadlines: whoever gets a context has the timeout, or up to a sixteenth less.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 1600 * time.Millisecond
		d := &deadlines{timeout: timeout}
		contexts := map[any]bool{}
		for range 100 {
			asked := time.Now()
			ctx := d.context(asked)
			contexts[ctx] = true
			if left := deadlineOf(ctx).Sub(asked); left > timeout || left < timeout-timeout/deadlineSlots {
				t.Errorf("%v are left of %v", left, timeout)
			}
			<-time.After(7 * time.Millisecond)
		}
		if n := len(contexts); n != 7 {
			t.Errorf("%d contexts for 700 ms, not one for each 100 ms and a little", n)
		}
		ctx := d.context(time.Now())
		begin := time.Now()
		<-ctx.Done()
		if waited := time.Since(begin); waited > timeout || waited < timeout-timeout/deadlineSlots {
			t.Errorf("ended after %v", waited)
		}
	})
}

// deadlineOf is when a context ends, the year 1 if it does not.
func deadlineOf(ctx context.Context) time.Time {
	at, _ := ctx.Deadline()
	return at
}
