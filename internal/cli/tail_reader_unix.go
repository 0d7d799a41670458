//go:build unix

package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// readerCheck is how long poll waits before it looks whether the context has
// ended.
const readerCheck = time.Second / 10

// readerGone waits until nobody reads a pipe any more, which a write alone would
// tell with the next message. It returns false when the context ends.
func readerGone(ctx context.Context, out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		<-ctx.Done()
		return false
	}
	pipe := []unix.PollFd{{Fd: int32(f.Fd())}} //nolint:gosec // a descriptor is small
	for ctx.Err() == nil {
		// Nothing is asked for: what comes is that the other end is closed.
		n, err := unix.Poll(pipe, int(readerCheck.Milliseconds()))
		switch {
		case n > 0:
			return true
		case err != nil && !errors.Is(err, unix.EINTR):
			<-ctx.Done()
		}
	}
	return false
}
