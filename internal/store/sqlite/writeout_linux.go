package sqlite

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What writeOut has under way at one time: writeOutChanged slices that were
// changed, fewer if handing them over takes writeOutTime. It is the time that
// pages all over the file take, the number those that follow one another.
const (
	writeOutSlice   = 2 << 20 // bytes
	writeOutChanged = 2
	writeOutTime    = time.Millisecond
	// writeOutLittle is more than it takes to find that a slice was not changed.
	writeOutLittle = 10 * time.Microsecond
)

// writeOut writes to the disk what was changed in a file, a little at a time,
// and rests between for as long as that took, but not longer than rest in all: so
// the sync of another file, such as that of the log in a commit, waits for a little
// of it in place of all. It promises nothing, and a sync follows. What went wrong on
// the disk may be reported here and not again, so an error is as serious as one of
// that sync.
func writeOut(ctx context.Context, f *os.File, rest time.Duration) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w := writingOut{f: int(f.Fd()), began: time.Now()}
	for w.at < info.Size() && ctx.Err() == nil {
		took, err := w.slice()
		switch {
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE):
			return nil // not on this system or file system, or not in this sandbox
		case err != nil:
			return os.NewSyscallError("sync_file_range", err)
		case took < writeOutTime || rest <= 0:
			continue
		}
		took = min(took, rest)
		rest -= took
		select {
		case <-time.After(took):
		case <-ctx.Done():
		}
		w.began = time.Now()
	}
	return nil
}

// writingOut is how far writeOut has come.
type writingOut struct {
	f        int
	from, at int64 // what is under way, in bytes
	changed  int   // slices of that
	handing  time.Duration
	began    time.Time // after the last rest
}

// slice hands the next slice over to the disk. If enough is under way it waits for
// that and returns how long all took since the last rest; else it returns 0.
func (w *writingOut) slice() (took time.Duration, err error) {
	began := time.Now()
	if err := w.syncRange(w.at, writeOutSlice, unix.SYNC_FILE_RANGE_WRITE); err != nil {
		return 0, err
	}
	w.at += writeOutSlice
	if took := time.Since(began); took > writeOutLittle {
		w.changed++
		w.handing += took
	}
	if w.changed < writeOutChanged && w.handing < writeOutTime {
		return 0, nil
	}
	err = w.syncRange(w.from, w.at-w.from, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
	w.from, w.changed, w.handing = w.at, 0, 0
	return time.Since(w.began), err
}

func (w *writingOut) syncRange(from, n int64, flags int) error {
	for {
		if err := unix.SyncFileRange(w.f, from, n, flags); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
