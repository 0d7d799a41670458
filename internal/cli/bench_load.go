package cli

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lyftr/internal/sample"
)

const (
	// loadAhead is how many requests are made in advance, some 60 MB.
	loadAhead = 100_000
	// loadAheadSeconds is for how long they suffice if that is less.
	loadAheadSeconds = 10
	// loadIdle is how long a connection may have been idle and is still used. A
	// server waits longer for a request, so that none is lost by chance.
	loadIdle = 4 * time.Second
	// loadRedial is the time from one attempt to connect to the next.
	loadRedial = 50 * time.Millisecond
	// loadPatience is how long an answer is waited for at least, longer than a server
	// takes for it.
	loadPatience = 30 * time.Second
)

// loadOptions choose a load.
type loadOptions struct {
	URLs        []string // of servers; the connections are shared out among them
	Secret      string
	Connections int
	// Rate is how many messages are due each second. With 0 each connection sends
	// the next one as soon as it has its answer.
	Rate     int
	Count    int64         // of messages, repeats included; 0: no limit
	Duration time.Duration // 0: no limit
	Repeat   int           // percent of the messages that are sent again
	Seed     uint64        // chooses the repeats
}

// load posts signed messages. Either each connection sends the next one when it
// has its answer, or each message has a time at which it is due, whether or not
// those before are answered: then its time is counted from there, so that a server
// that stalls is seen by all that should have come meanwhile.
//
// Requests are made before the clock starts and, without a rate, while it stands
// still.
type load struct {
	o           loadOptions
	count       int64
	maker       *requestMaker
	connections []*loadConnection

	first chan queued   // what was made in advance
	made  int64         // requests
	taken atomic.Int64  // requests that a connection came to
	begin time.Time     // of what is due
	took  time.Duration // while the clock ran
	tally tally
}

// tally counts what became of messages.
type tally struct {
	created, repeats atomic.Int64 // acknowledged for the first time, and again
	noAnswer         atomic.Int64 // sent, and the connection ended: stored or not
	unsent           atomic.Int64 // due and not sent when the time was over
	lost             atomic.Int64 // connections
	acknowledged     histogram    // the times of those, and how long the unsent waited
	refused          histogram    // by 503

	mu       sync.Mutex
	statuses map[int]int64 // but 200
	first    error
}

func (t *tally) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		t.first = err
	}
}

// newLoad makes the first requests of a load and opens its connections. The caller
// closes it. The generator makes the messages, and is used by nobody else meanwhile.
func newLoad(ctx context.Context, o loadOptions, generator *sample.Generator) (*load, error) {
	l := &load{o: o, count: cmp.Or(o.Count, math.MaxInt64), tally: tally{statuses: map[int]int64{}}}
	if o.Rate > 0 && o.Duration > 0 {
		l.count = min(l.count, int64(o.Duration.Seconds()*float64(o.Rate)))
	}
	var targets []*url.URL
	for _, text := range o.URLs {
		u, err := url.Parse(strings.TrimSuffix(text, "/") + "/webhook")
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, usagef("--url: not an address such as http://127.0.0.1:8000")
		}
		targets = append(targets, u)
		if u.Path != targets[0].Path {
			return nil, usagef("--url: the paths of all servers must be the same")
		}
	}
	l.maker = newRequestMaker(targets[0].Host, targets[0].EscapedPath(), o, generator)
	// Then the connections are not idle for long.
	var err error
	if l.first, err = l.batch(ctx); err != nil {
		return nil, err
	}
	for i := range o.Connections {
		c := &loadConnection{target: targets[i%len(targets)]}
		if err := c.open(ctx); err != nil {
			l.close()
			return nil, err
		}
		l.connections = append(l.connections, c)
	}
	return l, nil
}

func (l *load) close() {
	for _, c := range l.connections {
		c.close()
	}
}

// queued is a request and its place among all.
type queued struct {
	*request
	number int64
}

