package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lyftr/internal/message"
)

// A checkpoint copies the log into the database. Copying all of it takes some
// hundred milliseconds, so the checkpointer does that beside the writer, again
// for what came meanwhile, until little is left. That rest is copied by the writer
// between two commits: only when all of the log is copied does SQLite begin it
// anew.
const (
	// checkpointFrames is the length of the log, in pages, at which it is
	// copied (64 MiB with pages of 4 KiB): long enough that a page which changes
	// often is copied once for many commits, short enough that a start after a
	// crash reads it quickly.
	checkpointFrames = 16_000
	// While the copies are written to the disk it is left to commits now and then,
	// for writeOutRest in all, if the log is not longer than unhurriedFrames.
	writeOutRest    = time.Second
	unhurriedFrames = checkpointFrames * 5 / 4
	// checkpointRest is how many pages the writer copies itself.
	checkpointRest = 256
	// checkpointPasses bounds how often the checkpointer begins again. Each pass
	// takes a fraction of the time of the one before.
	checkpointPasses = 6
	// checkpointEvery is after how many commits the log's length is looked at.
	checkpointEvery = 16
	// checkpointRetry is how long the checkpointer waits for a reader that holds
	// it up; most read for some milliseconds.
	checkpointRetry = 10 * time.Millisecond

	// crowdedFrames is the length of the log at which readers are held back for a
	// moment, so that it can be emptied: while they come one upon the other it
	// would grow for ever. They are waited for as long as crowdedWait, twice as long
	// after each time in vain, at most as long as any of them may take, and it is
	// tried again after crowdedRetry.
	crowdedFrames = 2 * checkpointFrames
	crowdedWait   = time.Second
	crowdedRetry  = 5 * time.Second
	// strayReaderMS is how long the writer then waits for a reader that is not held
	// back, such as the indexer, in milliseconds.
	strayReaderMS = 50
)

const (
	logLengthSQL  = "PRAGMA wal_checkpoint(NOOP)"
	checkpointSQL = "PRAGMA wal_checkpoint(PASSIVE)"
)

// checkpointer copies the log on a goroutine and a connection of its own.
type checkpointer struct {
	store   *Store
	db      *sql.DB
	asked   chan struct{}
	stop    context.CancelFunc
	done    sync.WaitGroup
	copying sync.Mutex  // held by whoever copies, the writer too
	little  atomic.Bool // the writer is to copy the rest
	wipe    atomic.Bool // readers are in the way of emptying the log of what was removed
	emptied time.Time   // when it was last tried to empty the log without readers
	inVain  int         // how often readers took too long, one time after the other
}

