package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// BackupOptions tune a backup. The zero value is fine.
type BackupOptions struct {
	// Replace puts the backup in the place of a file that is there already.
	Replace bool
	// Progress, if set, is told how many bytes are copied, of how many. When all
	// are copied the check begins.
	Progress func(copied, total int64)
}

// BackupSummary says what a backup holds.
type BackupSummary struct {
	Messages int64
	Bytes    int64
	// Schema is the version of lyftr's schema, 0 for a file of the FastAPI
	// service that was not adopted yet.
	Schema  int64
	Copying time.Duration
	// Checking is how long the checks took that the backup passed: SQLite's
	// integrity_check, the messages against the counters, and for a new backup
	// the messages against those of the database.
	Checking time.Duration
}

const (
	// unfinishedSuffix marks a backup that is being written. A killed backup
	// leaves it, and the next one to the same name overwrites it.
	unfinishedSuffix = ".unfinished"
	// backupStepPages is how many pages are copied before the context is looked
	// at and progress is told: 1 MiB.
	backupStepPages = 256
	// backupSyncBytes is after how many bytes the copy is synced, so that the
	// one sync at the end does not hold up those of a server on the same disk.
	backupSyncBytes = 64 << 20
	backupCacheKiB  = 8_000
)

// Backup copies the database at path to the file destination, which then is a
// database of its own. It takes no lock: a lyftr may serve the database
// meanwhile. The destination is there when the backup is complete, checked and
// on disk, and not before; it is not replaced unless the options say so.
//
// The copy is of one moment, after the call began. One read transaction is held
// while it is made, so the log of a database that is written to grows until then.
func Backup(ctx context.Context, path, destination string, o BackupOptions) (summary BackupSummary, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up sqlite database %s: %w", path, err)
		}
	}()
	if path, err = backupSource(path); err != nil {
		return BackupSummary{}, err
	}
	if destination, err = filepath.Abs(destination); err != nil {
		return BackupSummary{}, err
	}
	if err := checkDestination(path, destination, o.Replace); err != nil {
		return BackupSummary{}, err
	}
	b := &backup{path: path, unfinished: destination + unfinishedSuffix, progress: o.Progress}
	if b.progress == nil {
		b.progress = func(int64, int64) {}
	}
	if b.file, err = claimUnfinished(b.unfinished); err != nil {
		return BackupSummary{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.remove())
		}
		// Held until here: it is the lock on the unfinished file.
		err = errors.Join(err, b.file.Close())
	}()
	begun := time.Now()
	found, err := b.copy(ctx)
	if err != nil {
		return BackupSummary{}, tellSpace(err, filepath.Dir(destination))
	}
	copying := time.Since(begun)
	if summary, err = checkBackup(ctx, b.unfinished); err != nil {
		return BackupSummary{}, err
	}
	summary.Copying = copying
	if summary.Messages != found.messages || summary.Schema != found.schema {
		return BackupSummary{}, fmt.Errorf("the copy has %d messages and schema version %d where the database has %d and %d",
			summary.Messages, summary.Schema, found.messages, found.schema)
	}
	if err := checkDestination(path, destination, o.Replace); err != nil {
		return BackupSummary{}, err
	}
	if err := os.Rename(b.unfinished, destination); err != nil {
		return BackupSummary{}, err
	}
	if err := syncDir(filepath.Dir(destination)); err != nil {
		return BackupSummary{}, fmt.Errorf("sync the folder of the backup: %w", err)
	}
	return summary, nil
}

// CheckBackup checks the backup at path as Backup checks what it made.
func CheckBackup(ctx context.Context, path string) (BackupSummary, error) {
	path, err := backupSource(path)
	if err != nil {
		return BackupSummary{}, fmt.Errorf("check backup: %w", err)
	}
	summary, err := checkBackup(ctx, path)
	if err != nil {
		return BackupSummary{}, fmt.Errorf("check backup %s: %w", path, err)
	}
	return summary, nil
}

// backupSource returns where the database really is, if it is there.
func backupSource(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if err := checkNotLeftAlone(path); err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	f, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case !f.Mode().IsRegular():
		return "", errors.New("not a regular file")
	case f.Size() == 0:
		// A log beside it would hold it all, and belong to a lyftr that has not
		// copied anything of it yet.
		if size, err := sizeIfThere(path + "-wal"); err != nil || size == 0 {
			return "", errors.Join(errors.New("the file is empty"), err)
		}
	}
	return path, nil
}

// sizeIfThere is 0 for a file that is not there.
func sizeIfThere(path string) (int64, error) {
	f, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return f.Size(), nil
}

