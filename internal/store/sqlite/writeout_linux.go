package sqlite

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// writeOutSlice is how many bytes of a file are written to the disk at one time.
const writeOutSlice = 2 << 20

// writeOut writes to the disk what was changed in a file, slice by slice, and
// rests after each for as long as that took: the sync of another file, such as
// that of the log in a commit, waits for one slice in place of all. It promises
// nothing, and a sync follows. What went wrong on the disk may be reported here
// and not again, so an error is as serious as one of that sync.
func writeOut(ctx context.Context, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const andWait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	for at := int64(0); at < info.Size() && ctx.Err() == nil; at += writeOutSlice {
		began := time.Now()
		err := unix.SyncFileRange(int(f.Fd()), at, writeOutSlice, andWait)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE):
			return nil // not on this system, file system or in this sandbox
		case err != nil:
			return os.NewSyscallError("sync_file_range", err)
		}
		if took := time.Since(began); took > writeOutLittle {
			select {
			case <-time.After(took):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// writeOutLittle is how long a slice takes at most that had nothing to write.
const writeOutLittle = 100 * time.Microsecond
