package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"lyftr/internal/message"
)

const (
	// The index statuses_identity finds the conflict.
	insertStatusSQL = `INSERT INTO statuses (source, message_id, status, recipient, ts, created_at, raw)
		VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (message_id, source, status) DO NOTHING`
	// Served by statuses_identity.
	removeStatusesSQL = `DELETE FROM statuses WHERE message_id = ? AND source = ?`

	statusColumns = "source, message_id, status, recipient, ts, created_at, raw"
	// Both served by statuses_identity, which finds the first source too.
	statusesSQL         = "SELECT " + statusColumns + " FROM statuses WHERE message_id = ? AND source = ? ORDER BY ts, status"
	statusesAnywhereSQL = "SELECT " + statusColumns + ` FROM statuses WHERE message_id = ?
		AND source = (SELECT min(source) FROM statuses WHERE message_id = ?) ORDER BY ts, status`
	// Served by statuses_identity.
	walkStatusesSQL = "SELECT " + statusColumns + ` FROM statuses WHERE (message_id, source, status) > (?, ?, ?)
		ORDER BY message_id, source, status LIMIT ?`
)

// insertStatus stores a status or finds that it is there. One of a message that
// was removed is taken as if it were.
func (w *writer) insertStatus(ctx context.Context, s *message.Status, now string) (message.Outcome, error) {
	if removed, err := w.isRemoved(ctx, s.Source, s.ID); err != nil || removed {
		return message.Outcome{Duplicate: true}, err
	}
	if !s.ReceivedAt.IsZero() {
		now = s.ReceivedAt.UTC().Format(createdAtLayout)
	}
	w.statuses = true
	a := w.args[:7]
	a[0].Value, a[1].Value, a[2].Value, a[3].Value = s.Source, s.ID, s.Status, s.Recipient
	a[4].Value, a[5].Value, a[6].Value = s.At.UnixMilli(), now, blob(s.Raw)
	result, err := w.addStatus.ExecContext(ctx, a)
	if err != nil {
		return message.Outcome{}, fmt.Errorf("insert status: %w", err)
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return message.Outcome{}, fmt.Errorf("insert status: %w", err)
	}
	return message.Outcome{Duplicate: changed == 0}, nil
}

func scanStatus(rows *sql.Rows) (m message.Status, err error) {
	var ts int64
	var created string
	if err := rows.Scan(&m.Source, &m.ID, &m.Status, &m.Recipient, &ts, &created, &m.Raw); err != nil {
		return message.Status{}, err
	}
	m.At = time.UnixMilli(ts).UTC()
	m.ReceivedAt, err = time.Parse(createdAtLayout, created)
	return m, err
}

