package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
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

// matching is the condition of a filter. The times are served by
// messages_by_time; the rest is compared row by row.
func matching(f message.Filter) *condition {
	c := &condition{}
	if f.From != "" {
		c.and("from_msisdn = ?", f.From)
	}
	if f.To != "" {
		c.and("to_msisdn = ?", f.To)
	}
	if f.Source != "" {
		c.and("source = ?", f.Source)
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
	remakes := int64(0)
	if s.indexer != nil {
		remakes = s.indexer.remakes.Load()
	}
	err := func() error {
		if err := s.readers.enter(ctx); err != nil {
			return err
		}
		defer s.readers.leave()
		tx, leave, err := s.beginRead(ctx)
		if err != nil {
			return err
		}
		defer leave()
		return s.untouched.check(f(ctx, tx))
	}()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, message.ErrBadCursor), errors.Is(err, message.ErrNotFound), errors.Is(err, message.ErrTooManyBuckets):
		return err
	case errors.Is(err, segment.ErrDamaged) && s.indexer != nil:
		s.indexer.isDamaged(remakes)
	case errors.Is(ctx.Err(), context.Canceled):
		// Whoever asked has gone.
		return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, context.Canceled)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: the read took too long: %w", what, message.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, err)
}

// beginRead begins a read transaction; leave ends it. A query in it that has the
// context is broken off with it. The transaction is not: database/sql would undo
// it from another goroutine, and a statement that is just being prepared would
// never be closed then, nor would its connection.
func (s *Store) beginRead(ctx context.Context) (tx *sql.Tx, leave func(), err error) {
	c, err := s.readDB.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	if tx, err = c.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{ReadOnly: true}); err != nil {
		return nil, nil, errors.Join(err, c.Close())
	}
	return tx, func() {
		_ = tx.Rollback() // nothing was written
		_ = c.Close()
	}, nil
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

// fullColumns are what scanFull reads: what a provider sent too.
const fullColumns = messageColumns + ", raw"

func scanFull(row interface{ Scan(to ...any) error }, more ...any) (m message.Message, err error) {
	var raw []byte
	m, err = scanMessage(row, append([]any{&raw}, more...)...)
	m.Raw = raw
	return m, err
}

// List implements message.Store.
func (s *Store) List(ctx context.Context, q message.Query) (page message.Page, err error) {
	if q.Order != message.Descending {
		q.Order = message.Ascending
	}
	var after *message.Position
	if q.Cursor != "" {
		p, err := message.ParseCursor(s.cursorKey, q.Filter, q.Order, q.Cursor)
		if err != nil {
			return message.Page{}, err
		}
		after, q.Offset = &p, 0
	}
	err = s.read(ctx, "list messages", func(ctx context.Context, tx *sql.Tx) error {
		page, err = s.page(ctx, tx, q, after)
		return err
	})
	if err != nil {
		return message.Page{}, err
	}
	if q.NoTotal {
		page.Total = -1
	}
	if len(page.Messages) > q.Limit {
		page.Messages = page.Messages[:q.Limit]
		last := page.Messages[q.Limit-1]
		page.NextCursor = message.EncodeCursor(s.cursorKey, q.Filter, q.Order,
			message.Position{At: last.At, ID: last.ID, Source: last.Source})
	}
	return page, nil
}

// fewOffset is how many messages are walked over sooner than counted.
const fewOffset = 1000

// page reads one message more than asked for, which tells whether there is a
// next page, and counts all that match.
func (s *Store) page(ctx context.Context, tx *sql.Tx, q message.Query, after *message.Position) (page message.Page, err error) {
	sn, err := s.snapshot(ctx, tx)
	if err != nil {
		return message.Page{}, err
	}
	if q.Offset <= fewOffset && (q.Filter == (message.Filter{}) || q.NoTotal && q.OnlyTimes()) {
		page.Total = sn.last - sn.removed
		page.Messages, err = sn.listByTime(ctx, q.Filter, q.Order, after, q.Limit+1, q.Offset)
		return page, err
	}
	near := false
	if q.From == "" && q.To == "" && q.Offset == 0 && !q.OnlyTimes() && (q.NoTotal || q.Text == "") {
		if page.Messages, near, err = sn.listNear(ctx, q.Filter, q.Order, after, q.Limit+1); err != nil || near && q.NoTotal {
			return page, err
		}
	}
	c, err := s.choose(ctx, sn, q.Filter)
	if err != nil {
		return message.Page{}, err
	}
	if page.Total = c.total(); near {
		return page, nil
	}
	if page.Messages = nil; q.Offset >= page.Total {
		return page, nil // past the end, or nothing matches
	}
	page.Messages, err = c.list(q.Filter, q.Order, after, q.Limit+1, q.Offset)
	return page, err
}

