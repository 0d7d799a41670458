package store

import (
	"context"

	"lyftr/internal/store/sqlite"
)

// BackupOptions tune a backup. The zero value is fine.
type BackupOptions = sqlite.BackupOptions

// BackupSummary says what a backup holds.
type BackupSummary = sqlite.BackupSummary

// Backup copies the database that the URL names to the file destination while
// it may be in use, checks the copy, and says what it holds.
func Backup(ctx context.Context, databaseURL, destination string, o BackupOptions) (BackupSummary, error) {
	t, err := ParseURL(databaseURL)
	if err != nil {
		return BackupSummary{}, err
	}
	return sqlite.Backup(ctx, t.Path, destination, o)
}

// CheckBackup checks a file that Backup made, and says what it holds.
func CheckBackup(ctx context.Context, path string) (BackupSummary, error) {
	return sqlite.CheckBackup(ctx, path)
}