// Statuses implements message.Store.
func (s *Store) Statuses(ctx context.Context, source, id string) (list []message.Status, err error) {
	query, args := statusesSQL, []any{id, source}
	if source == "" {
		query, args = statusesAnywhereSQL, []any{id, id}
	}
	err = s.read(ctx, "statuses", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		return eachRowOf(rows, func(rows *sql.Rows) error {
			m, err := scanStatus(rows)
			list = append(list, m)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// WalkStatuses implements message.Store. As in Walk no transaction is open while
// yield runs.
func (s *Store) WalkStatuses(ctx context.Context, yield func(message.Status) error) error {
	// Nothing comes before it: every status has a source.
	behind, page, more := message.Status{}, []message.Status(nil), true
	for more {
		err := s.read(ctx, "walk statuses", func(ctx context.Context, tx *sql.Tx) (err error) {
			page, more, err = statusesBehind(ctx, tx, behind)
			return err
		})
		if err != nil {
			return err
		}
		for i := range page {
			if err := yield(page[i]); err != nil {
				return err
			}
		}
		if len(page) > 0 {
			behind = page[len(page)-1]
		}
	}
	return nil
}

// statusesBehind returns the next statuses of a walk, and whether there may be
// more of them.
func statusesBehind(ctx context.Context, tx *sql.Tx, behind message.Status) (page []message.Status, more bool, err error) {
	rows, err := tx.QueryContext(ctx, walkStatusesSQL, behind.ID, behind.Source, behind.Status, walkPage)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	for size := 0; size < walkBytes && rows.Next(); {
		m, err := scanStatus(rows)
		if err != nil {
			return nil, false, err
		}
		page, size = append(page, m), size+len(m.Raw)
		more = len(page) == walkPage || size >= walkBytes
	}
	return page, more, rows.Err()
}

// How statuses are found that are to be removed.
const (
	// statusIDs is how many ids are searched in one go for a recipient's, and
	// how many old ones are looked up at one time.
	statusIDs = 10_000
	// Both served by the primary key.
	statusRangeSQL = "SELECT (SELECT coalesce(min(id), 0) FROM statuses), (SELECT coalesce(max(id), 0) FROM statuses)"
	statusesToSQL  = "SELECT id FROM statuses WHERE id >= ? AND id < ? AND recipient = ?"
	// Served by statuses_by_arrival.
	oldStatusesSQL = "SELECT id FROM statuses WHERE created_at <= ? ORDER BY created_at LIMIT ?"
	// Both served by the primary key. An id is given out again if it was the
	// highest, so that alone it does not say what is to go. Only the first tells
	// of which message it was: what has expired is not remembered.
	eraseStatusSQL  = "DELETE FROM statuses WHERE id = ? AND recipient = ? RETURNING source, message_id"
	expireStatusSQL = "DELETE FROM statuses WHERE id = ? AND created_at <= ?"
	// Served by messages_identity and the primary key of removed.
	keepUnlessStoredSQL = `INSERT INTO removed (identity) SELECT ?
		WHERE NOT EXISTS (SELECT 1 FROM messages WHERE message_id = ? AND source = ?) ON CONFLICT DO NOTHING`
)

// eraseStatuses removes the statuses of messages that went to somebody, and
// remembers which those were, so that no other status of them comes. It reads
// the whole table, some of it at a time: erasing is rare, and an index by
// recipient would be a page more to write for every status.
func (s *Store) eraseStatuses(ctx context.Context, recipient string) error {
	if recipient == "" {
		return nil // that says that it is not known
	}
	var first, last int64
	err := s.read(ctx, "find statuses", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, statusRangeSQL).Scan(&first, &last)
	})
	if err != nil || last == 0 {
		return err
	}
	for ; first <= last; first += statusIDs {
		ids, err := s.statusIDs(ctx, statusesToSQL, first, first+statusIDs, recipient)
		if err != nil {
			return err
		}
		if err := s.removeStatuses(ctx, ids, eraseStatusSQL, recipient); err != nil {
			return err
		}
	}
	return nil
}

// expireStatuses removes the statuses that arrived before the time.
func (s *Store) expireStatuses(ctx context.Context, before time.Time) error {
	// The last one that is before it, since they are kept in milliseconds.
	latest := before.UTC().Add(-1).Truncate(time.Millisecond).Format(createdAtLayout)
	for more := true; more; {
		ids, err := s.statusIDs(ctx, oldStatusesSQL, latest, statusIDs)
		if err != nil {
			return err
		}
		if err := s.removeStatuses(ctx, ids, expireStatusSQL, latest); err != nil {
			return err
		}
		more = len(ids) == statusIDs
	}
	return nil
}

func (s *Store) statusIDs(ctx context.Context, query string, args ...any) (ids []int64, err error) {
	err = s.read(ctx, "find statuses", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		return eachRowOf(rows, func(rows *sql.Rows) error {
			var id int64
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	return ids, err
}

// removeStatuses removes the statuses with these ids that are still what was
// looked for, in steps. What the query returns is remembered.
func (s *Store) removeStatuses(ctx context.Context, ids []int64, query string, what string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.steps(ctx, func() (more bool, err error) {
		tried, kept := 0, false
		err = s.writer.step(func(ctx context.Context, c *sql.Conn) error {
			return securely(ctx, c, func() (err error) {
				tried, kept, err = s.writer.deleteStatuses(ctx, c, ids, query, what)
				return err
			})
		})
		s.writer.wipe = true
		if err != nil {
			return false, err
		}
		if kept {
			s.deletions.Add(1)
		}
		ids = ids[tried:]
		return len(ids) > 0, nil
	})
}

// deleteStatuses is one step: it returns how many of the ids it has tried, and
// whether it keeps the identity of a message.
func (w *writer) deleteStatuses(ctx context.Context, c *sql.Conn, ids []int64, query, what string) (tried int, kept bool, err error) {
	st, err := c.PrepareContext(ctx, query)
	if err != nil {
		return 0, false, err
	}
	defer st.Close()
	for began := time.Now(); tried < min(len(ids), removeStepRows) && (tried == 0 || time.Since(began) < removeStepTime); tried++ {
		var source, id string
		err := st.QueryRowContext(ctx, ids[tried], what).Scan(&source, &id)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return 0, false, fmt.Errorf("delete status: %w", err)
		}
		result, err := c.ExecContext(ctx, keepUnlessStoredSQL, w.identities.Of(source, id), id, source)
		if err != nil {
			return 0, false, fmt.Errorf("keep identity: %w", err)
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return 0, false, fmt.Errorf("keep identity: %w", err)
		}
		kept = kept || changed > 0
	}
	if !kept {
		return tried, false, nil
	}
	// isRemoved has to ask, also when the file is opened again.
	if _, err := c.ExecContext(ctx, "UPDATE counters SET value = value + 1 WHERE name = 'deletions'"); err != nil {
		return 0, false, fmt.Errorf("count: %w", err)
	}
	return tried, true, nil
}
