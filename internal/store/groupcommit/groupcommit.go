// Package groupcommit lets many callers share one transaction. A single writer
// goroutine commits whatever has gathered; the calls that arrive while it
// commits share the next commit, and a call that is alone is not delayed: there
// is no timer, the commit in progress is the window.
//
// The database is reached through a Committer, so that every store commits in
// the same way.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"lyftr/internal/message"
)

// Options bound a Queue. Zero values mean the defaults.
type Options struct {
	// MaxWaiting is how many calls may wait for the writer; a call beyond it
	// fails at once with message.ErrUnavailable. Default 4096.
	MaxWaiting int
	// MaxRows is how many messages and statuses one transaction takes, unless a
	// single call brings more. Default 1000.
	MaxRows int
	// MaxBytes is roughly how many bytes of text and raw JSON one transaction
	// takes, unless a single call brings more. Default 1 MiB.
	MaxBytes int
	// Idle is the time without work after which the writer calls
	// Committer.Idle. Default 1 s.
	Idle time.Duration
	// OnCommit, if set, is told of every commit that succeeded and of how many
	// messages and statuses it held, by the writer goroutine.
	OnCommit func(took time.Duration, rows int)
}

func (o Options) withDefaults() Options {
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 4096
	}
	if o.MaxRows <= 0 {
		o.MaxRows = 1000
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 20
	}
	if o.Idle <= 0 {
		o.Idle = time.Second
	}
	return o
}

// Committer is the database's side, called by the writer goroutine only.
type Committer interface {
	// Commit stores what all calls hold in one transaction and sets each
	// call's Outcomes, or its Err if the call's own messages could not be
	// stored while the others' were. If it returns an error, nothing is known
	// to be stored, and every call fails with that error.
	Commit(ctx context.Context, calls []*Call) error
	// Idle is called when there was nothing to commit for a while.
	Idle(ctx context.Context)
}

// Call is one caller's messages and statuses on their way through a commit.
type Call struct {
	Messages []message.Message
	Statuses []message.Status
	// Outcomes has room for one outcome a message and then one a status; Commit
	// appends them.
	Outcomes []message.Outcome
	// Err is this call's own failure.
	Err error

	ctx   context.Context
	times *message.SaveTimes // nil if nobody asks
	done  chan struct{}
}

// rows is how many messages and statuses the call holds.
func (c *Call) rows() int { return len(c.Messages) + len(c.Statuses) }

// bytes is roughly how long they are.
func (c *Call) bytes() (n int) {
	for i := range c.Messages {
		m := &c.Messages[i]
		if m.Text != nil {
			n += len(*m.Text)
		}
		n += len(m.Raw)
	}
	for i := range c.Statuses {
		n += len(c.Statuses[i].Raw)
	}
	return n
}

// ErrQueueFull is the error of a call that found the queue full.
var ErrQueueFull = fmt.Errorf("%w: too many saves are waiting", message.ErrUnavailable)

// ErrClosed is the error of a call that came after Close.
var ErrClosed = fmt.Errorf("%w: the store is closed", message.ErrUnavailable)

// errDeadline is the error of a call whose deadline passed first.
var errDeadline = fmt.Errorf("%w: not committed within the deadline", message.ErrUnavailable)

// Queue is the bounded queue before the writer, and the writer.
type Queue struct {
	committer Committer
	opts      Options
	calls     chan *Call
	steps     chan step
	exited    chan struct{}
	waiting   atomic.Int64

	mu     sync.RWMutex // held for writing to close calls
	closed bool
}

// step is work of another kind for the writer goroutine.
type step struct {
	run  func()
	done chan struct{}
}

func (s step) take() {
	s.run()
	close(s.done)
}

// New starts the writer. Close ends it.
func New(c Committer, o Options) *Queue {
	o = o.withDefaults()
	q := &Queue{
		committer: c,
		opts:      o,
		calls:     make(chan *Call, o.MaxWaiting),
		steps:     make(chan step),
		exited:    make(chan struct{}),
	}
	go q.write()
	return q
}

