// Package sqlite is the message.Store on one SQLite file: one connection that
// writes, with group commit, one that copies its log into the file, and a pool of
// read-only connections.
//
// The file is in WAL mode with synchronous=FULL, so a commit that returned is on
// disk. One Store owns a file; a second one, also of another process, is
// refused.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
)

// Options tune a Store. The zero value is fine.
type Options struct {
	// Logger is told of migrations, adoption and faults. Default: nothing is said.
	Logger *slog.Logger
	// ReadTimeout bounds every read. Default 5 s.
	ReadTimeout time.Duration
	// ReadOnly opens a database for reading alone, also one that another process
	// has open: it takes no lock, and changes nothing. See openReadOnly.
	ReadOnly bool
	// QueueSize is how many saves may wait for the writer. Default 4096.
	QueueSize int
	// OnCommit, if set, is told of every commit: how long it took and how many
	// messages and statuses it held.
	OnCommit func(took time.Duration, rows int)
}

const defaultReadTimeout = 5 * time.Second

// maxQuickCheckBytes is the largest database whose structure is checked at every
// start; the check reads the whole file, at roughly 200 MiB a second.
const maxQuickCheckBytes = 64 << 20

// Store is a message.Store on a SQLite file.
type Store struct {
	path    string
	log     *slog.Logger
	timeout time.Duration

	lock         *os.File    // held while the Store is open
	disk         *os.File    // the database file, to sync it; closed after all connections
	file         os.FileInfo // the database file as it was opened
	logFile      os.FileInfo // its write-ahead log, likewise
	mark         mark
	writeDB      *sql.DB
	readDB       *sql.DB
	readers      readers
	queue        *groupcommit.Queue
	writer       *writer
	cursorKey    []byte
	headers      headers
	found        found
	indexer      *indexer
	checkpointer *checkpointer
	recent       recent
	untouched    *untouched // set if the file is read as one that nobody writes to

	messages atomic.Int64 // stored
	lastID   atomic.Int64 // highest id of a committed message, ever
	// committing is set while there may be messages that can be seen and are not
	// counted in lastID.
	committing atomic.Bool
	// deletions counts the transactions that wrote to removed, ever. It changes
	// on the writer goroutine only, before that begins with anything else.
	deletions atomic.Int64
	reportDue atomic.Pointer[time.Time] // see expireReport

	changed groupcommit.Notice // of messages that were stored

	health health
}

// health is what the last commits say about the database.
type health struct {
	mu       sync.Mutex
	lastOK   time.Time // of the last commit
	lastErr  error     // of the last commit, nil if it succeeded
	fatal    error     // after which the connection is not used again
	failed   chan struct{}
	loggedAt time.Time
	unlogged int
}

// Open opens the database at path, makes it and its folder if they are not
// there, adopts a file of the FastAPI service, and brings the schema up to
// date. When it returns, everything in the file is on disk.
func Open(ctx context.Context, path string, o Options) (_ *Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open sqlite database: %w", err)
	}
	s := &Store{path: path, log: o.Logger, timeout: o.ReadTimeout}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.timeout <= 0 {
		s.timeout = defaultReadTimeout
	}
	s.health.failed = make(chan struct{})
	defer func() {
		if err != nil {
			err = fmt.Errorf("open sqlite database %s: %w", path, errors.Join(err, s.release()))
		}
	}()
	if o.ReadOnly {
		if err := s.openReadOnly(ctx); err != nil {
			return nil, err
		}
		return s, nil
	}
	if err := s.openFile(); err != nil {
		return nil, err
	}
	found, err := s.inspect(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.openWriter(ctx); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx, found); err != nil {
		return nil, err
	}
	if err := s.checkpointAtStart(ctx); err != nil {
		return nil, err
	}
	if err := s.openReaders(ctx); err != nil {
		return nil, err
	}
	if err := s.checkMark(); err != nil {
		return nil, err
	}
	// Opening the readers has made the log; it stays until the writer closes.
	if s.logFile, err = os.Stat(s.path + "-wal"); err != nil {
		return nil, err
	}
	s.writer, err = newWriter(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.checkpointer, err = startCheckpointer(ctx, s); err != nil {
		return nil, err
	}
	s.queue = groupcommit.New(s.writer, groupcommit.Options{MaxWaiting: o.QueueSize, OnCommit: o.OnCommit})
	if err := startIndexer(ctx, s); err != nil {
		s.queue.Close()
		return nil, err
	}
	return s, nil
}

