package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lyftr/internal/message"
)

// The feed is in the order of (tx, n). Transactions get their numbers when they
// begin to write and commit in any order, so that a message may turn up before
// others that a reader has seen. A message is therefore shown when it is settled:
// when every transaction with a lower number has ended.
//
// The server knows the lowest number in progress, which usually tells it. But
// that may be one of a transaction that has nothing to do with lyftr, such as a
// long import into another database of the server. Where it matters it is looked
// at closer: every transaction of lyftr takes the advisory lock before it gets a
// number, so that one that has a number and not the lock is not waited for.

// Bounds of the feed.
const (
	// settleTimeout is how long a reader waits for what is committed and not
	// settled, so that he sees what he saved himself.
	settleTimeout = 100 * time.Millisecond
	settlePause   = 2 * time.Millisecond
)

const (
	// feedSQL reads a page behind ($1, $2), of at most $3 messages, and of texts
	// and raw JSON until they have $4 bytes; all of it from transactions below $5.
	// Served by the primary key.
	feedSQL = `SELECT ` + messageColumns + `, tx, n, tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint + $6 AS settled
	FROM (SELECT *, sum(` + messageBytes + `) OVER (ORDER BY tx, n ROWS UNBOUNDED PRECEDING) - (` + messageBytes + `) AS before
		FROM messages WHERE (tx, n) > ($1, $2) AND tx < $5 ORDER BY tx, n LIMIT $3) AS page
	WHERE before < $4 ORDER BY tx, n`

	// nextSQL is the number that no transaction has yet.
	nextSQL = `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`

	// horizonSQL is the number below which every transaction of lyftr has ended.
	// A transaction gets its lock on its number after the number: one without is
	// waited for. A standby knows no locks, nor what its snapshots have besides
	// the lowest number.
	horizonSQL = `WITH now AS MATERIALIZED (SELECT pg_current_snapshot() AS snapshot), ours AS MATERIALIZED (
		SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1819895412 AND objid = 114 AND objsubid = 2 AND granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
	), foreigners AS MATERIALIZED (
		SELECT transactionid FROM pg_locks WHERE locktype = 'transactionid' AND granted
			AND NOT EXISTS (SELECT FROM ours WHERE ours.pid = pg_locks.pid)
	)
	SELECT CASE WHEN pg_is_in_recovery() THEN pg_snapshot_xmin(snapshot)::text::bigint
		ELSE least(pg_snapshot_xmax(snapshot)::text::bigint, (
			SELECT min(x::text::bigint) FROM pg_snapshot_xip(snapshot) AS x
			WHERE x::xid NOT IN (SELECT transactionid FROM foreigners) AND pg_xact_status(x) = 'in progress')) END
	FROM now`

	// newestSQL finds the newest message of the transactions below $1, and
	// whether there are others. Served by the primary key.
	newestSQL = `SELECT coalesce(tx, 0), coalesce(n, 0), EXISTS (SELECT FROM messages WHERE tx >= $1)
		FROM (VALUES (1)) AS one LEFT JOIN (SELECT tx, n FROM messages WHERE tx < $1 ORDER BY tx DESC, n DESC LIMIT 1) AS newest ON true`

	// fenceSQL writes something that nobody reads, so that its commit is waited
	// for, whatever the server's own setting is.
	fenceSQL = `SELECT set_config('synchronous_commit', 'on', true), pg_logical_emit_message(true, 'lyftr', '')`
)

// position is where a message is in the feed. The zero value is before all.
type position struct {
	tx int64
	n  int32
}

func (p position) before(o position) bool { return p.tx < o.tx || p.tx == o.tx && p.n < o.n }

// positionSize is the size of a position's payload.
const positionSize = 8 + 4

func (s *Store) sign(p position) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.tx))                                       //nolint:gosec // as it is read
	return message.SignFeedPosition(s.cursorKey, binary.BigEndian.AppendUint32(b, uint32(p.n))) //nolint:gosec // as it is read
}

func (s *Store) parsePosition(signed string) (position, error) {
	if signed == "" {
		return position{}, nil
	}
	payload, err := message.OpenFeedPosition(s.cursorKey, signed)
	if err != nil {
		return position{}, err
	}
	if len(payload) != positionSize {
		return position{}, message.ErrBadCursor
	}
	return position{
		tx: int64(binary.BigEndian.Uint64(payload)),     //nolint:gosec // as it was written
		n:  int32(binary.BigEndian.Uint32(payload[8:])), //nolint:gosec // as it was written
	}, nil
}

// Feed implements message.Store.
func (s *Store) Feed(ctx context.Context, after string, limit int) (p message.FeedPage, err error) {
	at := position{}
	if after != message.FeedLatest {
		if at, err = s.parsePosition(after); err != nil {
			return message.FeedPage{}, err
		}
	}
	within, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.readers.AcquireFunc(within, func(conn *pgxpool.Conn) error {
		r := &feedReader{store: s, conn: conn}
		var last position // of what is shown
		if after == message.FeedLatest {
			at, err = r.latest(within)
			p, last = message.FeedPage{Next: s.sign(at)}, at
		} else {
			p, last, err = r.page(within, at, limit)
		}
		// Of a position that is ahead this server may know nothing since it is no
		// longer the primary; then nothing is ever on its standbys.
		if err == nil && last.tx > s.fenced.Load() || errors.Is(err, message.ErrBadCursor) {
			err = cmp.Or(r.fence(within), err)
		}
		return err
	})
	if err != nil {
		return message.FeedPage{}, readError(within, "feed", err)
	}
	return p, nil
}

