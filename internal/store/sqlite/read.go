package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lyftr/internal/message"
)

// countMessages returns the highest id that was ever given out, and how many
// ids up to it have no message.
func countMessages(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (last, removed int64, err error) {
	// Served by the primary keys.
	err = q.QueryRowContext(ctx, `SELECT
		max((SELECT coalesce(max(id), 0) FROM messages), (SELECT value FROM counters WHERE name = 'last_id')),
		(SELECT value FROM counters WHERE name = 'removed')`).Scan(&last, &removed)
	if err != nil {
		return 0, 0, fmt.Errorf("count messages: %w", err)
	}
	return last, removed, nil
}

// condition is a WHERE clause and its arguments.
type condition struct {
	terms []string
	args  []any
}

func (c *condition) and(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

func (c *condition) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// matching is the condition of a filter. from is served by messages_by_sender,
// the times by messages_by_time or as the second column of the former; to and
// the text are compared row by row. The + keeps the planner from taking to for
// selective: most messages have the same recipient, and a list in order of time
// is then cheaper than sorting them.
func matching(f message.Filter) *condition {
	c := &condition{}
	if f.From != "" {
		c.and("from_msisdn = ?", f.From)
	}
	if f.To != "" {
		c.and("+to_msisdn = ?", f.To)
	}
	if !f.Since.IsZero() {
		c.and("(ts_unix, ts_nanos) >= (?, ?)", f.Since.Unix(), f.Since.Nanosecond())
	}
	if !f.Until.IsZero() {
		c.and("(ts_unix, ts_nanos) < (?, ?)", f.Until.Unix(), f.Until.Nanosecond())
	}
	if f.Text != "" {
		c.and("contains_fold(text, ?)", message.Fold(f.Text))
	}
	return c
}

// read runs f in one read transaction, so that all its queries see the same
// moment, within the store's time limit.
func (s *Store) read(ctx context.Context, what string, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := func() error {
		tx, err := s.readDB.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // nothing was written
		return s.untouched.check(f(ctx, tx))
	}()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, message.ErrBadCursor), errors.Is(err, message.ErrNotFound), errors.Is(err, message.ErrTooManyBuckets):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		// Whoever asked has gone.
		return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, context.Canceled)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: the read took too long: %w", what, message.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, err)
}

// messageColumns are what scanMessage reads.
const messageColumns = "source, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_unix, ts_nanos"

func scanMessage(row interface{ Scan(to ...any) error }, more ...any) (m message.Message, err error) {
	var created string
	var unix, nanos int64
	to := append([]any{&m.Source, &m.ID, &m.From, &m.To, &m.TS, &m.Text, &created, &unix, &nanos}, more...)
	if err := row.Scan(to...); err != nil {
		return message.Message{}, err
	}
	m.At = time.Unix(unix, nanos).UTC()
	m.ReceivedAt, _ = parseLenient(created) // an adopted row may hold anything
	return m, nil
}

// List implements message.Store.
func (s *Store) List(ctx context.Context, q message.Query) (page message.Page, err error) {
	if q.Order != message.Descending {
		q.Order = message.Ascending
	}
	c := matching(q.Filter)
	count := "SELECT count(*) FROM messages" + c.where()
	countArgs := slices.Clip(c.args)

	direction, behind := "ASC", ">"
	if q.Order == message.Descending {
		direction, behind = "DESC", "<"
	}
	if q.Cursor != "" {
		p, err := message.ParseCursor(s.cursorKey, q.Filter, q.Order, q.Cursor)
		if err != nil {
			return message.Page{}, err
		}
		c.and("(ts_unix, ts_nanos, message_id, source) "+behind+" (?, ?, ?, ?)",
			p.At.Unix(), p.At.Nanosecond(), p.ID, p.Source)
		q.Offset = 0
	}
	// Served by messages_by_time, or by messages_by_sender with the rows of one
	// instant sorted.
	list := "SELECT " + messageColumns + " FROM messages" +
		c.where() + strings.ReplaceAll(" ORDER BY ts_unix #, ts_nanos #, message_id #, source #", "#", direction) +
		" LIMIT ? OFFSET ?"
	// One more than asked for tells whether there is a next page.
	listArgs := append(c.args, q.Limit+1, q.Offset)

	err = s.read(ctx, "list messages", func(ctx context.Context, tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, count, countArgs...).Scan(&page.Total); err != nil {
			return fmt.Errorf("count: %w", err)
		}
		page.Messages = make([]message.Message, 0, q.Limit+1)
		if q.Offset >= page.Total && q.Cursor == "" {
			return nil // past the end: no need to walk there
		}
		rows, err := tx.QueryContext(ctx, list, listArgs...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m, err := scanMessage(rows)
			if err != nil {
				return err
			}
			page.Messages = append(page.Messages, m)
		}
		return rows.Err()
	})
	if err != nil {
		return message.Page{}, err
	}
	if len(page.Messages) > q.Limit {
		page.Messages = page.Messages[:q.Limit]
		last := page.Messages[q.Limit-1]
		page.NextCursor = message.EncodeCursor(s.cursorKey, q.Filter, q.Order,
			message.Position{At: last.At, ID: last.ID, Source: last.Source})
	}
	return page, nil
}

