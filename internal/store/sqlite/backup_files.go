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
)

// copyFiles copies the database and its log as files and puts them together in
// the copy. It is for a folder in which nothing can be written, so that no lyftr
// serves the database; that none did is made sure of afterwards.
func (b *backup) copyFiles(ctx context.Context) (f facts, err error) {
	before, err := b.stat()
	if err != nil {
		return facts{}, err
	}
	var total, copied int64
	for _, file := range before {
		if file != nil {
			total += file.Size()
		}
	}
	if err := checkSpace(filepath.Dir(b.unfinished), total); err != nil {
		return facts{}, err
	}
	if err := b.file.Truncate(0); err != nil {
		return facts{}, err
	}
	tell := func(n int) {
		copied += int64(n)
		b.progress(copied, total)
	}
	for i, suffix := range databaseFiles() {
		if before[i] == nil {
			continue
		}
		if err := copyFileTo(ctx, b.path+suffix, b.unfinished+suffix, tell); err != nil {
			return facts{}, err
		}
	}
	after, err := b.stat()
	if err != nil {
		return facts{}, err
	}
	for i := range before {
		if changed(before[i], after[i]) {
			return facts{}, errors.New("the folder cannot be written to, and the database changed while it was copied: run the backup as the user that lyftr runs as")
		}
	}
	return b.join(ctx)
}

// databaseFiles are what is added to a database's name for the files that hold
// it.
func databaseFiles() []string { return []string{"", "-wal", "-journal"} }

// stat is of the database's files, nil for one that is not there.
func (b *backup) stat() ([]os.FileInfo, error) {
	var files []os.FileInfo
	for _, suffix := range databaseFiles() {
		f, err := os.Stat(b.path + suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err != nil {
			f = nil
		}
		files = append(files, f)
	}
	return files, nil
}

func changed(before, after os.FileInfo) bool {
	if before == nil || after == nil {
		return before != after
	}
	return !os.SameFile(before, after) || before.Size() != after.Size() || !before.ModTime().Equal(after.ModTime())
}

// copyFileTo copies a file over what is at the other path.
func copyFileTo(ctx context.Context, from, to string, tell func(n int)) (err error) {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(w, r, backupSyncBytes)
		tell(int(n))
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("copy: %w", err)
		}
	}
}

// join copies the log of the unfinished file into it.
func (b *backup) join(ctx context.Context) (f facts, err error) {
	db := openDB(fileDSN(b.unfinished, guards()), nil)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return facts{}, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if f, err = look(ctx, conn); err != nil {
		return facts{}, err
	}
	// The log goes away when the last connection of a database is closed.
	return f, checkpointAll(ctx, conn)
}

func checkpointAll(ctx context.Context, conn *sql.Conn) error {
	var busy bool
	var frames, copied int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &copied); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if busy {
		return errors.New("checkpoint: another process has the copy open")
	}
	return nil
}