// openFile makes the folder and the file, readable by their owner only, follows
// links to where the file really is, and takes the lock there.
func (s *Store) openFile() error {
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := checkNotLeftAlone(s.path); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	switch {
	case err == nil:
		if err := errors.Join(f.Close(), syncDir(dir)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if s.path, err = filepath.EvalSymlinks(s.path); err != nil {
		return err
	}
	if s.file, err = os.Stat(s.path); err != nil {
		return err
	}
	if !s.file.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if s.lock, err = lockFile(s.path + ".lock"); err != nil {
		return err
	}
	// What was written before, such as a backup that was copied here, is on disk
	// before a repeat of something in it is acknowledged. No connection is open
	// yet: closing a file takes SQLite's locks on it away from this process.
	if s.disk, err = os.Open(s.path); err != nil {
		return err
	}
	return s.disk.Sync()
}

// checkNotLeftAlone refuses a log without its database: SQLite would throw away
// the commits in it when it makes a new database of that name.
func checkNotLeftAlone(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if log, err := os.Stat(path + "-wal"); err == nil && log.Size() > 0 {
		return fmt.Errorf("the file is missing, but its log %s-wal is there and may hold messages: put the file back, or move the log away to begin with an empty database", path)
	}
	return nil
}

// syncDir puts a folder's entries on disk.
func syncDir(dir string) error { return syncFile(dir) }

// syncFile puts on disk what was written to a file, whoever wrote it.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s *Store) openWriter(ctx context.Context) error {
	s.writeDB = openDB(writerDSN(s.path), nil)
	s.writeDB.SetMaxOpenConns(1)
	s.writeDB.SetConnMaxIdleTime(0)
	s.writeDB.SetConnMaxLifetime(0)
	if err := checkWriter(ctx, s.writeDB); err != nil {
		return err
	}
	if s.file.Size() > maxQuickCheckBytes {
		return nil
	}
	var result string
	if err := s.writeDB.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if result != "ok" {
		return fmt.Errorf("the file is damaged (%s): restore it from a backup", result)
	}
	return nil
}

// startBusyTimeoutMS is how long the checkpoint at the start waits for readers.
// Waiting longer buys nothing but a later start.
const startBusyTimeoutMS = 500

// checkpointAtStart syncs the log and the database and empties the log. A
// process that was killed may leave frames in the log that were never synced;
// without this a repeat of such a message would be acknowledged as a duplicate
// although a power cut could still take it.
//
// While another process has a read transaction (a backup, Litestream) the log
// cannot be emptied, and it is synced as it is: every frame that a reader can
// find is in the file of the log, what is added later is synced by the commit
// that adds it, and SQLite itself syncs the log before it copies frames, and the
// database before it overwrites copied ones.
func (s *Store) checkpointAtStart(ctx context.Context) error {
	busy, frames, copied, err := s.truncateLog(ctx)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if busy {
		s.log.Info("another program reads the database: its log was synced and not emptied")
		if err := syncFile(s.path + "-wal"); err != nil {
			return fmt.Errorf("sync the log: %w", err)
		}
	}
	// With all of the log copied the file holds every page. One that was cut
	// short within a page would be read with zeros in place of what is missing.
	if !busy || frames >= 0 && copied == frames {
		if err := s.checkLength(ctx); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(s.path))
}

// truncateLog copies the log into the database and empties it. If it is busy, as
// much of the log was copied as could be: frames is -1 where that is not known.
func (s *Store) truncateLog(ctx context.Context) (busy bool, frames, copied int, err error) {
	wait := func(milliseconds int) error {
		_, err := s.writeDB.ExecContext(ctx, "PRAGMA busy_timeout = "+strconv.Itoa(milliseconds))
		return err
	}
	if err := wait(startBusyTimeoutMS); err != nil {
		return false, 0, 0, err
	}
	err = s.writeDB.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &copied)
	return busy, frames, copied, errors.Join(err, wait(busyTimeoutMS))
}

// checkLength finds a file that was cut short.
func (s *Store) checkLength(ctx context.Context) error {
	var pages, pageSize int64
	if err := s.writeDB.QueryRowContext(ctx, "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &pageSize); err != nil {
		return fmt.Errorf("count pages: %w", err)
	}
	f, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if f.Size() < pages*pageSize {
		return fmt.Errorf("the file is damaged (%d bytes where %d pages of %d bytes belong): restore it from a backup", f.Size(), pages, pageSize)
	}
	return nil
}