// Save has the messages and statuses committed and returns their outcomes, one each. When
// ctx ends first it returns message.ErrUnavailable; the messages may then still
// be committed. A call whose context ended while it waited is not begun.
func (q *Queue) Save(ctx context.Context, messages []message.Message, statuses []message.Status) ([]message.Outcome, error) {
	c := &Call{
		Messages: messages,
		Statuses: statuses,
		Outcomes: make([]message.Outcome, 0, len(messages)+len(statuses)),
		ctx:      ctx,
		times:    message.SaveTimesOf(ctx),
		done:     make(chan struct{}),
	}
	if err := q.enqueue(c); err != nil {
		return nil, err
	}
	select {
	case <-c.done:
		return c.Outcomes, c.Err
	case <-ctx.Done():
		return nil, errDeadline
	}
}

func (q *Queue) enqueue(c *Call) error {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return ErrClosed
	}
	select {
	case q.calls <- c:
		q.waiting.Add(1)
		return nil
	default:
		return ErrQueueFull
	}
}

// Do has the writer goroutine run f between two commits, and returns when it
// has. Saves wait meanwhile, so f should take a few milliseconds at most. It
// returns ErrClosed, or the context's error, if f was not and will not be run.
func (q *Queue) Do(ctx context.Context, f func()) error {
	s := step{run: f, done: make(chan struct{})}
	select {
	case q.steps <- s:
		<-s.done // the writer has it: it is run whatever happens
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.exited:
		return ErrClosed
	}
}

// Depth is the number of calls that wait for the writer.
func (q *Queue) Depth() int { return int(max(0, q.waiting.Load())) }

// Capacity is how many calls may wait for the writer.
func (q *Queue) Capacity() int { return q.opts.MaxWaiting }

// Close commits what was accepted and waits for the writer to end.
func (q *Queue) Close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.calls)
	}
	q.mu.Unlock()
	<-q.exited
}

// write is the writer goroutine. A panic in it ends the process: the state of
// the database connection would be unknown.
func (q *Queue) write() {
	defer close(q.exited)
	idle := time.NewTimer(q.opts.Idle)
	defer idle.Stop()
	var batch []*Call
	for {
		select {
		case first, ok := <-q.calls:
			if !ok {
				return
			}
			// Those whose answers the last commit allowed come back with their
			// next message now, if they are let: batches grow by a quarter.
			runtime.Gosched()
			for first != nil {
				batch, first = q.gather(batch[:0], first)
				q.commit(batch)
				clear(batch)
				if first != nil { // saves never cease: steps come in between
					select {
					case s := <-q.steps:
						s.take()
					default:
					}
				}
			}
			idle.Reset(q.opts.Idle)
		case s := <-q.steps:
			s.take()
			idle.Reset(q.opts.Idle)
		case <-idle.C:
			q.committer.Idle(context.Background())
			idle.Reset(q.opts.Idle)
		}
	}
}

// gather adds to first what else is waiting, up to the bounds. What it took but
// could not add begins the next batch.
func (q *Queue) gather(batch []*Call, first *Call) (_ []*Call, next *Call) {
	rows, bytes := 0, 0
	for c := first; ; {
		if c.ctx.Err() == nil { // else its caller has the answer already
			more, size := c.rows(), c.bytes()
			if len(batch) > 0 && (rows+more > q.opts.MaxRows || bytes+size > q.opts.MaxBytes) {
				return batch, c
			}
			batch, rows, bytes = append(batch, c), rows+more, bytes+size
		}
		q.waiting.Add(-1)
		if rows >= q.opts.MaxRows || bytes >= q.opts.MaxBytes {
			return batch, nil
		}
		var ok bool
		select {
		case c, ok = <-q.calls:
			if !ok {
				return batch, nil
			}
		default:
			return batch, nil
		}
	}
}

// commit runs one transaction and wakes its callers. It uses no caller's
// context: a client that goes away must not cancel the others' commit.
func (q *Queue) commit(batch []*Call) {
	if len(batch) == 0 {
		return
	}
	start := time.Now()
	for _, c := range batch {
		c.times.Begin(start)
	}
	err := q.committer.Commit(context.Background(), batch)
	took := time.Since(start)
	stored := 0
	for _, c := range batch {
		switch {
		case err != nil:
			c.Outcomes, c.Err = nil, err
		case c.Err != nil:
			c.Outcomes = nil
		case len(c.Outcomes) != c.rows():
			c.Outcomes, c.Err = nil, errors.New("groupcommit: a call got no outcome")
		default:
			stored += c.rows()
		}
	}
	if err == nil && stored > 0 && q.opts.OnCommit != nil {
		q.opts.OnCommit(took, stored)
	}
	for _, c := range batch {
		c.times.End(start.Add(took))
		close(c.done)
	}
}
