package groupcommit_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
)

// TestSharedCommit: the calls that arrive while one commit runs share the next.
func TestSharedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{})
		defer q.Close()

		a := save(t.Context(), q, "a")
		batch := <-c.begun
		wantBatch(t, batch, "a")
		b := save(t.Context(), q, "b1", "b2")
		d := save(t.Context(), q, "d")
		e := save(t.Context(), q, "e")
		if got := q.Depth(); got != 3 {
			t.Errorf("Depth while a commit runs: got %d, want 3", got)
		}
		batch.finish(nil)
		wantSaved(t, a, 1)

		batch = <-c.begun
		wantBatch(t, batch, "b1 b2", "d", "e")
		if got := q.Depth(); got != 0 {
			t.Errorf("Depth after the queue was gathered: got %d, want 0", got)
		}
		wantWaiting(t, b, d, e)
		batch.finish(nil)
		wantSaved(t, b, 2)
		wantSaved(t, d, 1)
		wantSaved(t, e, 1)
	})
}

// TestLoneCallIsNotDelayed: in a bubble the clock moves only when everything
// waits for it, so a timer in the way of a lone call would show.
func TestLoneCallIsNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := groupcommit.New(instant{}, groupcommit.Options{})
		defer q.Close()
		start := time.Now()
		for range 3 {
			wantSaved(t, save(t.Context(), q, "a"), 1)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("three lone calls waited %v for a timer, want 0", took)
		}
	})
}

func TestQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{MaxWaiting: 2})
		defer q.Close()

		a := save(t.Context(), q, "a")
		batch := <-c.begun
		b, d := save(t.Context(), q, "b"), save(t.Context(), q, "d")

		start := time.Now()
		_, err := q.Save(t.Context(), messages("e"), nil)
		if !errors.Is(err, groupcommit.ErrQueueFull) || !errors.Is(err, message.ErrUnavailable) {
			t.Errorf("Save to a full queue: got %v, want ErrQueueFull in ErrUnavailable", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("Save to a full queue waited %v, want no wait", took)
		}

		batch.finish(nil)
		batch = <-c.begun
		wantBatch(t, batch, "b", "d")
		// There is room again while that commit runs.
		f := save(t.Context(), q, "f")
		batch.finish(nil)
		batch = <-c.begun
		wantBatch(t, batch, "f")
		batch.finish(nil)
		for _, s := range []<-chan answer{a, b, d, f} {
			wantSaved(t, s, 1)
		}
	})
}

// TestDeadlineWhileWaiting: a call whose context ended while it waited gets its
// answer then, and is not begun afterwards.
func TestDeadlineWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{})
		defer q.Close()

		a := save(t.Context(), q, "a")
		batch := <-c.begun

		const patience = 3 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		start := time.Now()
		wantUnavailable(t, save(ctx, q, "late"))
		if took := time.Since(start); took != patience {
			t.Errorf("the call with a deadline of %v was answered after %v", patience, took)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		wantUnavailable(t, save(ended, q, "ended before"))

		d := save(t.Context(), q, "d")
		batch.finish(nil)
		wantSaved(t, a, 1)
		batch = <-c.begun
		wantBatch(t, batch, "d")
		batch.finish(nil)
		wantSaved(t, d, 1)
		if got := q.Depth(); got != 0 {
			t.Errorf("Depth at the end: got %d, want 0", got)
		}
	})
}

// TestOnlyEndedCalls: a queue of nothing but ended calls commits nothing.
func TestOnlyEndedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{})
		defer q.Close()
		a := save(t.Context(), q, "a")
		batch := <-c.begun
		ctx, cancel := context.WithCancel(t.Context())
		b, d := save(ctx, q, "b"), save(ctx, q, "d")
		cancel()
		wantUnavailable(t, b)
		wantUnavailable(t, d)
		batch.finish(nil)
		wantSaved(t, a, 1)
		synctest.Wait()
		select {
		case batch := <-c.begun:
			t.Errorf("a commit was begun for calls that had ended: %v", batch.ids())
		default:
		}
	})
}

