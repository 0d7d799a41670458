package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
	"lyftr/internal/store/segment"
)

// writer is the connection that writes. It is used by the queue's goroutine
// only, and speaks to the driver without database/sql in between, whose locks
// and conversions would be work for every row.
type writer struct {
	store *Store
	conn  *sql.Conn

	begin, commit, rollback  statement
	savepoint, undo, release statement
	insert, find             statement
	probe                    statement
	logLength, checkpoint    statement
	removeRow, keepRemoved   statement
	findRemoved              statement
	addStatus, dropStatuses  statement

	args     []driver.NamedValue
	fresh    []*message.Message // those that the transaction in progress stores
	lastID   int64              // highest id given out, of the transaction in progress too
	statuses bool               // there may be statuses
	commits  int                // since the log's length was looked at
	pending  bool

	identities *message.Identities
	wipe       bool      // the log still shows what was removed
	wiped      time.Time // when it was last tried to empty it
}

// statement is a prepared statement of the driver.
type statement struct {
	driver.StmtExecContext
	driver.StmtQueryContext
	close func() error
}

const (
	// The index messages_identity finds the conflict.
	insertSQL = `INSERT INTO messages
		(id, message_id, from_msisdn, to_msisdn, ts, text, created_at, source, ts_unix, ts_nanos, raw)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (message_id, source) DO NOTHING`
	// Served by messages_identity.
	findSQL = `SELECT from_msisdn, to_msisdn, ts, text FROM messages WHERE message_id = ? AND source = ?`
)

func newWriter(ctx context.Context, s *Store) (*writer, error) {
	conn, err := s.writeDB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{store: s, conn: conn, args: make([]driver.NamedValue, 11), lastID: s.lastID.Load(), identities: message.NewIdentities(s.cursorKey)}
	for i := range w.args {
		w.args[i].Ordinal = i + 1
	}
	// Served by the primary key.
	if err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM statuses)").Scan(&w.statuses); err != nil {
		return nil, errors.Join(fmt.Errorf("look for statuses: %w", err), conn.Close())
	}
	err = conn.Raw(func(c any) error {
		var errs []error
		prepare := func(to *statement, query string) {
			st, err := c.(driver.Conn).Prepare(query)
			if err != nil {
				errs = append(errs, fmt.Errorf("prepare %s: %w", query, err))
				return
			}
			*to = statement{st.(driver.StmtExecContext), st.(driver.StmtQueryContext), st.Close}
		}
		prepare(&w.begin, "BEGIN IMMEDIATE")
		prepare(&w.commit, "COMMIT")
		prepare(&w.rollback, "ROLLBACK")
		prepare(&w.savepoint, "SAVEPOINT call")
		prepare(&w.undo, "ROLLBACK TO call")
		prepare(&w.release, "RELEASE call")
		prepare(&w.insert, insertSQL)
		prepare(&w.find, findSQL)
		prepare(&w.probe, "UPDATE meta SET value = randomblob(8) WHERE key = 'probe'")
		prepare(&w.logLength, logLengthSQL)
		prepare(&w.checkpoint, checkpointSQL)
		prepare(&w.removeRow, removeSQL)
		prepare(&w.keepRemoved, keepRemovedSQL)
		prepare(&w.findRemoved, isRemovedSQL)
		prepare(&w.addStatus, insertStatusSQL)
		prepare(&w.dropStatuses, removeStatusesSQL)
		return errors.Join(errs...)
	})
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *writer) close() error {
	err := w.conn.Raw(func(any) error {
		var errs []error
		for _, st := range []statement{
			w.begin, w.commit, w.rollback, w.savepoint, w.undo, w.release,
			w.insert, w.find, w.probe, w.logLength, w.checkpoint,
			w.removeRow, w.keepRemoved, w.findRemoved, w.addStatus, w.dropStatuses,
		} {
			if st.close != nil {
				errs = append(errs, st.close())
			}
		}
		return errors.Join(errs...)
	})
	return errors.Join(err, w.conn.Close())
}

func run(ctx context.Context, st statement) error {
	_, err := st.ExecContext(ctx, nil)
	return err
}

// errRow marks the failure of one call's own messages or statuses.
type errRow struct{ err error }

func (e errRow) Error() string { return e.err.Error() }
func (e errRow) Unwrap() error { return e.err }

// fatalFault marks a fault, not of SQLite's making, after which the store may
// not go on.
type fatalFault struct{ err error }

func (e fatalFault) Error() string { return e.err.Error() }
func (e fatalFault) Unwrap() error { return e.err }

