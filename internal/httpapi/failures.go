package httpapi

import (
	"container/heap"
	"net/netip"
	"sync"
	"time"
)

// maxFailers bounds how many clients are remembered. Who fails from more
// addresses than that has the one dropped that has failed least, so that it costs
// no memory, and little time: the clients stand in a heap.
const maxFailers = 10_000

// failures limits how often a client may fail: so many times at once, and as
// often again in each minute. It is a token bucket for each client.
type failures struct {
	every time.Duration // after which one failure is forgiven; 0 is no limit
	most  time.Duration // what a client may owe

	mu       sync.Mutex
	byClient map[netip.Addr]*failer
	queue    failerQueue
}

// failer is a client that has failed.
type failer struct {
	client netip.Addr
	clean  time.Time // when all its failures are forgiven
	index  int       // in the queue
}

// newFailures returns a limit of failures a minute, 0 for none.
func newFailures(perMinute int) *failures {
	f := &failures{byClient: map[netip.Addr]*failer{}}
	if perMinute > 0 {
		f.every = time.Minute / time.Duration(perMinute)
		f.most = f.every * time.Duration(perMinute)
	}
	return f
}

// wait is how long the client has to wait until it may fail again, 0 if it may
// now.
func (f *failures) wait(client netip.Addr, now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.byClient[client]; x != nil {
		return f.waits(x, now)
	}
	return 0
}

func (f *failures) waits(x *failer, now time.Time) time.Duration {
	return max(0, x.clean.Sub(now)+f.every-f.most)
}

// add notes that the client has failed. One that has to wait is told how long,
// and owes no more than before.
func (f *failures) add(client netip.Addr, now time.Time) (wait time.Duration) {
	if f.every == 0 {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.byClient[client]
	if x == nil {
		f.makeRoom(now)
		x = &failer{client: client, clean: now}
		f.byClient[client] = x
		heap.Push(&f.queue, x)
	}
	if wait = f.waits(x, now); wait > 0 {
		return wait
	}
	if x.clean.Before(now) {
		x.clean = now
	}
	x.clean = x.clean.Add(f.every)
	heap.Fix(&f.queue, x.index)
	return 0
}

// makeRoom drops whom everything is forgiven, and somebody in any case if it is
// full.
func (f *failures) makeRoom(now time.Time) {
	for len(f.queue) > 0 && (len(f.queue) >= maxFailers || !f.queue[0].clean.After(now)) {
		x := heap.Pop(&f.queue).(*failer)
		delete(f.byClient, x.client)
	}
}

// failerQueue is a heap, the one who owes least first.
type failerQueue []*failer

// Len implements sort.Interface.
func (q *failerQueue) Len() int { return len(*q) }

// Less implements sort.Interface.
func (q *failerQueue) Less(i, j int) bool { return (*q)[i].clean.Before((*q)[j].clean) }

// Swap implements sort.Interface.
func (q *failerQueue) Swap(i, j int) {
	list := *q
	list[i], list[j] = list[j], list[i]
	list[i].index, list[j].index = i, j
}

// Push implements heap.Interface.
func (q *failerQueue) Push(x any) {
	f := x.(*failer)
	f.index = len(*q)
	*q = append(*q, f)
}

// Pop implements heap.Interface.
func (q *failerQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return x
}
