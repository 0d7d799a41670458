package sqlite

import (
	"math"
	"syscall"
)

// freeBytes returns how much can be written in a folder.
func freeBytes(dir string) (free int64, ok bool) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, false
	}
	if fs.Bavail > math.MaxInt64/math.MaxUint32 {
		return math.MaxInt64, true // some file systems know no end
	}
	return int64(fs.Bavail) * fs.Bsize, true
}