// Commit implements groupcommit.Committer. A call that holds nothing is a probe:
// it commits a small write, to find out whether that is possible.
func (w *writer) Commit(ctx context.Context, calls []*groupcommit.Call) error {
	if err := w.store.fatalError(); err != nil {
		return err
	}
	w.store.committing.Store(true)
	defer w.store.committing.Store(false)
	created, wrote, err := w.try(ctx, calls, false)
	if _, ok := errors.AsType[errRow](err); ok {
		// Some call brought what cannot be stored. Once more, with every call
		// behind a savepoint of its own, so that the others do not suffer.
		created, wrote, err = w.try(ctx, calls, true)
	}
	if err == nil {
		// What was committed to a file that has no name any more is lost.
		if gone := w.store.checkFiles(); gone != nil {
			err = fatalFault{gone}
		}
	}
	if err == nil && wrote {
		if gaveUp := w.store.mark.set(w.lastID); gaveUp != nil {
			err = fatalFault{gaveUp}
		}
	}
	if err != nil {
		return w.store.commitFailed(err)
	}
	if !wrote {
		return nil // all were duplicates, which proves nothing of the disk
	}
	w.store.recent.add(w.lastID-int64(created)+1, w.fresh, w.store.deletions.Load())
	clear(w.fresh)
	w.store.commitSucceeded(created)
	w.committed(ctx)
	return nil
}

// try runs one transaction and returns how many messages are new, and whether
// it wrote anything. It returns errRow if apart is false and what a call holds
// is at fault; with apart such a call gets the error instead.
func (w *writer) try(ctx context.Context, calls []*groupcommit.Call, apart bool) (created int, wrote bool, err error) {
	if err := run(ctx, w.begin); err != nil {
		return 0, false, fmt.Errorf("begin: %w", err)
	}
	before := w.lastID
	w.fresh = w.fresh[:0]
	defer func() {
		if err != nil {
			w.lastID = before
			// SQLite has rolled back by itself after some errors; then this
			// fails, and the first error is the one that counts.
			_ = run(ctx, w.rollback)
		}
	}()
	now := time.Now().UTC().Format(createdAtLayout)
	probe := false
	for _, c := range calls {
		probe = probe || len(c.Messages)+len(c.Statuses) == 0
		c.Outcomes, c.Err = c.Outcomes[:0], nil
		messages, statuses, err := w.insertCall(ctx, c, now, apart)
		if err != nil {
			return 0, false, err
		}
		created += messages
		wrote = wrote || messages+statuses > 0
	}
	if probe {
		if err := run(ctx, w.probe); err != nil {
			return 0, false, fmt.Errorf("probe: %w", err)
		}
	}
	if err := run(ctx, w.commit); err != nil {
		return 0, false, fmt.Errorf("commit: %w", err)
	}
	return created, probe || wrote, nil
}

// insertCall stores what a call holds and returns how many messages and statuses
// are new.
func (w *writer) insertCall(ctx context.Context, c *groupcommit.Call, now string, apart bool) (messages, statuses int, err error) {
	if apart {
		if err := run(ctx, w.savepoint); err != nil {
			return 0, 0, fmt.Errorf("savepoint: %w", err)
		}
	}
	before, fresh := w.lastID, len(w.fresh)
	messages, statuses, err = w.insertRows(ctx, c, now)
	switch {
	case err == nil:
	case classify(err) != classRow:
		return 0, 0, err
	case !apart:
		return 0, 0, errRow{err}
	default:
		if err := errors.Join(run(ctx, w.undo), run(ctx, w.release)); err != nil {
			return 0, 0, fmt.Errorf("roll back to savepoint: %w", err)
		}
		c.Outcomes, c.Err, w.lastID, w.fresh = nil, err, before, w.fresh[:fresh]
		return 0, 0, nil
	}
	if apart {
		if err := run(ctx, w.release); err != nil {
			return 0, 0, fmt.Errorf("release savepoint: %w", err)
		}
	}
	return messages, statuses, nil
}

// insertRows appends to the outcomes of the call.
func (w *writer) insertRows(ctx context.Context, c *groupcommit.Call, now string) (messages, statuses int, err error) {
	for i := range c.Messages {
		o, err := w.insertOne(ctx, &c.Messages[i], now)
		if err != nil {
			return 0, 0, err
		}
		c.Outcomes = append(c.Outcomes, o)
		if !o.Duplicate {
			w.fresh = append(w.fresh, &c.Messages[i])
			messages++
		}
	}
	for i := range c.Statuses {
		o, err := w.insertStatus(ctx, &c.Statuses[i], now)
		if err != nil {
			return 0, 0, err
		}
		c.Outcomes = append(c.Outcomes, o)
		if !o.Duplicate {
			statuses++
		}
	}
	return messages, statuses, nil
}

// createdAtLayout is RFC 3339 with milliseconds, of one width so that it sorts.
const createdAtLayout = "2006-01-02T15:04:05.000Z"

// insertOne stores a message or finds that it is there. What the database says
// was changed decides, never the class of an error.
func (w *writer) insertOne(ctx context.Context, m *message.Message, now string) (message.Outcome, error) {
	if !m.ReceivedAt.IsZero() {
		now = m.ReceivedAt.UTC().Format(createdAtLayout)
	}
	if removed, err := w.isRemoved(ctx, m.Source, m.ID); err != nil || removed {
		return message.Outcome{Duplicate: true}, err
	}
	a := w.args
	a[0].Value = w.lastID + 1
	a[1].Value, a[2].Value, a[3].Value, a[4].Value = m.ID, m.From, m.To, m.TS
	a[5].Value = nil
	if m.Text != nil {
		a[5].Value = *m.Text
	}
	a[6].Value, a[7].Value, a[8].Value, a[9].Value = now, m.Source, m.At.Unix(), int64(m.At.Nanosecond())
	a[10].Value = blob(m.Raw)
	result, err := w.insert.ExecContext(ctx, a)
	if err != nil {
		return message.Outcome{}, fmt.Errorf("insert: %w", err)
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return message.Outcome{}, fmt.Errorf("insert: %w", err)
	}
	if changed == 1 {
		w.lastID++
		return message.Outcome{}, nil
	}
	stored, err := w.findOne(ctx, m)
	if err != nil {
		return message.Outcome{}, fmt.Errorf("find duplicate: %w", err)
	}
	return message.Outcome{Duplicate: true, Mismatch: !stored.SameContent(m)}, nil
}

