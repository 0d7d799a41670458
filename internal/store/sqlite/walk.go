package sqlite

import (
	"context"
	"database/sql"
	"strings"

	"lyftr/internal/message"
)

// walkPage is how many messages Walk reads in one transaction: few enough that
// the transaction is short, and that they may be held in memory with the longest
// texts there are (16 MiB), and enough that beginning one costs nothing.
const walkPage = 1000

// Walk implements message.Store. No transaction is open while yield runs: a slow
// reader must not keep the log from being copied into the database.
func (s *Store) Walk(ctx context.Context, f message.Filter, o message.Order, yield func(message.Message) error) error {
	if o != message.Descending {
		o = message.Ascending
	}
	var after *message.Position
	for {
		var page []message.Message
		err := s.read(ctx, "walk messages", func(ctx context.Context, tx *sql.Tx) (err error) {
			page, err = s.pageBehind(ctx, tx, f, o, after, walkPage)
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
		if len(page) < walkPage {
			return nil
		}
		last := &page[len(page)-1]
		after = &message.Position{At: last.At, ID: last.ID, Source: last.Source}
	}
}

// pageBehind returns the first messages that match behind a position, or of all
// if there is none, at most limit. Fewer than limit are the last.
func (s *Store) pageBehind(ctx context.Context, tx *sql.Tx, f message.Filter, o message.Order, after *message.Position, limit int) ([]message.Message, error) {
	c := matching(f)
	direction, behind := "ASC", ">"
	if o == message.Descending {
		direction, behind = "DESC", "<"
	}
	if after != nil {
		c.and("(ts_unix, ts_nanos, message_id, source) "+behind+" (?, ?, ?, ?)",
			after.At.Unix(), after.At.Nanosecond(), after.ID, after.Source)
	}
	// Served by messages_by_time, or by messages_by_sender with the rows of one
	// instant sorted.
	query := "SELECT " + messageColumns + " FROM messages" + c.where() +
		strings.ReplaceAll(" ORDER BY ts_unix #, ts_nanos #, message_id #, source # LIMIT ?", "#", direction)
	rows, err := tx.QueryContext(ctx, query, append(c.args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	page := make([]message.Message, 0, limit)
	for rows.Next() {
		m, err := scanMessage(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, m)
	}
	return page, rows.Err()
}
