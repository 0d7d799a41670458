package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
)

// Bounds of the writer.
const (
	// commitTimeout bounds a commit with everything that is tried for it: no
	// setting of the server's bounds the wait for a synchronous standby.
	commitTimeout = 8 * time.Second
	// retryTimeout is how long a transaction that was undone is run again.
	retryTimeout = 3 * time.Second
	// dialPause is the least time between two attempts to connect while the
	// server is away: those who wait get their answer at once.
	dialPause = 100 * time.Millisecond
	// suspectAfter is how long after its last use a connection is asked for an
	// answer before something is sent on it, and pingTimeout how long that may
	// take.
	suspectAfter = 100 * time.Millisecond
	pingTimeout  = 2 * time.Second
)

// The advisory lock that every transaction holds that changes messages, taken
// before it has a number: shared by saves, alone by removals. The order of the
// feed and the memory of what was removed rest on it. Its two numbers spell
// "lyft" and "r".
const (
	lockSharedSQL = "SELECT pg_advisory_xact_lock_shared(1819895412, 114)"
	lockAloneSQL  = "SELECT pg_advisory_xact_lock(1819895412, 114)"
)

// slots is how many rows count the messages; slot 0 is that of removals.
const slots = 64

// saveSQL stores the messages of a batch in one statement. The identities are
// sorted, so that two batches that share some wait for each other in one
// direction only. What another transaction is storing is waited for: a duplicate
// is one of something that is committed. The count is always written, if only with the same value:
// a transaction that writes nothing would not wait for the standby, and the
// duplicates, of statuses too, would be acknowledged before what they repeat is
// safe.
// Served by messages_identity and the primary keys of removed and counts.
const saveSQL = `WITH arrived AS (
	SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
		$7::timestamptz[], $8::bigint[], $9::int[], $10::text[], $11::bytea[], $12::bytea[])
		WITH ORDINALITY AS a(source, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_unix, ts_nanos, folded, raw, identity, n)
), stored AS (
	INSERT INTO messages (tx, n, source, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_unix, ts_nanos, folded, raw)
	SELECT pg_current_xact_id()::text::bigint + $13, n, source, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_unix, ts_nanos, folded, raw
	FROM arrived WHERE NOT EXISTS (SELECT FROM removed WHERE removed.identity = arrived.identity)
	ORDER BY message_id COLLATE "C", source COLLATE "C", n
	ON CONFLICT (message_id, source) DO NOTHING
	RETURNING n
), counted AS (
	UPDATE counts SET messages = messages + (SELECT count(*) FROM stored) WHERE slot = $14
)
SELECT n FROM stored`

// storedSQL finds what duplicates repeat. Served by messages_identity.
const storedSQL = `SELECT repeat, from_msisdn, to_msisdn, ts, text
	FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a(source, message_id, repeat) JOIN messages USING (source, message_id)`

// writer is the groupcommit.Committer.
type writer struct {
	store      *Store
	conn       *pgx.Conn // nil while there is none
	started    time.Time // of the server's process behind conn, by its clock
	usedAt     time.Time
	dialedAt   time.Time
	dialErr    error
	slot       int
	identities *message.Identities
	columns    columns
	reports    reports
	// left is the server's process that a commit was left to when its time was
	// up.
	left struct {
		pid     uint32 // 0 if there is none
		started time.Time
	}
}

func newWriter(s *Store) *writer {
	return &writer{
		store:      s,
		slot:       1 + rand.IntN(slots-1), //nolint:gosec // it has to be different, not secret
		identities: message.NewIdentities(s.cursorKey),
	}
}

// columns are the messages of a batch by column.
type columns struct {
	source, id, from, to, ts []string
	text, folded             []*string
	created                  []time.Time
	unix                     []int64
	nanos                    []int32
	raw, identity            [][]byte
}

func (c *columns) reset() {
	*c = columns{
		source: c.source[:0], id: c.id[:0], from: c.from[:0], to: c.to[:0], ts: c.ts[:0], text: c.text[:0], folded: c.folded[:0],
		created: c.created[:0], unix: c.unix[:0], nanos: c.nanos[:0], raw: c.raw[:0], identity: c.identity[:0],
	}
}

func (c *columns) add(m *message.Message, now time.Time, identity []byte) {
	var folded *string
	if m.Text != nil {
		f := searchForm(*m.Text)
		folded = &f
	}
	c.source, c.id, c.from, c.to, c.ts = append(c.source, m.Source), append(c.id, m.ID), append(c.from, m.From), append(c.to, m.To), append(c.ts, m.TS)
	c.text, c.folded = append(c.text, m.Text), append(c.folded, folded)
	c.created = append(c.created, arrival(m.ReceivedAt, now))
	c.unix, c.nanos = append(c.unix, m.At.Unix()), append(c.nanos, int32(m.At.Nanosecond())) //nolint:gosec // below a thousand million
	c.raw, c.identity = append(c.raw, m.Raw), append(c.identity, identity)
}

