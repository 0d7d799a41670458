package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
)

// saveStatusesSQL stores the statuses of a batch, behind its messages and in the
// same transaction, and returns which were new. Their keys are sorted, so that
// two batches that share some wait for each other in one direction only. Served
// by statuses_identity and the primary key of removed.
const saveStatusesSQL = `INSERT INTO statuses (source, message_id, status, recipient, ts, created_at, raw)
	SELECT source, message_id, status, recipient, ts, created_at, raw
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::bytea[], $8::bytea[])
		WITH ORDINALITY AS a(source, message_id, status, recipient, ts, created_at, raw, identity, n)
	WHERE NOT EXISTS (SELECT FROM removed WHERE removed.identity = a.identity)
	ORDER BY message_id COLLATE "C", source COLLATE "C", status COLLATE "C", n
	ON CONFLICT (message_id, source, status) DO NOTHING
	RETURNING message_id, source, status`

// reports are the statuses of a batch by column.
type reports struct {
	source, id, status, recipient []string
	at, created                   []time.Time
	raw, identity                 [][]byte
}

func (r *reports) reset() {
	*r = reports{
		source: r.source[:0], id: r.id[:0], status: r.status[:0], recipient: r.recipient[:0],
		at: r.at[:0], created: r.created[:0], raw: r.raw[:0], identity: r.identity[:0],
	}
}

func (r *reports) add(s *message.Status, now time.Time, identity []byte) {
	r.source, r.id, r.status, r.recipient = append(r.source, s.Source), append(r.id, s.ID), append(r.status, s.Status), append(r.recipient, s.Recipient)
	r.at, r.created = append(r.at, s.At.UTC().Truncate(time.Millisecond)), append(r.created, arrival(s.ReceivedAt, now))
	r.raw, r.identity = append(r.raw, s.Raw), append(r.identity, identity)
}

// queue queues the statement, if there is anything to store, and sets created
// for what was stored: of those with one key the first.
func (r *reports) queue(b *pgx.Batch, created []bool) {
	if len(r.id) == 0 {
		return
	}
	b.Queue(saveStatusesSQL, r.source, r.id, r.status, r.recipient, r.at, r.created, r.raw, r.identity).Query(func(rows pgx.Rows) error {
		first := make(map[statusKey]int, len(r.id))
		for i, id := range slices.Backward(r.id) {
			first[statusKey{id, r.source[i], r.status[i]}] = i
		}
		var k statusKey
		_, err := pgx.ForEachRow(rows, []any{&k.id, &k.source, &k.status}, func() error {
			created[first[k]] = true
			return nil
		})
		return err
	})
}

// statusColumns are what scanStatus reads.
const statusColumns = "source, message_id, status, recipient, ts, created_at, raw"

func scanStatus(row pgx.CollectableRow) (s message.Status, err error) {
	err = row.Scan(&s.Source, &s.ID, &s.Status, &s.Recipient, &s.At, &s.ReceivedAt, &s.Raw)
	s.At, s.ReceivedAt = s.At.UTC(), s.ReceivedAt.UTC()
	return s, err
}

// Statuses implements message.Store.
func (s *Store) Statuses(ctx context.Context, source, id string) ([]message.Status, error) {
	if !storable(id) || !storable(source) {
		return nil, nil
	}
	query, args := statusesOf(source, id)
	statuses, err := s.readStatuses(ctx, query, args...)
	return statuses, readError(ctx, "statuses of a message", err)
}

// statusesOf is the query for the statuses of a message. Served by
// statuses_identity.
func statusesOf(source, id string) (query string, args []any) {
	query, args = "SELECT "+statusColumns+" FROM statuses WHERE message_id = $1 AND source = ", []any{id}
	if source == "" {
		query += "(SELECT source FROM statuses WHERE message_id = $1 ORDER BY source LIMIT 1)"
	} else {
		query, args = query+"$2", append(args, source)
	}
	return query + " ORDER BY ts, status", args
}

func (s *Store) readStatuses(ctx context.Context, query string, args ...any) ([]message.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.readers.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanStatus)
}

// statusKey is the order of all statuses, and each one's identity.
type statusKey struct{ id, source, status string }

const statusOrder = "message_id, source, status"

// behind is the condition of what comes behind a key; nil is before all.
func behind(after *statusKey) *condition {
	c := &condition{}
	if after != nil {
		c.and("(" + statusOrder + ") > (" + c.arg(after.id) + ", " + c.arg(after.source) + ", " + c.arg(after.status) + ")")
	}
	return c
}

// statusPage is the query for a page of Walk behind a key. Served by
// statuses_identity.
func statusPage(after *statusKey) (query string, args []any) {
	c := behind(after)
	page := "SELECT " + statusColumns + " FROM statuses" + c.where() + " ORDER BY " + statusOrder + " LIMIT " + c.arg(walkPage)
	return bounded(statusColumns, page, "coalesce(octet_length(raw), 0)", statusOrder, c.arg(walkBytes)), c.args
}

// WalkStatuses implements message.Store. No transaction is open while yield runs.
func (s *Store) WalkStatuses(ctx context.Context, yield func(message.Status) error) error {
	var after *statusKey
	for {
		query, args := statusPage(after)
		statuses, err := s.readStatuses(ctx, query, args...)
		if err != nil {
			return readError(ctx, "walk statuses", err)
		}
		size := 0
		for i := range statuses {
			size += len(statuses[i].Raw)
			if err := yield(statuses[i]); err != nil {
				return err
			}
		}
		if len(statuses) < walkPage && size < walkBytes {
			return nil
		}
		last := &statuses[len(statuses)-1]
		after = &statusKey{last.ID, last.Source, last.Status}
	}
}