// Get implements message.Store.
func (s *Store) Get(ctx context.Context, source, id string) (m message.Message, err error) {
	// Served by messages_identity.
	query := "SELECT " + messageColumns + " FROM messages WHERE message_id = ?"
	args := []any{id}
	if source != "" {
		query += " AND source = ?"
		args = append(args, source)
	}
	query += " ORDER BY source LIMIT 1"
	err = s.read(ctx, "get message", func(ctx context.Context, tx *sql.Tx) error {
		var err error
		m, err = scanMessage(tx.QueryRowContext(ctx, query, args...))
		if errors.Is(err, sql.ErrNoRows) {
			return message.ErrNotFound
		}
		return err
	})
	if err != nil {
		return message.Message{}, err
	}
	return m, nil
}

// Stats implements message.Store.
func (s *Store) Stats(ctx context.Context, f message.Filter) (st message.Stats, err error) {
	c := matching(f)
	// Without a filter served by messages_by_sender alone.
	top := `WITH senders AS MATERIALIZED (
			SELECT from_msisdn AS sender, count(*) AS n FROM messages` + c.where() + ` GROUP BY from_msisdn)
		SELECT sender, n, (SELECT sum(n) FROM senders), (SELECT count(*) FROM senders)
		FROM senders ORDER BY n DESC, sender LIMIT ?`
	topArgs := append(slices.Clip(c.args), message.TopSenders)
	edge := func(direction string) string {
		return "SELECT ts FROM messages" + c.where() +
			strings.ReplaceAll(" ORDER BY ts_unix #, ts_nanos #, message_id #, source # LIMIT 1", "#", direction)
	}
	err = s.read(ctx, "stats", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, top, topArgs...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var sc message.SenderCount
			if err := rows.Scan(&sc.From, &sc.Count, &st.Total, &st.Senders); err != nil {
				return err
			}
			st.Top = append(st.Top, sc)
		}
		if err := rows.Err(); err != nil || st.Total == 0 {
			return err
		}
		if err := tx.QueryRowContext(ctx, edge("ASC"), c.args...).Scan(&st.FirstTS); err != nil {
			return fmt.Errorf("first: %w", err)
		}
		if err := tx.QueryRowContext(ctx, edge("DESC"), c.args...).Scan(&st.LastTS); err != nil {
			return fmt.Errorf("last: %w", err)
		}
		return nil
	})
	if err != nil {
		return message.Stats{}, err
	}
	return st, nil
}

// Timeline implements message.Store.
func (s *Store) Timeline(ctx context.Context, f message.Filter, b message.Bucket) ([]message.BucketCount, error) {
	c := matching(f)
	// The remainder of a time before 1970 is negative, hence the second one.
	query := fmt.Sprintf("SELECT ts_unix - ((ts_unix %% %[1]d) + %[1]d) %% %[1]d AS bucket, count(*) FROM messages%[2]s GROUP BY bucket LIMIT ?",
		b.Seconds(), c.where())
	counts := map[int64]int64{}
	err := s.read(ctx, "timeline", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query, append(c.args, message.MaxBuckets+1)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var bucket, n int64
			if err := rows.Scan(&bucket, &n); err != nil {
				return err
			}
			counts[bucket] = n
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return message.FillBuckets(f, b, counts)
}
