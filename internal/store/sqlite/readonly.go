package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pressly/goose/v3"
)

// ErrInUse is in the tree of the error with which Open refuses a database that
// another process has open for writing.
var ErrInUse = errors.New("another lyftr has this database open")

// errReadOnly is what a store that was opened for reading says to a Save.
var errReadOnly = errors.New("the database was opened for reading only")

// openReadOnly opens what is there for reading, and nothing else: it takes no
// lock, migrates nothing, copies no log.
//
// There are two ways to read a file in WAL mode. With a log beside it the file is
// read as SQLite reads it anywhere, together with the log and its index, also
// while another process writes. Without a log SQLite would make one, which
// somebody who only reads may not be allowed to, or leave behind as his own: then
// the file holds everything and is read as one that nobody writes to, and every
// read makes sure that nobody began to.
func (s *Store) openReadOnly(ctx context.Context) (err error) {
	if err := checkNotLeftAlone(s.path); err != nil {
		return err
	}
	if s.path, err = filepath.EvalSymlinks(s.path); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the file is missing: lyftr serve makes it at its first start")
	} else if err != nil {
		return err
	}
	if s.file, err = os.Stat(s.path); err != nil {
		return err
	}
	if !s.file.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if s.untouched, err = untouchedFile(s.path); err != nil {
		return err
	}
	if err := s.checkSchema(ctx); err != nil {
		if _, log := os.Stat(s.path + "-wal"); log == nil && s.untouched == nil {
			if _, index := os.Stat(s.path + "-shm"); index != nil {
				err = fmt.Errorf("%w: the log beside the file needs its index %s, which could not be made: start lyftr serve once, or read as a user who may write to the folder",
					err, filepath.Base(s.path)+"-shm")
			}
		}
		return err
	}
	return s.openReaders(ctx)
}

// checkSchema refuses what is not lyftr's, and any schema but the newest.
func (s *Store) checkSchema(ctx context.Context) (err error) {
	db := openDB(s.readersDSN(), nil)
	defer func() { err = errors.Join(err, db.Close()) }()
	columns, err := tableColumns(ctx, db, "messages")
	if err != nil {
		return err
	}
	versions, err := tableColumns(ctx, db, goose.DefaultTablename)
	if err != nil {
		return err
	}
	if !slices.Contains(columns, "ts_unix") || len(versions) == 0 {
		return s.untouched.check(errors.New("the file is not lyftr's, or not yet: start lyftr serve once, which adopts a file of the FastAPI service"))
	}
	files, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return err
	}
	newest, err := goose.NumericComponent(files[len(files)-1])
	if err != nil {
		return err
	}
	var current int64
	if err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM "+goose.DefaultTablename).Scan(&current); err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	switch {
	case current < newest:
		return fmt.Errorf("the database has schema version %d and this lyftr reads %d: start lyftr serve once, which brings it up to date", current, newest)
	case current > newest:
		return fmt.Errorf("the database has schema version %d and this lyftr knows %d at most: use a newer lyftr", current, newest)
	}
	return nil
}

// readersDSN is the data source of the connections that read.
func (s *Store) readersDSN() string {
	dsn := readerDSN(s.path)
	if s.untouched != nil {
		dsn += "&immutable=1"
	}
	return dsn
}

// untouched is a file as it was when reading began.
type untouched struct {
	path    string
	size    int64
	written time.Time
}

// untouchedFile returns nil for a file that has a log or a journal beside it, so
// that it may be in the midst of being written.
func untouchedFile(path string) (*untouched, error) {
	u := &untouched{path: path}
	f, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	u.size, u.written = f.Size(), f.ModTime()
	there, err := u.logThere()
	if there || err != nil {
		return nil, err
	}
	return u, nil
}

func (u *untouched) logThere() (bool, error) {
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := os.Stat(u.path + suffix); !errors.Is(err, fs.ErrNotExist) {
			return err == nil, err
		}
	}
	return false, nil
}

// check returns the error of a read, or another if somebody began to write to
// the file before the read was done: nothing that it found counts then. Who
// writes makes a log before anything in the file changes.
func (u *untouched) check(err error) error {
	if u == nil {
		return err
	}
	f, statErr := os.Stat(u.path)
	there, logErr := u.logThere()
	switch {
	case statErr != nil || logErr != nil:
		return errors.Join(statErr, logErr)
	case there, f.Size() != u.size, !f.ModTime().Equal(u.written):
		return errors.New("another program began to write to the database meanwhile: start again")
	}
	return err
}
