//go:build !linux

package postgres

import "syscall"

// limitUnacknowledged is for Linux only: elsewhere keep-alives have to do.
func limitUnacknowledged(_, _ string, _ syscall.RawConn) error { return nil }