func (s *Store) openReaders(ctx context.Context) error {
	s.readDB = openDB(s.readersDSN(), containsFold)
	n := max(4, 2*runtime.GOMAXPROCS(0))
	s.readDB.SetMaxOpenConns(n)
	s.readDB.SetMaxIdleConns(n)
	if err := s.readDB.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'cursor_key'").Scan(&s.cursorKey); err != nil {
		return fmt.Errorf("read cursor key: %w", err)
	}
	last, removed, err := countMessages(ctx, s.readDB)
	if err != nil {
		return err
	}
	s.lastID.Store(last)
	s.messages.Store(last - removed)
	// Served by the primary key.
	var deletions int64
	if err := s.readDB.QueryRowContext(ctx, "SELECT value FROM counters WHERE name = 'deletions'").Scan(&deletions); err != nil {
		return fmt.Errorf("read deletions: %w", err)
	}
	s.deletions.Store(deletions)
	return nil
}

// Save implements message.Store.
func (s *Store) Save(ctx context.Context, messages []message.Message, statuses []message.Status) ([]message.Outcome, error) {
	if s.queue == nil {
		return nil, errReadOnly
	}
	outcomes, err := s.queue.Save(ctx, messages, statuses)
	if err != nil {
		return nil, fmt.Errorf("save messages: %w", err)
	}
	return outcomes, nil
}

// probeAfter is how long after a commit Ready takes it as proof that the
// database can be written.
const probeAfter = 5 * time.Second

// Ready implements message.Store. Unless a commit succeeded just now it commits
// a small write. It does not wait for the readers: that they are busy keeps
// nobody from storing messages.
func (s *Store) Ready(ctx context.Context) error {
	if s.queue == nil {
		return errReadOnly
	}
	s.health.mu.Lock()
	fatal, lastErr, lastOK := s.health.fatal, s.health.lastErr, s.health.lastOK
	s.health.mu.Unlock()
	if fatal != nil {
		return fatal
	}
	if lastErr == nil && time.Since(lastOK) < probeAfter {
		return s.checkFiles()
	}
	if _, err := s.queue.Save(ctx, nil, nil); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// checkFiles makes sure that the paths still name the files that are open: what
// is committed to a file without a name is lost.
func (s *Store) checkFiles() error {
	return errors.Join(checkFile(s.path, s.file), checkFile(s.path+"-wal", s.logFile))
}

func checkFile(path string, opened os.FileInfo) error {
	now, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("a file of the database is gone: %w", err)
	}
	if !os.SameFile(now, opened) {
		return fmt.Errorf("a file of the database was replaced by another: %s", path)
	}
	return nil
}

// Status implements message.Store.
func (s *Store) Status() message.StoreStatus {
	st := message.StoreStatus{Identity: message.DatabaseIdentity(s.cursorKey), Messages: s.messages.Load()}
	if s.queue != nil {
		st.QueueDepth, st.QueueCapacity, st.Unindexed = s.queue.Depth(), s.queue.Capacity(), s.indexer.unindexed()
	}
	if f, err := os.Stat(s.path); err == nil {
		st.DatabaseBytes = f.Size()
	}
	if f, err := os.Stat(s.path + "-wal"); err == nil {
		st.LogBytes = f.Size()
		st.DatabaseBytes += f.Size()
	}
	st.DiskFreeBytes, st.DiskKnown = freeBytes(filepath.Dir(s.path))
	return st
}

// Failed implements message.Store.
func (s *Store) Failed() <-chan struct{} { return s.health.failed }

// Close implements message.Store.
func (s *Store) Close() error {
	if s.queue != nil {
		s.indexer.close()
		s.queue.Close()
	}
	if err := s.release(); err != nil {
		return fmt.Errorf("close sqlite database %s: %w", s.path, err)
	}
	return nil
}

// closeTimeout is how long Close waits for a read that is being broken off.
const closeTimeout = 5 * time.Second

// closeReaders closes the connections that read. Rows of a read that was broken
// off are closed by a goroutine of database/sql, which Close does not wait for;
// and as long as their connection is open the writer's, which would then be the
// last, cannot copy the log into the file.
func (s *Store) closeReaders() error {
	err := s.readDB.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(closeTimeout)
	for s.readDB.Stats().OpenConnections > 0 {
		select {
		case <-tick.C:
		case <-limit:
			return err // the next start copies the log
		}
	}
	return err
}

// release closes what is open, the writer last so that it checkpoints the log.
// After a fatal fault the writer's connection stays open until the process
// ends: closing it would write to the database once more.
func (s *Store) release() error {
	var errs []error
	if s.readDB != nil {
		errs = append(errs, s.closeReaders())
	}
	if s.checkpointer != nil {
		errs = append(errs, s.checkpointer.close())
	}
	if s.fatalError() == nil {
		if s.writer != nil {
			errs = append(errs, s.writer.close())
		}
		if s.writeDB != nil {
			errs = append(errs, s.writeDB.Close())
		}
		if s.disk != nil {
			errs = append(errs, s.disk.Close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
