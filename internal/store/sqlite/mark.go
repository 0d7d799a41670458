package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"lyftr/internal/message"
)

// mark notes in the lock file which message was committed last. The next start
// tells by it that committed messages are missing: that the log was cut short or
// damaged, which SQLite takes for the end of the log, or that an older file was
// put in place.
//
// It is written after the commit and not synced. So after a power cut it may be
// behind, and what is missing is not noticed; it is never ahead of what is on disk.
//
// Writing it is a check as well. In the moment in which ext4 gives up, since its
// device fails, an fsync may return without an error and without having synced;
// a write after that fails.
type mark struct {
	file     *os.File
	identity string // of the database
	line     []byte
}

// markBytes is more than a mark has.
const markBytes = 64

// set notes the highest id of a committed message. All marks are of one length.
// An error says that the file system has given up. Any other fault of the note,
// such as a full disk, says nothing of what was committed.
func (m *mark) set(id int64) error {
	m.line = fmt.Appendf(m.line[:0], "%s %019d\n", m.identity, id)
	_, err := m.file.WriteAt(m.line, 0)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO) {
		return fmt.Errorf("note the last commit: %w", err)
	}
	return nil
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
func (s *Store) checkMark() error {
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
	return s.mark.set(last)
}
