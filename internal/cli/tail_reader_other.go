//go:build !unix

package cli

import (
	"context"
	"io"
)

// readerGone waits for the context and returns false: that nobody reads any more
// is seen when the next message is written.
func readerGone(ctx context.Context, _ io.Writer) bool {
	<-ctx.Done()
	return false
}
