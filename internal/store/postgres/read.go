package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
)

// condition is a WHERE clause and its arguments.
type condition struct {
	terms []string
	args  []any
}

// arg adds an argument and returns its placeholder.
func (c *condition) arg(value any) string {
	c.args = append(c.args, value)
	return "$" + strconv.Itoa(len(c.args))
}

func (c *condition) and(term string) { c.terms = append(c.terms, term) }

func (c *condition) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// matching is the condition of a filter. Sender, recipient and times are served
// by the indexes of those names, the text by messages_search where there is one,
// a source by messages_by_source, but for native ones, which are not in it.
func matching(f message.Filter) *condition {
	c := &condition{}
	if !storable(f.From) || !storable(f.To) || !storable(f.Source) || strings.ContainsRune(f.Text, 0) {
		c.and("false")
		return c
	}
	if f.From != "" {
		c.and("from_msisdn = " + c.arg(f.From))
	}
	if f.To != "" {
		c.and("to_msisdn = " + c.arg(f.To))
	}
	if f.Source != "" {
		c.and("source = " + c.arg(f.Source))
		if f.Source != message.SourceNative {
			c.and(notNative)
		}
	}
	// The seconds alone say nothing new, but the server has statistics of a column
	// and none of a pair.
	if !f.Since.IsZero() {
		c.and("ts_unix >= " + c.arg(f.Since.Unix()))
		if nanos := f.Since.Nanosecond(); nanos > 0 {
			c.and("(ts_unix, ts_nanos) >= (" + c.arg(f.Since.Unix()) + ", " + c.arg(nanos) + ")")
		}
	}
	if !f.Until.IsZero() {
		if nanos := f.Until.Nanosecond(); nanos > 0 {
			c.and("ts_unix <= " + c.arg(f.Until.Unix()))
			c.and("(ts_unix, ts_nanos) < (" + c.arg(f.Until.Unix()) + ", " + c.arg(nanos) + ")")
		} else {
			c.and("ts_unix < " + c.arg(f.Until.Unix()))
		}
	}
	if f.Text != "" {
		c.and("folded LIKE " + c.arg(pattern(f.Text)))
	}
	return c
}

// notNative is the condition of the index messages_by_source.
const notNative = "source <> '" + message.SourceNative + "'"

// storable reports whether a text of the database can be that one: it takes no
// NUL, and nothing but UTF-8.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// read sends the queries in one read-only transaction in one round trip, so that
// all see the same moment, within the store's time limit.
func (s *Store) read(ctx context.Context, what string, b *pgx.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	b.Queue("COMMIT")
	return readError(ctx, what, s.readers.SendBatch(ctx, b).Close())
}

// newRead begins what read sends.
func newRead() *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	return b
}

// messageColumns are what scanMessage reads. Where the raw message is not asked
// for, NULL stands in its place.
const (
	messageColumns = listColumns + ", raw"
	listColumns    = "source, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_unix, ts_nanos"
	withoutRaw     = listColumns + ", NULL::bytea"
)

// messageBytes is how much of a message counts where a page is bounded. It reads
// nothing of what is stored apart from the row.
const messageBytes = "coalesce(octet_length(text), 0) + coalesce(octet_length(raw), 0)"

func scanMessage(row pgx.Row, more ...any) (m message.Message, err error) {
	var received *time.Time
	var unix int64
	var nanos int32
	to := append([]any{&m.Source, &m.ID, &m.From, &m.To, &m.TS, &m.Text, &received, &unix, &nanos, &m.Raw}, more...)
	if err := row.Scan(to...); err != nil {
		return message.Message{}, err
	}
	m.At = time.Unix(unix, int64(nanos)).UTC()
	if received != nil {
		m.ReceivedAt = received.UTC()
	}
	return m, nil
}

// bytesOf is messageBytes of a message.
func bytesOf(m *message.Message) int {
	if m.Text == nil {
		return len(m.Raw)
	}
	return len(*m.Text) + len(m.Raw)
}

// collect queues a query for messages.
func collect(b *pgx.Batch, to *[]message.Message, query string, args ...any) {
	b.Queue(query, args...).Query(func(rows pgx.Rows) error {
		*to = nil
		for rows.Next() {
			m, err := scanMessage(rows)
			if err != nil {
				return err
			}
			*to = append(*to, m)
		}
		return rows.Err()
	})
}

// countSQL is a scan of a few rows.
const countSQL = "SELECT sum(messages)::bigint FROM counts"

// count queues the count of all that match.
func count(b *pgx.Batch, to *int64, f message.Filter) {
	if f == (message.Filter{}) {
		b.Queue(countSQL).QueryRow(func(row pgx.Row) error { return row.Scan(to) })
		return
	}
	c := matching(f)
	b.Queue("SELECT count(*) FROM messages"+c.where(), c.args...).QueryRow(func(row pgx.Row) error { return row.Scan(to) })
}

// page queues up to limit of the messages that match, without what is raw, behind
// a position or behind so many others.
func page(b *pgx.Batch, to *[]message.Message, f message.Filter, o message.Order, after *message.Position, limit int, offset int64) {
	c, order := ordered(f, o, after)
	query := "SELECT " + withoutRaw + " FROM messages" + c.where() + " ORDER BY " + order + " LIMIT " + c.arg(limit)
	if offset > 0 {
		query += " OFFSET " + c.arg(offset)
	}
	collect(b, to, query, c.args...)
}

