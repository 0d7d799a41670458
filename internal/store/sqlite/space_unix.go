//go:build linux || darwin

package sqlite

import "syscall"

// freeBytes returns how much can be written in a folder.
func freeBytes(dir string) (free int64, ok bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, false
	}
	return int64(fs.Bavail) * int64(fs.Bsize), true
}
