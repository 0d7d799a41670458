package groupcommit_test

import (
	"testing"

	"lyftr/internal/store/groupcommit"
)

// BenchmarkWakeUnwatched is what a commit pays for readers of the feed while
// there are none.
func BenchmarkWakeUnwatched(b *testing.B) {
	var n groupcommit.Notice
	for b.Loop() {
		n.Wake()
	}
}