// ordered is the condition of what matches and comes behind a position in the
// order, and the order.
func ordered(f message.Filter, o message.Order, after *message.Position) (c *condition, order string) {
	c = matching(f)
	direction, behind := "ASC", ">"
	if o == message.Descending {
		direction, behind = "DESC", "<"
	}
	if after != nil {
		c.and("ts_unix " + behind + "= " + c.arg(after.At.Unix()))
		c.and(fmt.Sprintf("(ts_unix, ts_nanos, message_id, source) %s (%s, %s, %s, %s)", behind,
			c.arg(after.At.Unix()), c.arg(after.At.Nanosecond()), c.arg(after.ID), c.arg(after.Source)))
	}
	return c, strings.ReplaceAll("ts_unix #, ts_nanos #, message_id #, source #", "#", direction)
}

// List implements message.Store.
func (s *Store) List(ctx context.Context, q message.Query) (p message.Page, err error) {
	if q.Order != message.Descending {
		q.Order = message.Ascending
	}
	var after *message.Position
	if q.Cursor != "" {
		at, err := message.ParseCursor(s.cursorKey, q.Filter, q.Order, q.Cursor)
		if err != nil {
			return message.Page{}, err
		}
		after, q.Offset = &at, 0
	}
	// One more than asked for tells whether there is a next page.
	pages := func(b *pgx.Batch) { page(b, &p.Messages, q.Filter, q.Order, after, q.Limit+1, q.Offset) }
	switch {
	case q.NoTotal:
		p.Total = -1
		b := newRead()
		pages(b)
		err = s.read(ctx, "list messages", b)
	case summable(q.Filter) && q.Filter != (message.Filter{}):
		err = s.readSummed(ctx, "list messages", func(b *pgx.Batch, summed int64) {
			countTimes(b, &p.Total, q.Filter, summed)
			pages(b)
		})
	default:
		b := newRead()
		count(b, &p.Total, q.Filter)
		pages(b)
		err = s.read(ctx, "list messages", b)
	}
	if err != nil {
		return message.Page{}, err
	}
	if len(p.Messages) > q.Limit {
		p.Messages = p.Messages[:q.Limit]
		last := p.Messages[q.Limit-1]
		p.NextCursor = message.EncodeCursor(s.cursorKey, q.Filter, q.Order,
			message.Position{At: last.At, ID: last.ID, Source: last.Source})
	}
	return p, nil
}

// Walk reads at most walkPage messages at one time, and no more once they have
// walkBytes of text and raw JSON: so few that they may be held in memory.
const (
	walkPage  = 1000
	walkBytes = 4 << 20
)

// walked queues a page of Walk.
func walked(b *pgx.Batch, to *[]message.Message, f message.Filter, o message.Order, after *message.Position) {
	c, order := ordered(f, o, after)
	page := "SELECT " + messageColumns + " FROM messages" + c.where() + " ORDER BY " + order + " LIMIT " + c.arg(walkPage)
	collect(b, to, bounded(messageColumns, page, messageBytes, order, c.arg(walkBytes)), c.args...)
}

// bounded is the query for the first rows of a page, until their sizes come to
// limit.
func bounded(columns, page, size, order, limit string) string {
	return "SELECT " + columns + " FROM (SELECT *, sum(" + size + ") OVER (ORDER BY " + order + " ROWS UNBOUNDED PRECEDING) - (" + size +
		") AS before FROM (" + page + ") AS page) AS sized WHERE before < " + limit + " ORDER BY " + order
}

// Walk implements message.Store. No transaction is open while yield runs: a slow
// reader must not keep the server from cleaning up.
func (s *Store) Walk(ctx context.Context, f message.Filter, o message.Order, yield func(message.Message) error) error {
	var after *message.Position
	for {
		var messages []message.Message
		b := newRead()
		walked(b, &messages, f, o, after)
		if err := s.read(ctx, "walk messages", b); err != nil {
			return err
		}
		size := 0
		for i := range messages {
			size += bytesOf(&messages[i])
			if err := yield(messages[i]); err != nil {
				return err
			}
		}
		if len(messages) < walkPage && size < walkBytes {
			return nil
		}
		last := &messages[len(messages)-1]
		after = &message.Position{At: last.At, ID: last.ID, Source: last.Source}
	}
}

// Get implements message.Store.
func (s *Store) Get(ctx context.Context, source, id string) (m message.Message, err error) {
	if !storable(id) || !storable(source) {
		return message.Message{}, message.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	// Served by messages_identity.
	query := "SELECT " + messageColumns + " FROM messages WHERE message_id = $1"
	args := []any{id}
	if source != "" {
		query += " AND source = $2"
		args = append(args, source)
	}
	m, err = scanMessage(s.readers.QueryRow(ctx, query+" ORDER BY source LIMIT 1", args...))
	if errors.Is(err, pgx.ErrNoRows) {
		err = message.ErrNotFound
	}
	return m, readError(ctx, "get message", err)
}
