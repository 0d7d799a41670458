//go:build race

package sqlite

import (
	"flag"
	"os"
	"testing"
)

// The race detector makes everything ten times as slow, and says nothing of
// answers.

// TestMain has rapid make fewer checks; the command line is stronger.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "10"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const (
	// killedRows is how many rows are adopted under a kill.
	killedRows = 3_000
	// inChunk is how many of a chunk's ids have a message.
	inChunk = 60
)
