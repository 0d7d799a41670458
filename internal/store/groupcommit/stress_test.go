package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
)

// recorder is a Committer that remembers what it committed. Every seventh
// commit fails.
type recorder struct {
	t       *testing.T
	running atomic.Bool
	commits int
	stored  map[string]int // ID → times committed
}

var errRecorder = fmt.Errorf("%w: every seventh", message.ErrUnavailable)

func (r *recorder) Commit(_ context.Context, calls []*groupcommit.Call) error {
	if !r.running.CompareAndSwap(false, true) {
		r.t.Error("two commits ran at once")
	}
	defer r.running.Store(false)
	runtime.Gosched() // lets calls gather
	if r.commits++; r.commits%7 == 0 {
		return errRecorder
	}
	for _, c := range calls {
		for i := range c.Messages {
			r.stored[c.Messages[i].ID]++
			c.Outcomes = append(c.Outcomes, message.Outcome{})
		}
	}
	return nil
}

func (r *recorder) Idle(context.Context) {}

// TestStress has many callers, some of whom go away, until the queue is closed
// under them. What a caller was told of is what was committed.
func TestStress(t *testing.T) {
	const callers, callsEach = 32, 100
	var told atomic.Int64
	r := &recorder{t: t, stored: map[string]int{}}
	q := groupcommit.New(r, groupcommit.Options{
		MaxWaiting: callers / 2, // so that some find it full
		MaxRows:    20,
		OnCommit:   func(_ time.Duration, n int) { told.Add(int64(n)) },
	})

	var saved, failed sync.Map // ID → true
	var wg sync.WaitGroup
	var calls atomic.Int64
	for caller := range callers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(caller)))
			for n := range callsEach {
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(4) == 0 {
					go cancel()
				}
				batch := messages(make([]string, 1+random.IntN(3))...)
				for i := range batch {
					batch[i].ID = fmt.Sprintf("%d/%d/%d", caller, n, i)
				}
				outcomes, err := q.Save(ctx, batch, nil)
				cancel()
				switch {
				case err == nil && len(outcomes) == len(batch):
					for i := range batch {
						saved.Store(batch[i].ID, true)
					}
				case errors.Is(err, groupcommit.ErrQueueFull), errors.Is(err, groupcommit.ErrClosed), errors.Is(err, errRecorder):
					for i := range batch {
						failed.Store(batch[i].ID, true)
					}
				case errors.Is(err, message.ErrUnavailable): // given up: unknown
				default:
					t.Errorf("Save: got %d outcomes for %d messages, error %v", len(outcomes), len(batch), err)
				}
				if calls.Add(1) == callers*callsEach*3/4 {
					q.Close()
				}
			}
		})
	}
	wg.Wait()
	q.Close()

	total := 0
	for id, n := range r.stored {
		total += n
		if n != 1 {
			t.Errorf("message %s was committed %d times", id, n)
		}
	}
	saved.Range(func(id, _ any) bool {
		if r.stored[id.(string)] == 0 {
			t.Errorf("message %s was reported as saved and was never committed", id)
		}
		return true
	})
	failed.Range(func(id, _ any) bool {
		if r.stored[id.(string)] != 0 {
			t.Errorf("message %s was reported as not begun or not committed and was committed", id)
		}
		return true
	})
	if int(told.Load()) != total {
		t.Errorf("OnCommit was told of %d messages, %d were committed", told.Load(), total)
	}
	if got := q.Depth(); got != 0 {
		t.Errorf("Depth at the end: got %d, want 0", got)
	}
}
