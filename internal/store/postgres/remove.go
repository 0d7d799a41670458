package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
)

// removeStep is how many messages are removed in one transaction: the saves of
// all processes wait for it.
const removeStep = 250

// place is where a message is in the feed and in the sums, and its identity.
type place struct {
	tx               int64
	n                int32
	unix             int64
	from, source, id string
}

// removeSQL removes messages by their places with their statuses, remembers who
// they were, and takes them out of the sums. Served by the primary keys and
// statuses_identity.
const removeSQL = `WITH gone AS (
	DELETE FROM messages m USING unnest($1::bigint[], $2::int[], $3::bytea[]) AS k(tx, n, identity)
	WHERE m.tx = k.tx AND m.n = k.n RETURNING k.identity, m.source, m.message_id, m.ts_unix, m.from_msisdn, m.tx < (` + summedSQL + `) AS summed
), kept AS (
	INSERT INTO removed (identity) SELECT identity FROM gone ON CONFLICT DO NOTHING
), reports AS (
	DELETE FROM statuses USING gone WHERE statuses.message_id = gone.message_id AND statuses.source = gone.source
), counted AS (
	UPDATE counts SET messages = messages - (SELECT count(*) FROM gone) WHERE slot = 0
), of_hours AS (
	UPDATE hours SET messages = hours.messages - g.messages
	FROM (SELECT ` + hourSQL + ` AS hour, count(*) AS messages FROM gone WHERE summed GROUP BY 1) AS g WHERE hours.hour = g.hour
), of_senders AS (
	UPDATE senders SET messages = senders.messages - g.messages
	FROM (SELECT from_msisdn, count(*) AS messages FROM gone WHERE summed GROUP BY 1) AS g WHERE senders.from_msisdn = g.from_msisdn
)
SELECT count(*) FROM gone`

const (
	// Served by the primary keys, as the next: nothing is left of a sender who
	// was erased.
	emptySendersSQL = `DELETE FROM senders WHERE from_msisdn = ANY ($1) AND messages = 0`
	emptyHoursSQL   = `DELETE FROM hours WHERE hour = ANY ($1) AND messages = 0`
	// Served by messages_by_sender.
	placesOfSQL = `SELECT tx, n, ts_unix, from_msisdn, source, message_id FROM messages WHERE from_msisdn = $1 AND tx < $2 LIMIT $3`
	// Served by messages_by_time.
	expiredSQL = `SELECT tx, n, ts_unix, from_msisdn, source, message_id, ts_nanos, created_at IS NULL OR created_at < $1 FROM messages
		WHERE (ts_unix, ts_nanos) < ($2, $3) AND (ts_unix, ts_nanos, message_id, source) > ($4, $5, $6, $7)
		ORDER BY ts_unix, ts_nanos, message_id, source LIMIT $8`
)

// Erase implements message.Store.
func (s *Store) Erase(ctx context.Context, from string) (removed int64, err error) {
	if s.readOnly {
		return 0, errReadOnly
	}
	if from == "" || !storable(from) {
		return 0, nil // in a filter the empty one is everybody
	}
	// What arrives from now on may arrive for ever.
	var end int64
	err = s.readRow(ctx, []any{&end}, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
	for err == nil {
		var places []place
		if places, err = s.placesOf(ctx, from, end+s.txOffset); err != nil || len(places) == 0 {
			break
		}
		var n int64
		n, err = s.remove(ctx, places)
		removed += n
	}
	if err == nil {
		err = s.eraseStatuses(ctx, from)
	}
	return removed, removalError("erase messages", err)
}

// Expire implements message.Store.
func (s *Store) Expire(ctx context.Context, before time.Time) (removed int64, err error) {
	if s.readOnly {
		return 0, errReadOnly
	}
	behind := message.Position{At: time.Unix(-1<<40, 0)}
	for more := true; more && err == nil; {
		var places []place
		places, behind, more, err = s.expired(ctx, before, behind)
		if err == nil && len(places) > 0 {
			var n int64
			n, err = s.remove(ctx, places)
			removed += n
		}
	}
	if err == nil {
		err = s.expireStatuses(ctx, wholeArrival(before))
	}
	return removed, removalError("expire messages", err)
}

// removalError says that calling again goes on.
func removalError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, message.ErrUnavailable):
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, err)
}

