package postgres

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// statusScan is how many statuses an erasure looks at with one query.
const statusScan = 5000

const (
	// removeStatusesSQL removes statuses by their keys, if what they were chosen
	// for is still so. Served by statuses_identity.
	removeStatusesSQL = `DELETE FROM statuses s USING unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS k(message_id, source, status, identity)
		WHERE s.message_id = k.message_id AND s.source = k.source AND s.status = k.status AND `
	removeArrivedSQL = removeStatusesSQL + `s.created_at < $5`
	// removeOfRecipientSQL also remembers which messages they were of, so that no
	// other status of them comes, unless those are stored. Served by
	// messages_identity and the primary key of removed too.
	removeOfRecipientSQL = `WITH gone AS (` + removeStatusesSQL + `s.recipient = $5 RETURNING s.message_id, s.source, k.identity)
		INSERT INTO removed (identity) SELECT identity FROM gone
		WHERE NOT EXISTS (SELECT FROM messages m WHERE m.message_id = gone.message_id AND m.source = gone.source)
		ON CONFLICT DO NOTHING`

	// Served by statuses_by_arrival: few share a time, and are sorted.
	arrivedStatusesSQL = `SELECT created_at, ` + statusOrder + ` FROM statuses
		WHERE created_at < $1 AND created_at >= $2 AND (created_at, ` + statusOrder + `) > ($2, $3, $4, $5)
		ORDER BY created_at, ` + statusOrder + ` LIMIT $6`
)

// eraseStatuses removes the statuses of what went to a recipient. It looks at all
// that there are, in the order of their keys.
func (s *Store) eraseStatuses(ctx context.Context, recipient string) error {
	for next := (*statusKey)(nil); ; {
		keys, last, err := s.statusesTo(ctx, recipient, next)
		if err == nil {
			err = s.removeStatuses(ctx, removeOfRecipientSQL, keys, recipient)
		}
		if err != nil || last == nil {
			return err
		}
		next = last
	}
}

// statusesTo looks at one page of the statuses and returns the keys of those
// with that recipient, and where the next page begins, nil if there is none.
func (s *Store) statusesTo(ctx context.Context, recipient string, after *statusKey) (keys []statusKey, next *statusKey, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	query, args := scanStatuses(recipient, after)
	rows, err := s.readers.Query(ctx, query, args...)
	if err != nil {
		return nil, nil, err
	}
	var k statusKey
	var wanted, last bool
	_, err = pgx.ForEachRow(rows, []any{&k.id, &k.source, &k.status, &wanted, &last}, func() error {
		if wanted {
			keys = append(keys, k)
		}
		if last {
			next = &statusKey{k.id, k.source, k.status}
		}
		return nil
	})
	return keys, next, err
}

// scanStatuses is the query for such a page: of statusScan rows it returns those
// that are wanted, and the last. Served by statuses_identity.
func scanStatuses(recipient string, after *statusKey) (query string, args []any) {
	c := behind(after)
	limit := c.arg(statusScan)
	page := "SELECT " + statusOrder + ", recipient FROM statuses" + c.where() + " ORDER BY " + statusOrder + " LIMIT " + limit
	to := c.arg(recipient)
	return "SELECT " + statusOrder + ", recipient = " + to + ", nth = " + limit + " FROM (SELECT *, row_number() OVER (ORDER BY " + statusOrder +
		") AS nth FROM (" + page + ") AS page) AS counted WHERE recipient = " + to + " OR nth = " + limit, c.args
}

// expireStatuses removes the statuses that arrived before the time.
func (s *Store) expireStatuses(ctx context.Context, before time.Time) error {
	at, last := time.Unix(-1<<36, 0), statusKey{}
	for {
		var keys []statusKey
		var err error
		if keys, at, err = s.arrivedStatuses(ctx, before, at, last); err != nil || len(keys) == 0 {
			return err
		}
		if err := s.removeStatuses(ctx, removeArrivedSQL, keys, before); err != nil {
			return err
		}
		last = keys[len(keys)-1]
	}
}

// arrivedStatuses returns the keys of one step of those that arrived before the
// time, in the order of their arrival, and when the last of them did.
func (s *Store) arrivedStatuses(ctx context.Context, before, at time.Time, after statusKey) (keys []statusKey, last time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.readers.Query(ctx, arrivedStatusesSQL, before, at, after.id, after.source, after.status, removeStep)
	if err != nil {
		return nil, at, err
	}
	var k statusKey
	last = at
	_, err = pgx.ForEachRow(rows, []any{&last, &k.id, &k.source, &k.status}, func() error {
		keys = append(keys, k)
		return nil
	})
	return keys, last, err
}

// removeStatuses removes those of the keys of which it still holds what the query
// asks of its last argument.
func (s *Store) removeStatuses(ctx context.Context, query string, keys []statusKey, arg any) error {
	for some := range slices.Chunk(keys, removeStep) {
		if err := s.step(ctx, func() error { return s.writer.removeStatuses(ctx, query, some, arg) }); err != nil {
			return err
		}
	}
	return nil
}

// removeStatuses is one step. The lock is taken alone, as in remove: a message
// that is being saved would not count as stored.
func (w *writer) removeStatuses(ctx context.Context, query string, keys []statusKey, arg any) error {
	var ids, sources, statuses []string
	var identities [][]byte
	for _, k := range keys {
		ids, sources, statuses = append(ids, k.id), append(sources, k.source), append(statuses, k.status)
		identities = append(identities, bytes.Clone(w.identities.Of(k.source, k.id)))
	}
	return w.change(ctx, func(b *pgx.Batch) {
		b.Queue(lockAloneSQL)
		b.Queue(query, ids, sources, statuses, identities, arg)
	})
}