// TestCallerGoneDuringCommit: a caller that goes away neither cancels the
// commit nor harms the calls that share it.
func TestCallerGoneDuringCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{})
		defer q.Close()
		a := save(t.Context(), q, "a")
		batch := <-c.begun
		ctx, cancel := context.WithCancel(t.Context())
		b, d := save(ctx, q, "b"), save(t.Context(), q, "d")
		batch.finish(nil)
		wantSaved(t, a, 1)

		batch = <-c.begun
		wantBatch(t, batch, "b", "d")
		cancel()
		wantUnavailable(t, b)
		if err := batch.ctx.Err(); err != nil {
			t.Errorf("the commit's context ended with a caller's: %v", err)
		}
		wantWaiting(t, d)
		batch.finish(nil)
		wantSaved(t, d, 1)
	})
}

func TestBatchBounds(t *testing.T) {
	text := func(n int) *string { s := strings.Repeat("x", n); return &s }
	call := func(rows, bytes int) []message.Message {
		m := make([]message.Message, rows)
		for i := range m {
			m[i].Text = text(bytes)
		}
		return m
	}
	tests := []struct {
		name  string
		opts  groupcommit.Options
		calls [][]message.Message
		want  [][]int // rows of each call, by batch
	}{
		{
			"rows that fit exactly",
			groupcommit.Options{MaxRows: 10},
			[][]message.Message{call(5, 0), call(5, 0), call(5, 0), call(4, 0)},
			[][]int{{5, 5}, {5, 4}},
		},
		{
			"rows that do not fit exactly",
			groupcommit.Options{MaxRows: 10},
			[][]message.Message{call(4, 0), call(4, 0), call(4, 0), call(4, 0)},
			[][]int{{4, 4}, {4, 4}},
		},
		{
			"a call that is larger than a batch is not split",
			groupcommit.Options{MaxRows: 10},
			[][]message.Message{call(25, 0), call(1, 0)},
			[][]int{{25}, {1}},
		},
		{
			"bytes",
			groupcommit.Options{MaxBytes: 1000},
			[][]message.Message{call(1, 500), call(1, 500), call(2, 250), call(1, 499)},
			[][]int{{1, 1}, {2, 1}},
		},
		{
			"no text counts nothing",
			groupcommit.Options{MaxBytes: 1},
			[][]message.Message{call(1, 0), {{}}, call(1, 1), call(1, 1)},
			[][]int{{1, 1, 1}, {1}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCommitter()
				q := groupcommit.New(c, tt.opts)
				defer q.Close()
				answers := []<-chan answer{save(t.Context(), q, "first")}
				batch := <-c.begun
				for _, m := range tt.calls {
					answers = append(answers, saveMessages(t.Context(), q, m))
				}
				batch.finish(nil)
				var got [][]int
				for seen := 0; seen < len(tt.calls); {
					batch := <-c.begun
					var rows []int
					for _, call := range batch.calls {
						rows = append(rows, len(call.Messages))
					}
					seen += len(rows)
					got = append(got, rows)
					batch.finish(nil)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("rows of the calls in each batch (-want +got):\n%s", diff)
				}
				for _, a := range answers {
					if a := <-a; a.err != nil {
						t.Errorf("Save: %v", a.err)
					}
				}
			})
		})
	}
}

// TestCommitError: it reaches every call of the batch and no other.
func TestCommitError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{OnCommit: func(time.Duration, int) {
			t.Error("OnCommit was told of a commit that failed")
		}})
		defer q.Close()
		errDisk := errors.New("disk on fire")

		a := save(t.Context(), q, "a")
		batch := <-c.begun
		b, d := save(t.Context(), q, "b"), save(t.Context(), q, "d")
		batch.finish(errDisk)
		wantError(t, a, errDisk)
		wantWaiting(t, b, d)

		errLater := errors.New("disk gone")
		batch = <-c.begun
		wantBatch(t, batch, "b", "d")
		batch.calls[0].Err = errors.New("the call's own") // the commit's error counts
		batch.finish(errLater)
		wantError(t, b, errLater)
		wantError(t, d, errLater)
	})
}