// blob is what stands for raw JSON in a row.
func blob(raw []byte) driver.Value {
	if len(raw) == 0 {
		return nil
	}
	return raw
}

func (w *writer) findOne(ctx context.Context, m *message.Message) (*message.Message, error) {
	a := w.args[:2]
	a[0].Value, a[1].Value = m.ID, m.Source
	var row [4]driver.Value
	if err := w.queryOne(ctx, w.find, a, row[:]); err != nil {
		return nil, err
	}
	stored := &message.Message{}
	for i, to := range []*string{&stored.From, &stored.To, &stored.TS} {
		*to, _ = row[i].(string)
	}
	if text, ok := row[3].(string); ok {
		stored.Text = &text
	}
	return stored, nil
}

// queryOne reads the only row of a query.
func (w *writer) queryOne(ctx context.Context, st statement, args []driver.NamedValue, row []driver.Value) (err error) {
	rows, err := st.QueryContext(ctx, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if err := rows.Next(row); err != nil {
		if errors.Is(err, io.EOF) {
			return sql.ErrNoRows
		}
		return err
	}
	return nil
}

// errStep marks the failure of a step's own work, which says nothing of the
// database.
type errStep struct{ err error }

func (e errStep) Error() string { return e.err.Error() }
func (e errStep) Unwrap() error { return e.err }

// step has the writer run f in a transaction of its own between two commits.
// Saves wait meanwhile: a step takes a few milliseconds at most. If f returns
// an error the transaction is rolled back.
func (s *Store) step(ctx context.Context, f func(ctx context.Context, c *sql.Conn) error) error {
	var err error
	if notRun := s.queue.Do(ctx, func() { err = s.writer.step(f) }); notRun != nil {
		return notRun
	}
	return err
}

func (w *writer) step(f func(ctx context.Context, c *sql.Conn) error) error {
	ctx := context.Background() // what has begun is not broken off
	if err := w.store.fatalError(); err != nil {
		return err
	}
	err := run(ctx, w.begin)
	if err == nil {
		if err = f(ctx, w.conn); err == nil {
			if err = run(ctx, w.commit); err != nil {
				err = fmt.Errorf("commit: %w", err)
			}
		}
		if err != nil {
			_ = run(ctx, w.rollback) // as in try
		}
	}
	if own, ok := errors.AsType[errStep](err); ok {
		return own.err
	}
	if err == nil {
		if gone := w.store.checkFiles(); gone != nil {
			err = fatalFault{gone}
		}
	}
	if err != nil {
		return w.store.commitFailed(err)
	}
	w.committed(ctx)
	return nil
}

// fatalError returns the fault after which the store stopped, if there was one.
func (s *Store) fatalError() error {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	return s.health.fatal
}

// commitSucceeded is called after a commit that wrote something and before
// anybody is told of it.
func (s *Store) commitSucceeded(created int) {
	s.messages.Add(int64(created))
	last := s.lastID.Add(int64(created))
	if segment.ChunkOf(last+1) > segment.ChunkOf(last-int64(created)+1) {
		poke(s.indexer.full)
	}
	if created > 0 {
		s.changed.Wake() // when Feed can see that there is more
	}
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if s.health.lastErr != nil {
		s.log.Info("store works again", "database", filepath.Base(s.path))
	}
	s.health.lastOK, s.health.lastErr = time.Now(), nil
}

// commitFailed notes why a commit failed and returns the error for those who
// wait for it.
func (s *Store) commitFailed(err error) error {
	err = fmt.Errorf("%w: %w", message.ErrUnavailable, err)
	if classify(err) == classFatal {
		s.fail(err)
	}
	s.logFault(err)
	return err
}

// fail ends the store's life: what the disk holds is unknown, and only a new
// process that reads it from the start may acknowledge again.
func (s *Store) fail(err error) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if s.health.fatal == nil {
		s.health.fatal = err
		close(s.health.failed)
	}
}

// logEvery bounds how often a lasting fault is logged.
const logEvery = time.Second

func (s *Store) logFault(err error) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	s.health.lastErr = err
	if time.Since(s.health.loggedAt) < logEvery {
		s.health.unlogged++
		return
	}
	s.log.Error("store failed", "database", filepath.Base(s.path), "error", err.Error(), "not_logged_before", s.health.unlogged)
	s.health.loggedAt, s.health.unlogged = time.Now(), 0
}
