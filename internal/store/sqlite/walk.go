package sqlite

import (
	"context"
	"database/sql"

	"lyftr/internal/message"
)

// A walk reads a page in one transaction.
const (
	// walkPage is how many messages there are on it: few enough that the
	// transaction is short, and that they may be held in memory with the longest
	// texts there are (16 MiB), and enough that beginning one costs nothing.
	walkPage = 1000
	// walkBytes is the length of what providers sent at which it ends sooner.
	walkBytes = 8 << 20
)

// Walk implements message.Store. No transaction is open while yield runs: a slow
// reader must not keep the log from being copied into the database.
func (s *Store) Walk(ctx context.Context, f message.Filter, o message.Order, yield func(message.Message) error) error {
	if o != message.Descending {
		o = message.Ascending
	}
	along, err := s.isAlong(ctx, f)
	if err != nil {
		return err
	}
	var after *message.Position
	for more := true; more; {
		var page []message.Message
		err := s.read(ctx, "walk messages", func(ctx context.Context, tx *sql.Tx) (err error) {
			if along {
				page, more, err = pageByTime(ctx, tx, f, o, after)
			} else {
				page, more, err = s.pageBehind(ctx, tx, f, o, after)
			}
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
			last := &page[len(page)-1]
			after = &message.Position{At: last.At, ID: last.ID, Source: last.Source}
		}
	}
	return nil
}

// alongShare is the least share of all messages, one of so many, for which a walk
// goes along all of them: then it costs less than to choose those of each page.
const alongShare = 4

// isAlong reports whether a walk goes along all messages within the filter's
// times, by an index that has all else that the filter asks for.
func (s *Store) isAlong(ctx context.Context, f message.Filter) (along bool, err error) {
	if f.From != "" || f.To != "" || f.Text != "" {
		return false, nil
	}
	if f.OnlyTimes() {
		return true, nil
	}
	err = s.read(ctx, "walk messages", func(ctx context.Context, tx *sql.Tx) error {
		sn, err := s.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		c, err := s.choose(ctx, sn, f)
		if err != nil {
			return err
		}
		along = c.total() >= (sn.last-sn.removed)/alongShare
		return nil
	})
	return along, err
}

// pageBehind returns the first messages that match behind a position, or of all
// if there is none, and whether there may be more of them.
func (s *Store) pageBehind(ctx context.Context, tx *sql.Tx, f message.Filter, o message.Order, after *message.Position) (page []message.Message, more bool, err error) {
	sn, err := s.snapshot(ctx, tx)
	if err != nil {
		return nil, false, err
	}
	c, err := s.choose(ctx, sn, f)
	if err != nil || c.total() == 0 {
		return nil, false, err
	}
	list, err := c.list(f, o, after, walkPage, 0)
	if err != nil {
		return nil, false, err
	}
	page, err = addRaw(ctx, tx, list)
	return page, len(list) == walkPage || len(page) < len(list), err
}

func pageByTime(ctx context.Context, tx *sql.Tx, f message.Filter, o message.Order, after *message.Position) (page []message.Message, more bool, err error) {
	query, args := byTime(fullColumns, f, o, after, nil)
	rows, err := tx.QueryContext(ctx, query, append(args, walkPage, 0)...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	page = make([]message.Message, 0, walkPage)
	for size := 0; size < walkBytes && rows.Next(); {
		m, err := scanFull(rows)
		if err != nil {
			return nil, false, err
		}
		page, size = append(page, m), size+len(m.Raw)
		more = len(page) == walkPage || size >= walkBytes
	}
	return page, more, rows.Err()
}

// addRaw adds to messages of a list what their providers sent, and returns the
// first of them that are a page. It is read for these alone: a list looks at
// more messages than it gives. Served by messages_identity.
func addRaw(ctx context.Context, tx *sql.Tx, list []message.Message) ([]message.Message, error) {
	find, err := tx.PrepareContext(ctx, "SELECT raw FROM messages WHERE message_id = ? AND source = ?")
	if err != nil {
		return nil, err
	}
	defer find.Close()
	size := 0
	for i := range list {
		m := &list[i]
		if err := find.QueryRowContext(ctx, m.ID, m.Source).Scan(&m.Raw); err != nil {
			return nil, err
		}
		if size += len(m.Raw); size >= walkBytes {
			return list[:i+1], nil
		}
	}
	return list, nil
}
