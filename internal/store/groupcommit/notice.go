package groupcommit

import "sync/atomic"

// Notice wakes those who wait for the next commit that stores something. The
// zero value is ready.
type Notice struct {
	waiting atomic.Pointer[chan struct{}] // nil while nobody waits
}

// Wait returns the channel that the next Wake closes.
func (n *Notice) Wait() <-chan struct{} {
	for {
		if c := n.waiting.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if n.waiting.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

// Wake closes that channel. It costs the writer one load while nobody waits.
func (n *Notice) Wake() {
	if !n.Waited() {
		return
	}
	if c := n.waiting.Swap(nil); c != nil {
		close(*c)
	}
}

// Waited reports whether somebody took the channel since the last Wake.
func (n *Notice) Waited() bool { return n.waiting.Load() != nil }