func startCheckpointer(ctx context.Context, s *Store) (*checkpointer, error) {
	db := openDB(writerDSN(s.path), nil)
	db.SetMaxOpenConns(1)
	if err := checkWriter(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	c := &checkpointer{store: s, db: db, asked: make(chan struct{}, 1)}
	ctx, c.stop = context.WithCancel(context.Background())
	c.done.Go(func() {
		for {
			select {
			case <-c.asked:
				_, err := c.copyMost(ctx)
				if err == nil {
					err = c.makeRoom(ctx)
				}
				if err != nil {
					s.tidyFailed(err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return c, nil
}

// close waits for the goroutine to end.
func (c *checkpointer) close() error {
	c.stop()
	c.done.Wait()
	return c.db.Close()
}

// copyMost copies the log until checkpointRest is left, or a reader holds it up,
// and reports whether one did.
// It also syncs the database, which SQLite itself does only when it has copied all
// of the log: so the writer, who does that, has little to wait for.
func (c *checkpointer) copyMost(ctx context.Context) (held bool, err error) {
	c.copying.Lock()
	defer c.copying.Unlock()
	for range checkpointPasses {
		if ctx.Err() != nil || c.store.fatalError() != nil {
			return held, nil
		}
		// What has begun is not broken off.
		before, err := c.ask(context.WithoutCancel(ctx), logLengthSQL)
		if err != nil {
			return held, err
		}
		if before.left() <= checkpointRest {
			held = false
			break
		}
		after, err := c.ask(context.WithoutCancel(ctx), checkpointSQL)
		if err != nil {
			return held, err
		}
		if held = after.copied <= before.copied; !held {
			if err := c.sync(ctx, before.length); err != nil {
				return held, err
			}
			continue
		}
		select {
		case <-time.After(checkpointRetry):
		case <-ctx.Done():
		}
	}
	// The log may also have grown as fast as it was copied: then the writer waits
	// once. Where a reader holds it up, the writer asks again.
	c.little.Store(!held)
	return held, nil
}

// sync has the disk keep what was copied of a log of so many pages.
func (c *checkpointer) sync(ctx context.Context, length int64) error {
	rest := writeOutRest
	if length > unhurriedFrames {
		rest = 0
	}
	if err := errors.Join(writeOut(ctx, c.store.disk, rest), c.store.disk.Sync()); err != nil {
		return fatalFault{fmt.Errorf("sync the database: %w", err)}
	}
	return nil
}

// makeRoom empties the log while readers are held back, if they have kept it from
// being begun anew for long.
func (c *checkpointer) makeRoom(ctx context.Context) error {
	if time.Since(c.emptied) < crowdedRetry || ctx.Err() != nil || c.store.fatalError() != nil {
		return nil
	}
	l, err := c.ask(context.WithoutCancel(ctx), logLengthSQL)
	if err != nil || l.length < crowdedFrames && !c.wipe.Load() {
		return err
	}
	defer func() { c.emptied = time.Now() }()
	wait := min(crowdedWait<<min(c.inVain, 10), c.store.timeout)
	defer c.store.readers.release()
	if !c.store.readers.hold(ctx, wait) {
		c.inVain++
		return nil
	}
	c.inVain = 0
	// So that saves need not wait for it. If it is not possible, somebody reads who
	// is not held back, such as a backup.
	if held, err := c.copyMost(ctx); err != nil || held {
		return err
	}
	c.wipe.Store(false)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	notRun := c.store.queue.Do(ctx, func() { err = c.store.writer.emptyLog(context.WithoutCancel(ctx), strayReaderMS) })
	if notRun != nil {
		return nil // the store closes, or the writer has too much to do
	}
	return err
}

// logState is what SQLite says of the log: its length, and how much of it is
// copied, in pages.
type logState struct{ length, copied int64 }

func (l logState) left() int64 { return l.length - l.copied }

func (c *checkpointer) ask(ctx context.Context, query string) (l logState, err error) {
	var busy bool
	err = c.db.QueryRowContext(ctx, query).Scan(&busy, &l.length, &l.copied)
	return l, err
}

// logState asks on the writer's connection.
func (w *writer) logState(ctx context.Context, st statement) (logState, error) {
	var row [3]driver.Value // busy, pages in the log, pages copied
	if err := w.queryOne(ctx, st, nil, row[:]); err != nil {
		return logState{}, err
	}
	length, _ := row[1].(int64)
	copied, _ := row[2].(int64)
	return logState{length, copied}, nil
}

// committed looks after the log, now and then.
func (w *writer) committed(ctx context.Context) {
	w.pending = true
	w.commits++
	if w.commits >= checkpointEvery || w.store.checkpointer.little.Load() {
		w.commits = 0
		w.tidy(ctx, checkpointFrames)
	}
}

// Idle implements groupcommit.Committer.
func (w *writer) Idle(ctx context.Context) {
	if w.store.fatalError() == nil {
		w.tidy(ctx, 1)
	}
}

// tidy sees to it that the log is copied if it is at least so many pages long, or
// still shows what was removed. Readers may hold the copying up; what is left is
// done the next time.
func (w *writer) tidy(ctx context.Context, frames int64) {
	wipe := w.wipe && time.Since(w.wiped) >= wipeEvery
	if !wipe && !w.pending {
		return
	}
	c := w.store.checkpointer
	if !c.copying.TryLock() {
		return // it is being copied
	}
	defer c.copying.Unlock()
	little := c.little.Swap(false)
	l, err := w.logState(ctx, w.logLength)
	switch {
	case err != nil:
	case l.left() > checkpointRest && !little && (wipe || l.length >= frames):
		poke(c.asked)
	case wipe:
		if err = w.emptyLog(ctx, 0); err == nil && w.wipe {
			c.wipe.Store(true)
			poke(c.asked)
		}
	case little || l.left() >= frames:
		if l, err = w.logState(ctx, w.checkpoint); err == nil {
			w.pending = l.left() > 0
		}
	}
	if err != nil {
		w.store.tidyFailed(err)
	}
}

// tidyFailed notes a failed checkpoint. Nothing is lost by it: what is
// committed stays in the log.
func (s *Store) tidyFailed(err error) {
	err = fmt.Errorf("%w: checkpoint: %w", message.ErrUnavailable, err)
	if classify(err) == classFatal {
		s.fail(err)
	}
	s.logFault(err)
}