// TestCallError: a call's own error reaches that call only.
func TestCallError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []int
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{OnCommit: func(_ time.Duration, n int) { told = append(told, n) }})
		a := save(t.Context(), q, "a")
		batch := <-c.begun
		b, d, e := save(t.Context(), q, "b"), save(t.Context(), q, "d1", "d2"), save(t.Context(), q, "e1", "e2")
		batch.finish(nil)
		wantSaved(t, a, 1)

		errRow := errors.New("bad row")
		batch = <-c.begun
		wantBatch(t, batch, "b", "d1 d2", "e1 e2")
		batch.calls[1].Err = errRow
		batch.finish(nil)
		wantSaved(t, b, 1)
		wantError(t, d, errRow)
		wantSaved(t, e, 2)
		q.Close()
		if diff := cmp.Diff([]int{1, 3}, told); diff != "" {
			t.Errorf("messages that OnCommit was told of (-want +got):\n%s", diff)
		}
	})
}

// TestOutcomesMissing: a committer that forgets a call, or a message of it,
// must not look like a success.
func TestOutcomesMissing(t *testing.T) {
	for _, got := range []int{0, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c := newCommitter()
			q := groupcommit.New(c, groupcommit.Options{})
			defer q.Close()
			a := save(t.Context(), q, "a")
			first := <-c.begun
			b, d := save(t.Context(), q, "b1", "b2"), save(t.Context(), q, "d")
			first.finish(nil)
			wantSaved(t, a, 1)
			batch := <-c.begun
			batch.outcomes = map[string]int{"b1 b2": got}
			batch.finish(nil)
			if b := <-b; b.err == nil || b.outcomes != nil {
				t.Errorf("%d outcomes for 2 messages: got %v, %v, want an error", got, b.outcomes, b.err)
			}
			wantSaved(t, d, 1)
		})
	}
}

// TestOutcomesAreTheCallsOwn: they come back in the order of the messages.
func TestOutcomesAreTheCallsOwn(t *testing.T) {
	q := groupcommit.New(instant{}, groupcommit.Options{})
	defer q.Close()
	got, err := q.Save(t.Context(), messages("new", "dup", "dup mismatch", "new"), nil)
	want := []message.Outcome{{}, {Duplicate: true}, {Duplicate: true, Mismatch: true}, {}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Save: %v, outcomes (-want +got):\n%s", err, diff)
	}
}

// TestEmptyCall: a call without messages is a probe of the committer.
func TestEmptyCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{OnCommit: func(time.Duration, int) {
			t.Error("OnCommit was told of a commit without messages")
		}})
		defer q.Close()
		a := save(t.Context(), q)
		batch := <-c.begun
		wantBatch(t, batch, "")
		batch.finish(nil)
		wantSaved(t, a, 0)

		a = save(t.Context(), q)
		errDisk := errors.New("disk on fire")
		(<-c.begun).finish(errDisk)
		wantError(t, a, errDisk)
	})
}

// TestClose: it commits what was accepted, and then nothing more is.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{MaxRows: 2})
		a := save(t.Context(), q, "a")
		batch := <-c.begun
		b, d, e := save(t.Context(), q, "b"), save(t.Context(), q, "d"), save(t.Context(), q, "e")

		closed := make(chan struct{})
		go func() { q.Close(); close(closed) }()
		synctest.Wait()
		_, err := q.Save(t.Context(), messages("late"), nil)
		if !errors.Is(err, groupcommit.ErrClosed) || !errors.Is(err, message.ErrUnavailable) {
			t.Errorf("Save after Close: got %v, want ErrClosed in ErrUnavailable", err)
		}
		for _, want := range [][]string{{"b", "d"}, {"e"}} {
			select {
			case <-closed:
				t.Fatal("Close returned while calls waited")
			default:
			}
			batch.finish(nil)
			batch = <-c.begun
			wantBatch(t, batch, want...)
		}
		batch.finish(nil)
		<-closed
		for _, s := range []<-chan answer{a, b, d, e} {
			wantSaved(t, s, 1)
		}
		q.Close() // again: nothing
		if _, err := q.Save(t.Context(), messages("late"), nil); !errors.Is(err, groupcommit.ErrClosed) {
			t.Errorf("Save after Close: got %v, want ErrClosed", err)
		}
	})
}

