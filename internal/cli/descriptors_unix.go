//go:build unix

package cli

import (
	"math"

	"golang.org/x/sys/unix"
)

// maxDescriptors is how many files and connections this process may have open;
// Go has raised it as far as it may be.
func maxDescriptors() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxInt
	}
	return int(min(limit.Cur, math.MaxInt))
}