// checkDestination refuses a name under which a backup would destroy something.
func checkDestination(path, destination string, replace bool) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", ".lock"} {
		if same, err := sameFile(path+suffix, destination); err != nil || same || destination == path+suffix {
			return errors.Join(fmt.Errorf("%s belongs to the database itself: name another file", destination), err)
		}
	}
	switch f, err := os.Lstat(destination); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case f.IsDir():
		return fmt.Errorf("%s is a folder: name a file in it", destination)
	case !replace:
		return fmt.Errorf("%s is there already: name another file, or have it replaced (--force)", destination)
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if size, err := sizeIfThere(destination + suffix); err != nil || size > 0 {
			return errors.Join(fmt.Errorf("%s is there, the log of another database, which would be read as that of the backup: name another file", destination+suffix), err)
		}
	}
	return nil
}

// sameFile reports whether both paths lead to one file.
func sameFile(a, b string) (bool, error) {
	fa, err := os.Stat(a)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	fb, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(fa, fb), nil
}

// claimUnfinished makes the file that the backup is written to, or takes over
// the one that a killed backup left, and locks it. It is empty then.
func claimUnfinished(path string) (_ *os.File, err error) {
	f, err := lockFile(path)
	if errors.Is(err, ErrInUse) {
		return nil, fmt.Errorf("%s is being written by another lyftr backup", path)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	// Another backup may have given it its final name meanwhile, and a link
	// leads to a file that is not ours.
	opened, err := f.Stat()
	if err != nil {
		return nil, err
	}
	there, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !os.SameFile(there, opened) || !opened.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a backup's unfinished file: move it away", path)
	}
	return f, errors.Join(f.Chmod(0o600), f.Truncate(0))
}

// backup is one backup that is being made.
type backup struct {
	path       string   // of the database
	unfinished string   // what is written
	file       *os.File // likewise, open and locked
	progress   func(copied, total int64)
}

// remove removes what was written.
func (b *backup) remove() error {
	var errs []error
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		errs = append(errs, removeIfThere(b.unfinished+suffix))
	}
	return errors.Join(errs...)
}

// facts are what a database holds at one moment.
type facts struct {
	messages int64
	schema   int64 // 0: the FastAPI service's
	lastID   int64 // highest id ever given out
	counted  bool  // by its counters alone
}

// look reads what the database holds. It refuses one that is not lyftr's.
func look(ctx context.Context, q *sql.Conn) (f facts, err error) {
	holds, err := inspect(ctx, q)
	if err != nil {
		return facts{}, err
	}
	switch {
	case holds.lyftr:
		// Served by the primary key.
		err := q.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&f.schema)
		if err != nil {
			return facts{}, fmt.Errorf("read schema version: %w", err)
		}
	case !holds.legacy:
		return facts{}, errors.New("it has no table messages: this is no database of lyftr")
	}
	// A database that only an older lyftr has opened has no counters.
	counters, err := tableColumns(ctx, q, "counters")
	if err != nil {
		return facts{}, err
	}
	if f.counted = holds.lyftr && len(counters) > 0; f.counted {
		last, removed, err := countMessages(ctx, q)
		if err != nil {
			return facts{}, err
		}
		f.lastID, f.messages = last, last-removed
		return f, nil
	}
	f.messages, err = countRows(ctx, q)
	return f, err
}

func countRows(ctx context.Context, q *sql.Conn) (n int64, err error) {
	// Served by the smallest index of the table.
	if err := q.QueryRowContext(ctx, "SELECT count(*) FROM messages").Scan(&n); err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	return n, nil
}

// copy writes the unfinished file, syncs it, and returns what the database held
// at the moment of which the copy is.
func (b *backup) copy(ctx context.Context) (facts, error) {
	alone, err := withoutLog(b.path)
	if err != nil {
		return facts{}, err
	}
	f, err := b.copyPages(ctx, alone != nil)
	if alone.check(nil) != nil {
		// A lyftr was started meanwhile, so the log is there now.
		if err := b.file.Truncate(0); err != nil {
			return facts{}, err
		}
		f, err = b.copyPages(ctx, false)
	}
	if cannotOpen(err) {
		// To read a log SQLite needs its index, which cannot be made here.
		f, err = b.copyFiles(ctx)
	}
	if err != nil {
		return facts{}, err
	}
	if err := b.file.Sync(); err != nil {
		return facts{}, fmt.Errorf("sync: %w", err)
	}
	return f, nil
}

// cannotOpen reports whether SQLite failed since it cannot make or write the
// files beside a database.
func cannotOpen(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code()&0xff == sqlite3.SQLITE_CANTOPEN || e.Code()&0xff == sqlite3.SQLITE_READONLY
}

