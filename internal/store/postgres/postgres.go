// Package postgres is the message.Store on a PostgreSQL server, which any number
// of processes share: one connection that writes, with group commit, and a pool
// of connections that read.
//
// A process holds no state: uniqueness, the order of the feed and every count
// are the database's. A commit that returned is on disk, and on the synchronous
// standbys if the server has any.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
)

// Options tune a Store. The zero value is fine.
type Options struct {
	// Logger is told of migrations, settings and faults. Default: nothing is said.
	Logger *slog.Logger
	// ReadTimeout bounds every read. Default 5 s.
	ReadTimeout time.Duration
	// ReadOnly opens the database for reading alone: nothing is migrated, and
	// whoever may only SELECT will do.
	ReadOnly bool
	// QueueSize is how many saves may wait for the writer. Default 4096.
	QueueSize int
	// OnCommit, if set, is told of every commit: how long it took and how many
	// messages it held.
	OnCommit func(took time.Duration, messages int)
}

const defaultReadTimeout = 5 * time.Second

// Store is a message.Store on a PostgreSQL server.
type Store struct {
	log       *slog.Logger
	timeout   time.Duration
	readOnly  bool
	target    *target
	readers   *pgxpool.Pool
	cursorKey []byte
	txOffset  int64 // see useOffset
	// fenced is the number of a transaction: up to it the synchronous standbys
	// have everything. See fence.
	fenced atomic.Int64

	queue   *groupcommit.Queue // nil if readOnly, as the next two
	writer  *writer
	watcher *watcher

	changed groupcommit.Notice
	status  status
	health  health
	never   chan struct{} // never closed
}

// Open opens the database that the URL names, brings its schema up to date, and
// waits for a server that is just starting or failing over. The error holds
// nothing of the URL but the host.
func Open(ctx context.Context, url string, o Options) (_ *Store, err error) {
	s := &Store{log: o.Logger, timeout: o.ReadTimeout, readOnly: o.ReadOnly, never: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.timeout <= 0 {
		s.timeout = defaultReadTimeout
	}
	if s.target, err = parseTarget(url, o.ReadOnly, s.timeout); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
			err = fmt.Errorf("open postgresql database at %s: %w", s.target.host(), err)
		}
	}()
	conn, err := s.target.open(ctx, s.log)
	if err != nil {
		return nil, err
	}
	if err = errors.Join(s.prepare(ctx, conn), conn.Close(ctx)); err != nil {
		return nil, err
	}
	if err := s.openReaders(ctx); err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return s, s.readOffset(ctx)
	}
	if err := s.useOffset(ctx); err != nil {
		return nil, err
	}
	s.writer = newWriter(s)
	if err := s.writer.connect(ctx); err != nil {
		return nil, err
	}
	s.watcher = startWatcher(s)
	s.queue = groupcommit.New(s.writer, groupcommit.Options{MaxWaiting: o.QueueSize, OnCommit: o.OnCommit})
	return s, nil
}

func (s *Store) openReaders(ctx context.Context) (err error) {
	if s.readers, err = s.target.openPool(ctx); err != nil {
		return err
	}
	// Served by the primary key.
	err = s.readers.QueryRow(ctx, "SELECT value FROM meta WHERE key = 'cursor_key'").Scan(&s.cursorKey)
	if err != nil {
		return fmt.Errorf("read cursor key: %w", err)
	}
	return nil
}

// readOffset reads the number that useOffset reads, and leaves it as it is.
func (s *Store) readOffset(ctx context.Context) error {
	// Served by the primary key.
	if err := s.readers.QueryRow(ctx, "SELECT value FROM counters WHERE name = 'tx_offset'").Scan(&s.txOffset); err != nil {
		return fmt.Errorf("read transaction offset: %w", err)
	}
	return nil
}

