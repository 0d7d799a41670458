package postgres

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT of Linux's tcp(7).
const tcpUserTimeout = 18

// limitUnacknowledged has the kernel give a connection up when the other machine
// does not acknowledge what was sent. Without it that takes a quarter of an hour.
func limitUnacknowledged(_, _ string, c syscall.RawConn) error {
	// A socket of another kind has no such option, and no need of it.
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(ackTimeout.Milliseconds()))
	})
}
