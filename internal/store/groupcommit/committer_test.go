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

// committer is a Committer whose every commit the test lets go on by hand.
type committer struct {
	begun chan *batch
	idle  chan time.Time // holds the moment of the last call of Idle
}

// batch is a commit that has begun and waits for finish.
type batch struct {
	ctx   context.Context
	calls []*groupcommit.Call
	// outcomes, if set, says how many outcomes to give to the call with these
	// IDs in place of one a message.
	outcomes map[string]int
	end      chan error
}

func newCommitter() *committer {
	return &committer{begun: make(chan *batch), idle: make(chan time.Time, 1)}
}

func (c *committer) Commit(ctx context.Context, calls []*groupcommit.Call) error {
	b := &batch{ctx: ctx, calls: calls, end: make(chan error)}
	c.begun <- b
	err := <-b.end
	b.setOutcomes()
	return err
}

func (c *committer) Idle(context.Context) {
	select {
	case c.idle <- time.Now():
	default:
	}
}

// finish ends the commit.
func (b *batch) finish(err error) { b.end <- err }

func (b *batch) setOutcomes() {
	for _, call := range b.calls {
		n, ok := b.outcomes[ids(call.Messages)]
		if !ok {
			n = len(call.Messages)
		}
		call.Outcomes = append(call.Outcomes, make([]message.Outcome, n)...)
	}
}

// ids are the IDs of every call's messages, with a space between them.
func (b *batch) ids() []string {
	var got []string
	for _, c := range b.calls {
		got = append(got, ids(c.Messages))
	}
	return got
}

func ids(m []message.Message) string {
	s := make([]string, len(m))
	for i := range m {
		s[i] = m[i].ID
	}
	return strings.Join(s, " ")
}

// instant is a Committer that takes no time. The message's ID says its outcome.
type instant struct{}

func (instant) Commit(_ context.Context, calls []*groupcommit.Call) error {
	for _, c := range calls {
		for i := range c.Messages {
			c.Outcomes = append(c.Outcomes, message.Outcome{
				Duplicate: strings.Contains(c.Messages[i].ID, "dup"),
				Mismatch:  strings.Contains(c.Messages[i].ID, "mismatch"),
			})
		}
	}
	return nil
}

func (instant) Idle(context.Context) {}

// answer is what a Save returned.
type answer struct {
	outcomes []message.Outcome
	err      error
}

func messages(ids ...string) []message.Message {
	m := make([]message.Message, len(ids))
	for i := range m {
		m[i].ID = ids[i]
	}
	return m
}

// save begins a Save; its answer can be received. In a bubble the call is in
// the queue when save returns, so that calls keep their order.
func save(ctx context.Context, q *groupcommit.Queue, ids ...string) <-chan answer {
	return saveMessages(ctx, q, messages(ids...))
}

func saveMessages(ctx context.Context, q *groupcommit.Queue, m []message.Message) <-chan answer {
	c := make(chan answer, 1)
	go func() {
		outcomes, err := q.Save(ctx, m, nil)
		c <- answer{outcomes, err}
	}()
	synctest.Wait()
	return c
}

func wantBatch(t *testing.T, b *batch, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.ids()); diff != "" {
		t.Errorf("calls of the batch (-want +got):\n%s", diff)
	}
}

func wantSaved(t *testing.T, c <-chan answer, n int) {
	t.Helper()
	if a := <-c; a.err != nil || len(a.outcomes) != n {
		t.Errorf("Save: got %d outcomes and error %v, want %d and none", len(a.outcomes), a.err, n)
	}
}

func wantError(t *testing.T, c <-chan answer, want error) {
	t.Helper()
	if a := <-c; !errors.Is(a.err, want) || a.outcomes != nil {
		t.Errorf("Save: got %v, %v, want no outcome and the error %v", a.outcomes, a.err, want)
	}
}

func wantUnavailable(t *testing.T, c <-chan answer) {
	t.Helper()
	wantError(t, c, message.ErrUnavailable)
}

// wantWaiting checks that none of the calls was answered yet.
func wantWaiting(t *testing.T, calls ...<-chan answer) {
	t.Helper()
	synctest.Wait()
	for _, c := range calls {
		select {
		case a := <-c:
			t.Errorf("a call was answered (%v, %v) before its commit ended", a.outcomes, a.err)
		default:
		}
	}
}
