package sqlite

import (
	"context"
	"database/sql"

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
	sn, err := s.snapshot(ctx, tx)
	if err != nil {
		return nil, err
	}
	if f.From == "" && f.To == "" && f.Text == "" {
		return sn.listByTime(ctx, f, o, after, limit, 0)
	}
	c, err := s.choose(ctx, sn, f)
	if err != nil || c.total() == 0 {
		return nil, err
	}
	return c.list(f, o, after, limit, 0)
}
