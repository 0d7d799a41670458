package sqlite

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lyftr/internal/message"
)

// mark notes in the lock file which message was committed last. The next start
// tells by it that committed messages are missing: that the log was cut short or
// damaged, which SQLite takes for the end of the log, or that an older file was
// put in place.
//
// It is written after the commit and not synced. So after a power cut it may be
// behind, and what is missing is not noticed; it is never ahead of what is on disk.
type mark struct {
	file     *os.File
	identity string // of the database
	line     []byte
}

// markBytes is more than a mark has.
const markBytes = 64

// set notes the highest id of a committed message. All marks are of one length.
// An error says nothing of the database, and only costs the note.
func (m *mark) set(id int64) {
	m.line = fmt.Appendf(m.line[:0], "%s %019d\n", m.identity, id)
	_, _ = m.file.WriteAt(m.line, 0)
}

// get returns what was noted, nothing if there is no mark.
func (m *mark) get() (identity string, id int64) {
	line, err := io.ReadAll(io.NewSectionReader(m.file, 0, markBytes))
	if err != nil {
		return "", 0
	}
	if n, err := fmt.Sscanf(string(line), "%s %d\n", &identity, &id); n < 2 || err != nil {
		return "", 0
	}
	return identity, id
}

// checkMark says, once, what is missing since the mark was set, and sets it anew.
func (s *Store) checkMark() {
	s.mark = mark{file: s.lock, identity: message.DatabaseIdentity(s.cursorKey)}
	last := s.lastID.Load()
	switch identity, noted := s.mark.get(); {
	case identity == "":
	case identity != s.mark.identity:
		s.log.Warn("this is another database than the one that was here before", "database", filepath.Base(s.path))
	case noted > last:
		s.log.Error("committed messages are missing: the log was cut short or damaged, or an older file was put in place",
			"database", filepath.Base(s.path), "missing", noted-last)
	}
	s.mark.set(last)
}
