//go:build !linux

package sqlite

// freeBytes returns how much can be written in a folder, which is not known here.
func freeBytes(string) (free int64, ok bool) { return 0, false }