// TestIdle: the committer is told when there was nothing to do for a while.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		start := time.Now()
		q := groupcommit.New(c, groupcommit.Options{Idle: time.Minute})
		defer q.Close()
		wantIdle := func(after time.Duration) {
			t.Helper()
			if got := (<-c.idle).Sub(start); got != after {
				t.Errorf("Idle was called after %v, want %v", got, after)
			}
		}
		wantIdle(1 * time.Minute)
		wantIdle(2 * time.Minute)

		<-time.After(30 * time.Second)
		a := save(t.Context(), q, "a")
		batch := <-c.begun
		<-time.After(45 * time.Second) // the commit takes until 3:15
		select {
		case <-c.idle:
			t.Error("Idle was called while a commit ran")
		default:
		}
		batch.finish(nil)
		wantSaved(t, a, 1)
		wantIdle(4*time.Minute + 15*time.Second)
	})
}

// TestOnCommit: it is told how long a commit took and how many messages it
// held, before any caller has its answer.
func TestOnCommit(t *testing.T) {
	type figures struct {
		took     time.Duration
		messages int
	}
	synctest.Test(t, func(t *testing.T) {
		told := make(chan figures)
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{OnCommit: func(took time.Duration, n int) {
			told <- figures{took, n}
		}})
		defer q.Close()
		a := save(t.Context(), q, "a1", "a2", "a3")
		batch := <-c.begun
		b, d := save(t.Context(), q, "b1", "b2"), save(t.Context(), q, "d")
		<-time.After(7 * time.Millisecond)
		batch.finish(nil)
		synctest.Wait()
		wantWaiting(t, a)
		if got, want := <-told, (figures{7 * time.Millisecond, 3}); got != want {
			t.Errorf("OnCommit: got %v, want %v", got, want)
		}
		wantSaved(t, a, 3)

		batch = <-c.begun
		<-time.After(2 * time.Second)
		batch.finish(nil)
		if got, want := <-told, (figures{2 * time.Second, 3}); got != want {
			t.Errorf("OnCommit: got %v, want %v", got, want)
		}
		wantSaved(t, b, 2)
		wantSaved(t, d, 1)
	})
}

// TestSaveTimes: who asks learns when the commit began and ended, and if he has
// given up, as much as there is to know.
func TestSaveTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommitter()
		q := groupcommit.New(c, groupcommit.Options{})
		defer q.Close()
		asking := func(patience time.Duration) (context.Context, *message.SaveTimes) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			var times message.SaveTimes
			return message.WithSaveTimes(ctx, &times), &times
		}
		start := time.Now()
		want := func(what string, times *message.SaveTimes, begun, ended time.Duration) {
			t.Helper()
			for _, got := range []struct {
				what string
				at   time.Time
				want time.Duration
			}{{"begun", times.Begun(), begun}, {"ended", times.Ended(), ended}} {
				if never := got.want < 0; never != got.at.IsZero() || !never && got.at.Sub(start) != got.want {
					t.Errorf("%s: %s at %v, %v after the start, want %v", what, got.what, got.at, got.at.Sub(start), got.want)
				}
			}
		}
		const never = time.Duration(-1)
		ctx, first := asking(time.Minute)
		a := save(ctx, q, "a")
		batch := <-c.begun
		want("in the commit", first, 0, never)
		ctx, second := asking(time.Minute)
		b := save(ctx, q, "b")
		ctx, impatient := asking(time.Second)
		wantUnavailable(t, save(ctx, q, "impatient"))
		want("not begun", impatient, never, never)
		<-time.After(time.Second)
		batch.finish(nil)
		wantSaved(t, a, 1)
		want("committed", first, 0, 2*time.Second)

		batch = <-c.begun
		<-time.After(3 * time.Second)
		batch.finish(errors.New("disk full"))
		<-b
		want("failed", second, 2*time.Second, 5*time.Second)

		ctx, gone := asking(time.Second)
		d := save(ctx, q, "d")
		batch = <-c.begun
		wantUnavailable(t, d)
		want("given up", gone, 5*time.Second, never)
		batch.finish(nil)
	})
}