// withoutLog returns what a database in WAL mode is that has no log, and nil for
// any other. SQLite would make an empty log to read it, and leave it behind.
func withoutLog(path string) (*untouched, error) {
	u, err := untouchedFile(path)
	if u == nil || err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	// https://sqlite.org/fileformat2.html#file_format_version_numbers
	var header [20]byte
	_, err = io.ReadFull(f, header[:])
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the header: %w", err)
	}
	const wal = 2
	if header[18] != wal && header[19] != wal {
		return nil, nil
	}
	return u, nil
}

// copyPages copies by SQLite's backup within one read transaction. A file that
// is alone is read without locks, as one that nobody writes to.
func (b *backup) copyPages(ctx context.Context, alone bool) (f facts, err error) {
	dsn := readerDSN(b.path)
	if alone {
		dsn += "&immutable=1"
	}
	db := openDB(dsn, nil)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return facts{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	// The transaction begins with the first read and ends with the connection.
	// Without it SQLite's backup begins anew whenever somebody else commits.
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return facts{}, err
	}
	if f, err = look(ctx, conn); err != nil {
		return facts{}, err
	}
	var pages, pageSize int64
	if err := conn.QueryRowContext(ctx, "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &pageSize); err != nil {
		return facts{}, fmt.Errorf("count pages: %w", err)
	}
	if err := checkSpace(filepath.Dir(b.unfinished), pages*pageSize); err != nil {
		return facts{}, err
	}
	err = conn.Raw(func(c any) error {
		// Nothing needs a journal: the file is whole or is thrown away.
		pages, err := c.(pageCopier).NewBackup(fileDSN(b.unfinished, []string{
			pragma("journal_mode", "OFF"),
			pragma("synchronous", "OFF"),
			fmt.Sprintf("_pragma=cache_size(%d)", -backupCacheKiB),
		}))
		if err != nil {
			return err
		}
		return errors.Join(b.step(ctx, pages, pageSize), pages.Finish())
	})
	return f, err
}

// pageCopier is the driver's connection.
type pageCopier interface {
	NewBackup(destination string) (*sqlite.Backup, error)
}

func (b *backup) step(ctx context.Context, pages *sqlite.Backup, pageSize int64) error {
	unsynced := int64(0)
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if more, err = pages.Step(backupStepPages); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		total := int64(pages.PageCount()) * pageSize
		b.progress(total-int64(pages.Remaining())*pageSize, total)
		if unsynced += backupStepPages * pageSize; unsynced >= backupSyncBytes {
			unsynced = 0
			if err := b.file.Sync(); err != nil {
				return fmt.Errorf("sync: %w", err)
			}
		}
	}
	return nil
}

// checkSpace refuses what will not fit, as far as the system tells.
func checkSpace(dir string, needed int64) error {
	if free, ok := freeBytes(dir); ok && free < needed {
		return fmt.Errorf("not enough space in %s: the backup needs %d bytes and %d are free", dir, needed, free)
	}
	return nil
}

// tellSpace names the folder that is full.
func tellSpace(err error, dir string) error {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("no space left in %s: %w", dir, err)
	}
	return err
}

// checkBackup checks the file at path: its structure, that it is lyftr's, and
// that it has as many messages as its counters say.
func checkBackup(ctx context.Context, path string) (summary BackupSummary, err error) {
	begun := time.Now()
	dsn := readerDSN(path)
	if size, err := sizeIfThere(path + "-wal"); err != nil {
		return BackupSummary{}, err
	} else if size == 0 {
		dsn += "&immutable=1" // so that nothing is made beside it
	}
	db := openDB(dsn, nil)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return BackupSummary{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return BackupSummary{}, err
	}
	var result string
	if err := conn.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&result); err != nil {
		return BackupSummary{}, fmt.Errorf("integrity_check: %w", err)
	}
	if result != "ok" {
		return BackupSummary{}, fmt.Errorf("the file is damaged: integrity_check says %s", result)
	}
	f, err := look(ctx, conn)
	if err != nil {
		return BackupSummary{}, err
	}
	rows, err := countRows(ctx, conn)
	if err != nil {
		return BackupSummary{}, err
	}
	if rows != f.messages {
		return BackupSummary{}, fmt.Errorf("the table messages has %d rows where its counters say %d", rows, f.messages)
	}
	size, err := sizeIfThere(path)
	if err != nil {
		return BackupSummary{}, err
	}
	return BackupSummary{Messages: rows, Bytes: size, Schema: f.schema, Checking: time.Since(begun)}, nil
}