// readRow reads one row within the store's time limit.
func (s *Store) readRow(ctx context.Context, to []any, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.readers.QueryRow(ctx, query, args...).Scan(to...)
}

// placesOf returns some of the places of a sender's messages that were stored
// before transaction end.
func (s *Store) placesOf(ctx context.Context, from string, end int64) (places []place, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.readers.Query(ctx, placesOfSQL, from, end, removeStep)
	if err != nil {
		return nil, err
	}
	var p place
	_, err = pgx.ForEachRow(rows, []any{&p.tx, &p.n, &p.unix, &p.from, &p.source, &p.id}, func() error {
		places = append(places, p)
		return nil
	})
	return places, err
}

// wholeArrival is the time before which what arrived before the time did: the
// server's times are in whole microseconds, and arrivals in milliseconds.
func wholeArrival(before time.Time) time.Time {
	return before.Add(time.Microsecond - time.Nanosecond).Truncate(time.Microsecond)
}

// expired looks at one page of the messages whose ts is before the time, in
// list order, and returns the places of those that also arrived before it, and
// where the next page begins.
func (s *Store) expired(ctx context.Context, before time.Time, behind message.Position) (places []place, next message.Position, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.readers.Query(ctx, expiredSQL, wholeArrival(before), before.Unix(), before.Nanosecond(),
		behind.At.Unix(), behind.At.Nanosecond(), behind.ID, behind.Source, removeStep)
	if err != nil {
		return nil, behind, false, err
	}
	n, next := 0, behind
	var p place
	var nanos int64
	var arrived bool
	_, err = pgx.ForEachRow(rows, []any{&p.tx, &p.n, &p.unix, &p.from, &p.source, &p.id, &nanos, &arrived}, func() error {
		n++
		next = message.Position{At: time.Unix(p.unix, nanos), ID: p.id, Source: p.source}
		if arrived {
			places = append(places, p)
		}
		return nil
	})
	return places, next, n == removeStep, err
}

// remove removes the messages that are still at these places and returns how
// many that were.
func (s *Store) remove(ctx context.Context, places []place) (removed int64, err error) {
	err = s.step(ctx, func() (err error) {
		removed, err = s.writer.remove(ctx, places)
		return err
	})
	if removed > 0 {
		s.status.changes.Add(1)
	}
	return removed, err
}

// step has the writer run one step between two commits. Saves that waited get as
// much of its time.
func (s *Store) step(ctx context.Context, f func() error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	var rest time.Duration
	notRun := s.queue.Do(ctx, func() {
		began := time.Now()
		err = f()
		rest = time.Since(began)
	})
	if err = errors.Join(notRun, err); err != nil {
		return err
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
	}
	return nil
}

// remove is one step. The lock is taken alone: a save of the same message, or of
// a status of it, that is in progress would not see that it is being removed,
// and bring it back.
func (w *writer) remove(ctx context.Context, places []place) (removed int64, err error) {
	var txs []int64
	var ns []int32
	var identities [][]byte
	var senders []string
	var hours []int64
	for _, p := range places {
		txs, ns = append(txs, p.tx), append(ns, p.n)
		senders, hours = append(senders, p.from), append(hours, (p.unix-yearOne)/hour)
		identities = append(identities, bytes.Clone(w.identities.Of(p.source, p.id)))
	}
	err = w.change(ctx, func(b *pgx.Batch) {
		b.Queue("SELECT pg_advisory_xact_lock($1)", sumLock)
		b.Queue(lockAloneSQL)
		b.Queue(removeSQL, txs, ns, identities).QueryRow(func(row pgx.Row) error { return row.Scan(&removed) })
		b.Queue(emptySendersSQL, senders)
		b.Queue(emptyHoursSQL, hours)
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// change runs one transaction of a removal. It is not cancelled by who asked for
// it: no commit is.
func (w *writer) change(ctx context.Context, queue func(b *pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	err := w.run(ctx, func() error {
		b := &pgx.Batch{}
		queue(b)
		return w.commit(ctx, b)
	})
	if err != nil {
		return w.store.health.commitFailed(w.store.log, err)
	}
	w.store.health.works(w.store.log)
	return nil
}