// arrival is when something was accepted, as it is stored.
func arrival(received, now time.Time) time.Time {
	if received.IsZero() {
		received = now
	}
	return received.UTC().Truncate(time.Millisecond)
}

// Commit implements groupcommit.Committer.
func (w *writer) Commit(ctx context.Context, calls []*groupcommit.Call) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	err := w.save(ctx, calls)
	switch {
	case err == nil:
		w.store.health.works(w.store.log)
	case ofRow(err):
		// One message is not taken: the calls of the others must not fail for it.
		w.saveApart(ctx, calls)
	default:
		return w.store.health.commitFailed(w.store.log, err)
	}
	return nil
}

// saveApart gives each call a transaction of its own, and its own error.
func (w *writer) saveApart(ctx context.Context, calls []*groupcommit.Call) {
	for i, c := range calls {
		err := w.save(ctx, calls[i:i+1])
		if err == nil || ofRow(err) {
			w.store.health.works(w.store.log)
		} else {
			err = w.store.health.commitFailed(w.store.log, err)
		}
		if err != nil {
			c.Err = err
		}
	}
}

// save runs the transaction until it is committed or nothing is known of it.
func (w *writer) save(ctx context.Context, calls []*groupcommit.Call) error {
	return w.run(ctx, func() error { return w.saveOnce(ctx, calls) })
}

// run connects if need be and runs f, again if it was undone for a reason that
// may have passed. While the database is known to be down it tries once.
func (w *writer) run(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(retryTimeout)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, dialPause*3) {
		var more bool
		err := w.ensure(ctx)
		if err == nil {
			err = f()
			more = again(err)
			if code(err) == readOnlyTransaction {
				w.disconnect() // it became a standby
			}
		} else {
			more = mayPass(err)
		}
		if err == nil || !more || w.store.health.down() || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(jitter(pause)):
		case <-ctx.Done():
			return err
		}
	}
}

// saveOnce stores what all calls hold in one transaction, in one round trip.
func (w *writer) saveOnce(ctx context.Context, calls []*groupcommit.Call) error {
	w.columns.reset()
	w.reports.reset()
	now := time.Now()
	for _, c := range calls {
		for i := range c.Messages {
			m := &c.Messages[i]
			w.columns.add(m, now, bytes.Clone(w.identities.Of(m.Source, m.ID)))
		}
		for i := range c.Statuses {
			s := &c.Statuses[i]
			w.reports.add(s, now, bytes.Clone(w.identities.Of(s.Source, s.ID)))
		}
	}
	c := &w.columns
	created, reported := make([]bool, len(c.id)), make([]bool, len(w.reports.id))
	stored := 0
	b := &pgx.Batch{}
	b.Queue(lockSharedSQL)
	b.Queue(saveSQL, c.source, c.id, c.from, c.to, c.ts, c.text, c.created, c.unix, c.nanos, c.folded, c.raw, c.identity,
		w.store.txOffset, w.slot).Query(func(rows pgx.Rows) error {
		stored = 0
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				return err
			}
			created[n-1] = true
			stored++
		}
		return rows.Err()
	})
	w.reports.queue(b, reported)
	if err := w.commit(ctx, b); err != nil {
		return err
	}
	if stored > 0 {
		w.store.status.changes.Add(1)
		w.store.watcher.committed()
	}
	var mismatch map[int]bool
	var err error
	if stored < len(created) {
		mismatch, err = w.mismatches(ctx, calls, created)
	}
	n, of := 0, 0
	for _, call := range calls {
		call.Outcomes, call.Err = call.Outcomes[:0], nil
		for range call.Messages {
			if !created[n] && err != nil {
				call.Err = fmt.Errorf("%w: stored, but not compared with what it repeats: %w", message.ErrUnavailable, err)
			}
			call.Outcomes = append(call.Outcomes, message.Outcome{Duplicate: !created[n], Mismatch: mismatch[n]})
			n++
		}
		for range call.Statuses {
			call.Outcomes = append(call.Outcomes, message.Outcome{Duplicate: !reported[of]})
			of++
		}
	}
	return nil
}