// fence returns when everything that was settled when it was called is on the
// synchronous standbys, if there are any. What is visible and not settled does not
// count: a lower number may still turn up, by a wait that is cancelled later. What a commit stored is visible after
// it was waited for, but for two cases: the server crashed meanwhile, or somebody
// cancelled the wait. A reader who is shown such a message, and goes on after a
// failover to a standby that never got it, would hold a position that is given out
// a second time.
func (r *feedReader) fence(ctx context.Context) error {
	s := r.store
	if s.readOnly {
		return nil
	}
	horizon, err := r.horizon(ctx)
	if err != nil {
		return err
	}
	settled, _, err := r.newest(ctx, horizon)
	if err != nil {
		return err
	}
	var standbys string
	if err := r.conn.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names')").Scan(&standbys); err != nil {
		return err
	}
	if standbys != "" {
		data := r.conn.Conn().PgConn().CustomData()
		delete(data, doubt)
		if _, err := r.conn.Exec(ctx, fenceSQL); err != nil {
			return fmt.Errorf("wait for the standby: %w", err)
		}
		if warning, ok := data[doubt]; ok {
			return fmt.Errorf("wait for the standby: the server warned: %v", warning)
		}
	}
	for {
		known := s.fenced.Load()
		if settled.tx <= known || s.fenced.CompareAndSwap(known, settled.tx) {
			return nil
		}
	}
}

// feedReader reads the feed on one connection.
type feedReader struct {
	store *Store
	conn  *pgxpool.Conn
}

// everything is above the number of any transaction.
const everything = int64(1) << 62

// page returns a page, and the position of the last message in it.
func (r *feedReader) page(ctx context.Context, at position, limit int) (p message.FeedPage, last position, err error) {
	var next int64
	more := false
	b := &pgx.Batch{}
	if at != (position{}) {
		b.Queue(nextSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&next) })
	}
	held := false
	if limit == 0 {
		// Served by the primary key.
		b.Queue("SELECT EXISTS (SELECT FROM messages WHERE (tx, n) > ($1, $2))", at.tx, at.n).
			QueryRow(func(row pgx.Row) error { return row.Scan(&more) })
	} else {
		r.queue(b, &p, &last, &held, at, limit, everything)
	}
	if err := r.conn.SendBatch(ctx, b).Close(); err != nil {
		return p, last, err
	}
	if at != (position{}) && at.tx >= next+r.store.txOffset {
		// The database was replaced by an older copy: its numbers are given out a
		// second time, so that going on would skip messages.
		return p, last, message.ErrBadCursor
	}
	if limit == 0 {
		return message.FeedPage{Next: r.store.sign(at), More: more}, position{}, nil
	}
	if held {
		err = r.settle(ctx, func(horizon int64) (bool, error) {
			b := &pgx.Batch{}
			r.queue(b, &p, &last, nil, at, limit, horizon)
			err := r.conn.SendBatch(ctx, b).Close()
			return len(p.Messages) > 0, err
		})
		if err != nil {
			return p, last, err
		}
	}
	p.Next = r.store.sign(at)
	if n := len(p.Positions); n > 0 {
		p.Next = p.Positions[n-1]
	}
	return p, last, nil
}

// queue queues the query for a page below a transaction. If held is not nil it
// is set if the page ends before messages that are not known to be settled.
func (r *feedReader) queue(b *pgx.Batch, p *message.FeedPage, last *position, held *bool, at position, limit int, below int64) {
	b.Queue(feedSQL, at.tx, at.n, limit, message.MaxFeedBytes, below, r.store.txOffset).Query(func(rows pgx.Rows) error {
		*p = message.FeedPage{}
		size := 0
		for rows.Next() {
			var o position
			var settled bool
			m, err := scanMessage(rows, &o.tx, &o.n, &settled)
			if err != nil {
				return err
			}
			if held != nil && !settled {
				*held = true
				break
			}
			*last = o
			p.Messages = append(p.Messages, m)
			p.Positions = append(p.Positions, r.store.sign(o))
			size += bytesOf(&m)
		}
		p.More = len(p.Messages) == limit || size >= message.MaxFeedBytes
		rows.Close()
		return rows.Err()
	})
}

// settle calls f with the horizon until it has what it wants, for a short time.
func (r *feedReader) settle(ctx context.Context, f func(horizon int64) (done bool, err error)) error {
	for end := time.Now().Add(settleTimeout); ; {
		horizon, err := r.horizon(ctx)
		if err != nil {
			return err
		}
		if done, err := f(horizon); done || err != nil {
			return err
		}
		if time.Now().After(end) {
			r.store.watcher.held()
			return nil
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *feedReader) horizon(ctx context.Context) (horizon int64, err error) {
	err = r.conn.QueryRow(ctx, horizonSQL).Scan(&horizon)
	return horizon + r.store.txOffset, err
}

// newest returns the position of the newest message below the horizon, and
// whether there are others.
func (r *feedReader) newest(ctx context.Context, horizon int64) (p position, others bool, err error) {
	err = r.conn.QueryRow(ctx, newestSQL, horizon).Scan(&p.tx, &p.n, &others)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return p, others, err
}

// latest returns the end of the feed: the position of the newest message that is
// settled. It is not the horizon itself, since numbers of transactions that
// stored nothing may be given out a second time after a failover.
func (r *feedReader) latest(ctx context.Context) (at position, err error) {
	last, _, err := r.newest(ctx, everything)
	if err != nil {
		return at, err
	}
	err = r.settle(ctx, func(horizon int64) (bool, error) {
		if at, _, err = r.newest(ctx, horizon); err != nil {
			return false, err
		}
		return !at.before(last), nil
	})
	return at, err
}

// Changed implements message.Store.
func (s *Store) Changed() <-chan struct{} { return s.changed.Wait() }