// useOffset reads what has to be added to the server's transaction numbers, and
// raises it if the messages have higher ones: they were restored from a dump of
// another server, whose numbers were ahead. Without it new messages would stand
// in the feed before old ones, where no reader looks any more.
func (s *Store) useOffset(ctx context.Context) error {
	tx, err := s.readers.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing is left to roll back after the commit
	var newest, next int64
	// The row is locked so that one process after the other looks. The newest is
	// served by the primary key, and compared with the first number that was not
	// given out when it was looked for: others may be saving.
	err = tx.QueryRow(ctx, "SELECT value FROM counters WHERE name = 'tx_offset' FOR UPDATE").Scan(&s.txOffset)
	if err == nil {
		err = tx.QueryRow(ctx, `SELECT greatest((SELECT tx FROM messages ORDER BY tx DESC LIMIT 1), (`+summedSQL+`) - 1),
			pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&newest, &next)
	}
	if err != nil {
		return fmt.Errorf("read transaction offset: %w", err)
	}
	if newest < next+s.txOffset {
		return nil
	}
	offset := newest - next + 1
	// Served by the primary key.
	if _, err := tx.Exec(ctx, "UPDATE counters SET value = $1 WHERE name = 'tx_offset'", offset); err != nil {
		return fmt.Errorf("raise transaction offset: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("raise transaction offset: %w", err)
	}
	s.log.Info("the database was restored on another server: its feed goes on behind what was restored", "transaction_offset", offset)
	s.txOffset = offset
	return nil
}

// Save implements message.Store.
func (s *Store) Save(ctx context.Context, messages []message.Message, statuses []message.Status) ([]message.Outcome, error) {
	if s.readOnly {
		return nil, errReadOnly
	}
	outcomes, err := s.queue.Save(ctx, messages, statuses)
	if err != nil {
		return nil, fmt.Errorf("save messages: %w", err)
	}
	return outcomes, nil
}

// probeAfter is how long after a commit Ready takes it as proof that the
// database can be written.
const probeAfter = time.Second

// Ready implements message.Store. Unless a commit succeeded just now it commits
// a small write, which waits for the standbys as every other.
func (s *Store) Ready(ctx context.Context) error {
	if s.readOnly {
		return errReadOnly
	}
	if s.health.workedWithin(probeAfter) {
		return nil
	}
	if _, err := s.queue.Save(ctx, nil, nil); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// Failed implements message.Store. No fault of the server's is one after which
// a new process would know more than this one.
func (s *Store) Failed() <-chan struct{} { return s.never }

// Close implements message.Store.
func (s *Store) Close() error {
	if s.queue != nil {
		s.queue.Close()
	}
	s.release()
	return nil
}

// closeTimeout is how long reads may go on when the store is closed.
const closeTimeout = 2 * time.Second

// release ends what runs and closes what is open. A server that does not answer
// is not waited for: nothing is left to be said to it.
func (s *Store) release() {
	if s.watcher != nil {
		s.watcher.close()
	}
	if s.writer != nil {
		s.writer.disconnect()
	}
	if s.readers != nil {
		cut := time.AfterFunc(closeTimeout, s.target.sockets.cut)
		s.readers.Close()
		cut.Stop()
	}
	s.target.sockets.cut()
}

// statusAge is how old the figures of Status may be, unless this store itself
// has changed them; statusTimeout is how long they may take.
const (
	statusAge     = time.Second
	statusTimeout = time.Second
)

// status keeps the figures of Status.
type status struct {
	changes atomic.Int64 // by this store

	mu      sync.Mutex
	figures message.StoreStatus
	at      time.Time
	seen    int64 // changes that figures has
}

// Status implements message.Store. While the server does not answer it returns
// the last figures.
func (s *Store) Status() message.StoreStatus {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	if changes := s.status.changes.Load(); changes != s.status.seen || time.Since(s.status.at) > statusAge {
		s.readStatus()
		s.status.seen, s.status.at = changes, time.Now()
	}
	st := s.status.figures
	st.Identity = message.DatabaseIdentity(s.cursorKey)
	if s.queue != nil {
		st.QueueDepth, st.QueueCapacity = s.queue.Depth(), s.queue.Capacity()
	}
	return st
}

func (s *Store) readStatus() {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	st := &s.status.figures
	// A scan of a few rows. The log is the server's, and no part of the database.
	if err := s.readers.QueryRow(ctx, `SELECT sum(messages)::bigint, pg_database_size(current_database()) FROM counts`).
		Scan(&st.Messages, &st.DatabaseBytes); err != nil {
		s.health.failed(s.log, fmt.Errorf("read status: %w", err))
	}
}

// health is what the last commits say about the database.
type health struct {
	mu       sync.Mutex
	lastOK   time.Time // of the last commit
	lastErr  error     // of the last commit, nil if it succeeded
	loggedAt time.Time
	unlogged int
}

func (h *health) workedWithin(d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lastErr == nil && time.Since(h.lastOK) < d
}

// down says whether the last commit failed.
func (h *health) down() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lastErr != nil
}

func (h *health) works(log *slog.Logger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lastErr != nil {
		log.Info("store works again")
	}
	h.lastOK, h.lastErr = time.Now(), nil
}

// commitFailed notes why a commit failed and returns the error for those who
// wait for it.
func (h *health) commitFailed(log *slog.Logger, err error) error {
	if !errors.Is(err, message.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", message.ErrUnavailable, err)
	}
	h.mu.Lock()
	h.lastErr = err
	h.mu.Unlock()
	h.failed(log, err)
	return err
}

// logEvery bounds how often a lasting fault is logged.
const logEvery = time.Second

func (h *health) failed(log *slog.Logger, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.loggedAt) < logEvery {
		h.unlogged++
		return
	}
	log.Error("store failed", "error", err.Error(), "not_logged_before", h.unlogged)
	h.loggedAt, h.unlogged = time.Now(), 0
}

// jitter returns a time between half of d and d, so that replicas that failed
// together do not try again together.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1) //nolint:gosec // it has to be different, not secret
}
