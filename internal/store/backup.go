package store

import (
	"context"
	"errors"

	"lyftr/internal/store/sqlite"
)

// BackupOptions tune a backup. The zero value is fine.
type BackupOptions = sqlite.BackupOptions

// BackupSummary says what a backup holds.
type BackupSummary = sqlite.BackupSummary

// ErrNoBackup is the error of Backup for a database that is not a file.
var ErrNoBackup = errors.New("a PostgreSQL server has its own backups: use pg_dump for a copy of the database, or pg_basebackup with an archive of the log for one of any moment")

// Backup copies the database that the URL names to the file destination while
// it may be in use, checks the copy, and says what it holds.
func Backup(ctx context.Context, databaseURL, destination string, o BackupOptions) (BackupSummary, error) {
	t, err := ParseURL(databaseURL)
	if err != nil {
		return BackupSummary{}, err
	}
	if t.Server != "" {
		return BackupSummary{}, ErrNoBackup
	}
	return sqlite.Backup(ctx, t.Path, destination, o)
}

// CheckBackup checks a file that Backup made, and says what it holds.
func CheckBackup(ctx context.Context, path string) (BackupSummary, error) {
	return sqlite.CheckBackup(ctx, path)
}
