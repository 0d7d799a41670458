//go:build !race

package sqlite

import "lyftr/internal/store/segment"

const (
	// killedRows is how many rows are adopted under a kill.
	killedRows = 50_000
	// inChunk is how many of a chunk's ids have a message.
	inChunk = segment.ChunkSize
)
