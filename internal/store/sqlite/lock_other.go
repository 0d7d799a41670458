//go:build !unix

package sqlite

import "os"

// lockFile opens the lock file without locking it: where there is no flock,
// SQLite's own locks are what keeps two writers apart.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
