package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// channel is that of LISTEN and NOTIFY. The payload says which process sent it.
const channel = "lyftr"

// Bounds of the watcher.
const (
	// pollEvery is how often the feed is looked at while somebody waits, for the
	// case that a notification did not arrive.
	pollEvery = time.Second
	// lookPause is the least time between two looks, and between two
	// notifications: what is stored meanwhile shares them.
	lookPause = 5 * time.Millisecond
	// heldPause is the time between two looks while something is committed and
	// not settled.
	heldPause = 20 * time.Millisecond
	// tidyEvery is how often the index behind searches is tidied while messages
	// arrive.
	tidyEvery = 5 * time.Second
	// tidyTimeout bounds it: a server that hangs may have been replaced.
	tidyTimeout = 5 * time.Minute
	// listenPause is the longest time between two attempts to listen.
	listenPause = 2 * time.Second
)

// watcher tells those who wait for the feed, in this process and in the others,
// that something was stored.
//
// A notification is sent in a transaction of its own, behind the commit: NOTIFY
// takes a lock of the whole server until its transaction has ended, so that
// commits would wait for each other.
type watcher struct {
	store  *Store
	id     string
	poked  chan struct{} // something may be new
	stored chan struct{} // this process stored something
	untidy chan struct{} // likewise, for the index behind searches
	// unsummed is likewise, for the sums.
	unsummed chan struct{}
	end      context.CancelFunc
	ended    sync.WaitGroup
}

func startWatcher(s *Store) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{
		store: s, id: rand.Text(), end: cancel,
		poked: make(chan struct{}, 1), stored: make(chan struct{}, 1), untidy: make(chan struct{}, 1),
		unsummed: make(chan struct{}, 1),
	}
	w.ended.Go(func() { w.listen(ctx) })
	w.ended.Go(func() { w.look(ctx) })
	w.ended.Go(func() { w.notify(ctx) })
	w.ended.Go(func() { w.tidy(ctx) })
	w.ended.Go(func() { w.sum(ctx) })
	return w
}

func (w *watcher) close() {
	w.end()
	w.ended.Wait()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is known already
	}
}

// committed is called after a commit that stored something.
func (w *watcher) committed() {
	poke(w.poked)
	poke(w.stored)
	poke(w.untidy)
	poke(w.unsummed)
}

// held is called by a reader who could not be shown what is committed.
func (w *watcher) held() {
	if w != nil {
		poke(w.poked)
	}
}

// sleep returns false if the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// look wakes those who wait when there is a newer message that is settled.
func (w *watcher) look(ctx context.Context) {
	var woken position
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-w.poked:
		case <-poll.C:
		case <-ctx.Done():
			return
		}
		if !w.store.changed.Waited() {
			continue
		}
		newest, held, err := w.newest(ctx)
		if err == nil && woken != newest { // before it after a failover that lost it
			woken = newest
			w.store.changed.Wake()
		}
		pause := lookPause
		if held {
			pause = heldPause
			poke(w.poked)
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

func (w *watcher) newest(ctx context.Context) (p position, held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.store.timeout)
	defer cancel()
	err = w.store.readers.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		r := &feedReader{store: w.store, conn: conn}
		horizon, err := r.horizon(ctx)
		if err == nil {
			p, held, err = r.newest(ctx, horizon)
		}
		return err
	})
	return p, held, err
}

// notify tells the other processes.
func (w *watcher) notify(ctx context.Context) {
	for {
		select {
		case <-w.stored:
		case <-ctx.Done():
			return
		}
		// If it fails they find out by looking themselves.
		within, cancel := context.WithTimeout(ctx, w.store.timeout)
		_, _ = w.store.readers.Exec(within, "SELECT pg_notify($1, $2)", channel, w.id)
		cancel()
		if !sleep(ctx, lookPause) {
			return
		}
	}
}

// tidy sorts what was stored into the index behind searches. The index gathers
// what is new in a list, which costs a save little and a search much when it
// gets long. Of several processes one does it.
func (w *watcher) tidy(ctx context.Context) {
	for sleep(ctx, tidyEvery) {
		select {
		case <-w.untidy:
		default:
			continue
		}
		// If it fails, autovacuum does it later.
		within, cancel := context.WithTimeout(ctx, tidyTimeout)
		err := pgx.BeginFunc(within, w.store.readers, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			// It may take its time, and a crash may undo it.
			b.Queue("SET LOCAL statement_timeout = 0")
			b.Queue("SET LOCAL synchronous_commit = off")
			b.Queue(`SELECT gin_clean_pending_list(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid AND relkind = 'i'
				WHERE indexrelid = to_regclass('messages_search') AND indisvalid AND pg_try_advisory_xact_lock($1)`, indexLock)
			return tx.SendBatch(within, b).Close()
		})
		cancel()
		if err != nil && ctx.Err() == nil {
			w.store.log.Debug("the index behind searches was not tidied", "error", err.Error())
		}
	}
}

// listen hears of what other processes stored, and connects again when the
// connection breaks.
func (w *watcher) listen(ctx context.Context) {
	pause := lookPause
	for {
		err := w.listenOnce(ctx, func() { pause = lookPause })
		if ctx.Err() != nil {
			return
		}
		w.store.log.Debug("not listening for new messages", "error", err.Error())
		if !sleep(ctx, jitter(pause)) {
			return
		}
		pause = min(2*pause, listenPause)
	}
}

// listenOnce listens until the connection breaks.
func (w *watcher) listenOnce(ctx context.Context, heard func()) error {
	conn, err := w.store.target.connect(ctx, func(c *pgx.ConnConfig) {
		c.RuntimeParams["application_name"] += " listening"
		c.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
			if n.Payload != w.id {
				poke(w.poked)
			}
		}
	})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }() // nothing is left to be said on it
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	heard()
	poke(w.poked) // what was stored meanwhile
	for {
		// A connection that is dead in silence is noticed by asking.
		within, cancel := context.WithTimeout(ctx, 10*pollEvery)
		err := conn.PgConn().WaitForNotification(within)
		cancel()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded) && !conn.IsClosed():
			within, cancel := context.WithTimeout(ctx, connectTimeout)
			err = conn.Ping(within)
			cancel()
			if err != nil {
				return err
			}
		default:
			return err
		}
	}
}
