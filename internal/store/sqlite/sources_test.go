package sqlite

import (
	"testing"

	"lyftr/internal/store/segment"
	"lyftr/internal/store/storetest"
)

// TestSourcesUnknown: the sources of chunks of a version that did not note them
// are read from the messages until they are noted, of some chunks or of all.
func TestSourcesUnknown(t *testing.T) {
	path := newPath(t)
	m := storetest.NewMany(12)
	s, shut := open(t, path, patient)
	for chunk := range int64(sourceGroup + 2) {
		m.Save(t, s, 60)
		skipTo(t, s, segment.FirstID(chunk+1)-30)
	}
	m.Save(t, s, 60)
	m.EraseSome(t, s, 1)
	indexed(t, s)
	s.indexer.close()
	stepped(t, s, "DELETE FROM chunk_sources WHERE id > 0")
	wantEqual(t, "chunks whose sources are noted", sourceGroup, noted(t, s))
	m.ExpireSome(t, s, 0.2)
	m.CheckSome(t, s)
	stepped(t, s, "DELETE FROM chunk_sources")
	shut()
	s, _ = open(t, path, patient)
	m.CheckSome(t, s) // while they are noted
	indexed(t, s)
	m.EraseSome(t, s, 1)
	indexed(t, s)
	m.CheckSome(t, s)
}
