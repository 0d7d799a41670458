package postgres

import (
	"context"
	"net"
	"sync"
)

// sockets are the connections that are open, whoever uses them: the driver goes
// on waiting for a server that hangs, long after it was told to close.
type sockets struct {
	dialer net.Dialer

	mu   sync.Mutex
	open map[*socket]struct{} // nil: no more are opened
}

// socket forgets itself when it is closed.
type socket struct {
	net.Conn
	of *sockets
}

// dial opens a connection.
func (s *sockets) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := s.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		_ = conn.Close() // nothing was said on it
		return nil, net.ErrClosed
	}
	c := &socket{Conn: conn, of: s}
	s.open[c] = struct{}{}
	return c, nil
}

// Close implements net.Conn.
func (c *socket) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// cut closes all that are open.
func (s *sockets) cut() {
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // whoever used it finds out
	}
}