// run posts until there are enough or ctx ends, and returns when the last one is
// answered or lost.
func (l *load) run(ctx context.Context) error {
	if l.o.Rate > 0 {
		return l.runOpen(ctx)
	}
	for batch, more := l.first, true; more; {
		close(batch)
		until, stop := l.withTimeout(ctx, l.o.Duration-l.took)
		begin := time.Now()
		l.post(until, batch)
		l.took += time.Since(begin)
		stop()
		if more = l.made < l.count && ctx.Err() == nil && (l.o.Duration == 0 || l.took < l.o.Duration); more {
			var err error
			if batch, err = l.batch(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// batch makes as many requests as are made in advance.
func (l *load) batch(ctx context.Context) (chan queued, error) {
	size := min(l.count-l.made, loadAhead)
	if l.o.Rate > 0 {
		size = min(size, loadAheadSeconds*int64(l.o.Rate))
	}
	batch := make(chan queued, size)
	return batch, l.fill(ctx, batch, l.made+size)
}

// runOpen posts messages when they are due. If they are many they are made while
// it goes on.
func (l *load) runOpen(ctx context.Context) error {
	queue := l.first
	making, stopMaking := context.WithCancel(ctx)
	defer stopMaking()
	made := make(chan error, 1)
	go func() {
		defer close(queue)
		made <- l.fill(making, queue, l.count)
	}()

	until, stop := l.withTimeout(ctx, l.o.Duration)
	defer stop()
	ended := make(chan time.Time, 1)
	notEnded := context.AfterFunc(until, func() { ended <- time.Now() })
	l.begin = time.Now()
	l.post(until, queue)
	l.took = time.Since(l.begin)
	stopMaking()
	err := <-made
	if notEnded() {
		return err // all that were asked for were sent
	}
	// Those that were due in time and that no connection came to.
	end := <-ended
	for number := l.taken.Load(); number < l.count && l.due(number).Before(end); number++ {
		l.unsent(l.due(number), end)
	}
	return err
}

// withTimeout is the context's, or without a time the same context.
func (l *load) withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if l.o.Duration == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// fill puts requests into the queue until so many were made in all or ctx ends.
func (l *load) fill(ctx context.Context, queue chan<- queued, all int64) error {
	for l.made < all && ctx.Err() == nil {
		r, err := l.maker.next()
		if err != nil {
			return err
		}
		select {
		case queue <- queued{r, l.made}:
			l.made++
		case <-ctx.Done():
		}
	}
	return nil
}

// due is when a message is to be sent.
func (l *load) due(number int64) time.Time {
	rate := int64(l.o.Rate)
	return l.begin.Add(time.Duration(number/rate)*time.Second + time.Duration(number%rate)*time.Second/time.Duration(rate))
}

// unsent counts a message that was due, and was not sent until now.
func (l *load) unsent(due, now time.Time) {
	if due.Before(now) {
		l.tally.unsent.Add(1)
		l.tally.acknowledged.add(now.Sub(due))
	}
}

// post has all connections send what is in the queue until it is closed and empty
// or ctx ends.
func (l *load) post(ctx context.Context, queue <-chan queued) {
	var posting sync.WaitGroup
	for _, c := range l.connections {
		posting.Go(func() {
			wait := time.NewTimer(0)
			defer wait.Stop()
			for ctx.Err() == nil {
				q, ok := <-queue
				if !ok {
					return
				}
				l.taken.Add(1)
				if !l.next(ctx, c, q, wait) {
					return
				}
			}
		})
	}
	posting.Wait()
}

// next waits until a message is due and sends it. It returns false when ctx has
// ended before.
func (l *load) next(ctx context.Context, c *loadConnection, q queued, wait *time.Timer) bool {
	var due time.Time
	if l.o.Rate > 0 {
		due = l.due(q.number)
		if left := time.Until(due); left > 0 {
			wait.Reset(left)
			select {
			case <-wait.C:
			case <-ctx.Done():
			}
		}
	}
	if !l.connected(ctx, c) {
		if l.o.Rate > 0 {
			l.unsent(due, time.Now())
		}
		return false
	}
	begin := time.Now()
	a, err := c.exchange(q.raw, begin)
	now := time.Now()
	c.used = now
	if l.o.Rate > 0 {
		begin = due
	}
	l.note(q.request, a, err, now.Sub(begin))
	if err != nil || a.last {
		l.tally.lost.Add(1)
		c.close()
	}
	return true
}

// note counts what became of one message.
func (l *load) note(r *request, a answer, err error, took time.Duration) {
	t := &l.tally
	switch {
	case err != nil:
		t.noAnswer.Add(1)
		t.fail(fmt.Errorf("webhook: %w", err))
	case a.status == http.StatusOK:
		t.acknowledged.add(took)
		if r.acknowledged.Swap(true) {
			t.repeats.Add(1)
		} else {
			t.created.Add(1)
		}
	default:
		if a.status == http.StatusServiceUnavailable {
			t.refused.add(took)
		}
		t.mu.Lock()
		t.statuses[a.status]++
		t.mu.Unlock()
		t.fail(fmt.Errorf("webhook: %w", a.error()))
	}
}

// connected opens a connection that was lost or has been idle for long, as often
// as that takes. It returns false if ctx ends before.
func (l *load) connected(ctx context.Context, c *loadConnection) bool {
	if c.conn != nil && time.Since(c.used) > loadIdle {
		c.close()
	}
	for c.conn == nil {
		if ctx.Err() != nil {
			return false
		}
		if err := c.open(ctx); err == nil {
			break
		}
		select {
		case <-time.After(loadRedial):
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// measured is what came of all messages for a report of reads; its rows are those
// that were acknowledged.
func (l *load) measured() measured {
	t := &l.tally
	m := measured{name: "webhooks meanwhile", rows: t.created.Load() + t.repeats.Load(), unsent: t.unsent.Load(), errors: t.noAnswer.Load(), first: t.first}
	m.took = &t.acknowledged
	for _, n := range t.statuses {
		m.errors += n
	}
	return m
}

// loadConnection is a connection on which one request follows the answer to the
// other.
type loadConnection struct {
	target   *url.URL
	conn     net.Conn // nil: closed
	reader   *bufio.Reader
	used     time.Time // last
	deadline time.Time // of conn
}

func (c *loadConnection) open(ctx context.Context) error {
	port := cmp.Or(c.target.Port(), c.target.Scheme) // a port may be named
	address := net.JoinHostPort(c.target.Hostname(), port)
	dialer := &net.Dialer{Timeout: loadPatience}
	var err error
	if c.target.Scheme == "https" {
		c.conn, err = (&tls.Dialer{NetDialer: dialer}).DialContext(ctx, "tcp", address)
	} else {
		c.conn, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		c.conn = nil
		return err
	}
	if c.reader == nil {
		const size = 4 << 10
		c.reader = bufio.NewReaderSize(c.conn, size)
	} else {
		c.reader.Reset(c.conn)
	}
	c.used, c.deadline = time.Now(), time.Time{}
	return nil
}

func (c *loadConnection) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// exchange sends a request and reads its answer.
func (c *loadConnection) exchange(raw []byte, now time.Time) (answer, error) {
	// Setting a deadline costs, so it serves many requests.
	if c.deadline.Sub(now) < loadPatience {
		c.deadline = now.Add(2 * loadPatience)
		if err := c.conn.SetDeadline(c.deadline); err != nil {
			return answer{}, err
		}
	}
	if _, err := c.conn.Write(raw); err != nil {
		// It may have answered before it hung up.
		if a, errRead := readAnswer(c.reader); errRead == nil {
			a.last = true
			return a, nil
		}
		return answer{}, err
	}
	a, err := readAnswer(c.reader)
	if err == nil && c.reader.Buffered() > 0 {
		return answer{}, errors.New("more came than the answer")
	}
	return a, err
}