// commit sends what is to be one transaction in one round trip. An error of the
// type *unknown says that it may be committed; after any other it is undone.
func (w *writer) commit(ctx context.Context, b *pgx.Batch) error {
	data := w.conn.PgConn().CustomData()
	delete(data, doubt) // a warning at connecting says nothing about a commit
	err := w.conn.SendBatch(ctx, b).Close()
	w.usedAt = time.Now()
	if warning, ok := data[doubt]; ok {
		// Most likely somebody cancelled the wait for the standby.
		w.disconnect()
		return &unknown{fmt.Errorf("the server warned: %v", warning)}
	}
	if err == nil {
		return nil
	}
	if e, ok := pgError(err); ok && !fatal(e) {
		return err
	}
	if ctx.Err() != nil {
		w.left.pid, w.left.started = w.conn.PgConn().PID(), w.started
	}
	sent := !pgconn.SafeToRetry(err)
	w.disconnect()
	if !sent {
		return err
	}
	return &unknown{err}
}

// mismatches returns which of the messages that were not stored say something
// else than what is stored. One that was removed is not there to differ.
func (w *writer) mismatches(ctx context.Context, calls []*groupcommit.Call, created []bool) (map[int]bool, error) {
	var repeats []*message.Message
	var index []int
	var sources, ids []string
	n := 0
	for _, c := range calls {
		for i := range c.Messages {
			if m := &c.Messages[i]; !created[n] {
				repeats, index = append(repeats, m), append(index, n)
				sources, ids = append(sources, m.Source), append(ids, m.ID)
			}
			n++
		}
	}
	mismatch := map[int]bool{}
	rows, err := w.conn.Query(ctx, storedSQL, sources, ids)
	if err == nil {
		var at int
		var m message.Message
		_, err = pgx.ForEachRow(rows, []any{&at, &m.From, &m.To, &m.TS, &m.Text}, func() error {
			if !m.SameContent(repeats[at-1]) {
				mismatch[index[at-1]] = true
			}
			return nil
		})
	}
	if err != nil {
		if e, ok := pgError(err); !ok || fatal(e) {
			w.disconnect()
		}
		return nil, err
	}
	return mismatch, nil
}

// Idle implements groupcommit.Committer. A connection that broke meanwhile is
// noticed before a message needs it.
func (w *writer) Idle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	_ = w.ensure(ctx) // whoever saves next finds out why not
}

// ensure makes sure that there is a connection that seems good.
func (w *writer) ensure(ctx context.Context) error {
	if w.conn != nil {
		if !w.conn.IsClosed() && (time.Since(w.usedAt) < suspectAfter || w.ping(ctx) == nil) {
			return nil
		}
		w.disconnect()
	}
	if w.store.health.down() && w.dialErr != nil && time.Since(w.dialedAt) < dialPause {
		return w.dialErr
	}
	w.dialErr = w.connect(ctx)
	w.dialedAt = time.Now()
	if w.dialErr != nil {
		w.disconnect()
		return w.dialErr
	}
	// They may be on a server that is a standby now, or gone.
	w.store.readers.Reset()
	return nil
}

func (w *writer) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return w.conn.Ping(ctx)
}

// dialing marks the context of an attempt to connect.
type dialing struct{}

// errNoCancel keeps a connection that is given up from cancelling its query.
var errNoCancel = errors.New("a commit is not cancelled")

// connect opens the connection. When the driver gives a connection up it opens
// another to cancel the query; that would end the wait of a commit for the
// standby, and show a message that is not on the standby yet. So it may not.
func (w *writer) connect(ctx context.Context) (err error) {
	w.conn, err = w.store.target.connect(context.WithValue(ctx, dialing{}, true), func(c *pgx.ConnConfig) {
		withParams(c, map[string]string{
			"statement_timeout": "5000",
			"lock_timeout":      "2000",
			// One plan will do for a batch, whatever is in it.
			"plan_cache_mode": "force_generic_plan",
		})
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			if ctx.Value(dialing{}) == nil {
				return nil, errNoCancel
			}
			return dial(ctx, network, address)
		}
	})
	if err != nil {
		return err
	}
	st, err := secure(ctx, w.conn)
	if err != nil {
		return err
	}
	var waits bool
	err = w.conn.QueryRow(ctx, `SELECT (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()),
		EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2)`, int64(w.left.pid), w.left.started).Scan(&w.started, &waits)
	if err != nil {
		return err
	}
	if waits {
		// Another one would join it in waiting, and another, until the server has
		// no connection left.
		return errors.New("a commit still waits: a synchronous standby is missing")
	}
	w.left.pid = 0
	w.usedAt = time.Now()
	st.logSettings(w.store.log)
	return nil
}

func (w *writer) disconnect() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx) // nothing is left to be said on it
	w.conn = nil
}