// nearRows is how many messages are looked at for each one of a page before they
// are chosen by the segments.
const nearRows = 40

// listNear lists the first messages that match if they are among the first there
// are, in order, as where most match. ok says that they were.
func (sn *snapshot) listNear(ctx context.Context, f message.Filter, o message.Order, after *message.Position, limit int) (list []message.Message, ok bool, err error) {
	// A position is within the times, and the index goes by one bound at each end.
	begin, end := &f.Since, &f.Until
	if o == message.Descending {
		begin, end = end, begin
	}
	if after != nil {
		*begin = time.Time{}
	}
	all := message.Filter{Since: f.Since, Until: f.Until}
	query, args := byTime("ts_unix, ts_nanos, message_id, source", all, o, after, nil)
	var last message.Position
	var unix, nanos int64
	err = sn.tx.QueryRowContext(ctx, query, append(args, 1, nearRows*limit)...).Scan(&unix, &nanos, &last.ID, &last.Source)
	var until *message.Position
	switch {
	case errors.Is(err, sql.ErrNoRows): // there are not so many
	case err != nil:
		return nil, false, err
	default:
		last.At = time.Unix(unix, nanos)
		until, *end = &last, time.Time{}
	}
	query, args = byTime(messageColumns, f, o, after, until)
	list, err = sn.list(ctx, query, append(args, limit, 0)...)
	return list, len(list) == limit || until == nil, err
}

// byTime is a query that walks along messages_by_time, which serves the order,
// the times and the positions: behind one, and up to another, which may be nil.
// Its last arguments are a limit and an offset.
func byTime(columns string, f message.Filter, o message.Order, after, until *message.Position) (query string, args []any) {
	c := matching(f)
	direction, behind, before := "ASC", ">", "<="
	if o == message.Descending {
		direction, behind, before = "DESC", "<", ">="
	}
	for _, end := range []struct {
		at      *message.Position
		compare string
	}{{after, behind}, {until, before}} {
		if p := end.at; p != nil {
			c.and("(ts_unix, ts_nanos, message_id, source) "+end.compare+" (?, ?, ?, ?)", p.At.Unix(), p.At.Nanosecond(), p.ID, p.Source)
		}
	}
	return "SELECT " + columns + " FROM messages" + c.where() +
		strings.ReplaceAll(" ORDER BY ts_unix #, ts_nanos #, message_id #, source #", "#", direction) + " LIMIT ? OFFSET ?", c.args
}

func (sn *snapshot) listByTime(ctx context.Context, f message.Filter, o message.Order, after *message.Position, limit int, offset int64) ([]message.Message, error) {
	query, args := byTime(messageColumns, f, o, after, nil)
	return sn.list(ctx, query, append(args, limit, offset)...)
}

// list reads the messages that a query finds.
func (sn *snapshot) list(ctx context.Context, query string, args ...any) (messages []message.Message, err error) {
	rows, err := sn.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	err = eachRowOf(rows, func(rows *sql.Rows) error {
		m, err := scanMessage(rows)
		messages = append(messages, m)
		return err
	})
	return messages, err
}

// Get implements message.Store.
func (s *Store) Get(ctx context.Context, source, id string) (m message.Message, err error) {
	// Served by messages_identity.
	query := "SELECT " + fullColumns + " FROM messages WHERE message_id = ?"
	args := []any{id}
	if source != "" {
		query += " AND source = ?"
		args = append(args, source)
	}
	query += " ORDER BY source LIMIT 1"
	err = s.read(ctx, "get message", func(ctx context.Context, tx *sql.Tx) error {
		var err error
		m, err = scanFull(tx.QueryRowContext(ctx, query, args...))
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
