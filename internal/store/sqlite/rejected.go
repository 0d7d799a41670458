package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"lyftr/internal/message"
)

// rejectStepRows is how many refused deliveries one step of the writer notes.
const rejectStepRows = 100

// Reject implements message.Store.
func (s *Store) Reject(ctx context.Context, rejections []message.Rejection) error {
	if s.queue == nil {
		return errReadOnly
	}
	rejections = rejections[max(0, len(rejections)-message.MaxRejections):]
	for some := range slices.Chunk(rejections, rejectStepRows) {
		err := s.step(ctx, func(ctx context.Context, c *sql.Conn) error { return insertRejections(ctx, c, some) })
		if err != nil {
			return unavailable("note refused deliveries", err)
		}
	}
	return nil
}

// insertRejections adds some and forgets what is too old for that. Ids have no
// gaps, since only the lowest are ever taken away.
func insertRejections(ctx context.Context, c *sql.Conn, rejections []message.Rejection) error {
	insert, err := c.PrepareContext(ctx, `INSERT INTO rejected (at, source, status, result, reason, size, hash, request_id, times)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, r := range rejections {
		if _, err := insert.ExecContext(ctx, r.At.UTC().Format(createdAtLayout), r.Source, r.Status, r.Result, r.Reason, r.Size, r.Hash, r.RequestID, r.Times); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
	}
	// Served by the primary key.
	if _, err := c.ExecContext(ctx, "DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?", message.MaxRejections); err != nil {
		return fmt.Errorf("forget the oldest: %w", err)
	}
	return nil
}

// rejectedSQL is served by the primary key.
const rejectedSQL = `SELECT at, source, status, result, reason, size, hash, request_id, times
	FROM rejected ORDER BY id DESC LIMIT ?`

// Rejected implements message.Store.
func (s *Store) Rejected(ctx context.Context, limit int) (list []message.Rejection, err error) {
	err = s.read(ctx, "refused deliveries", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, rejectedSQL, limit)
		if err != nil {
			return err
		}
		return eachRowOf(rows, func(rows *sql.Rows) error {
			r, err := scanRejection(rows)
			list = append(list, r)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func scanRejection(rows *sql.Rows) (r message.Rejection, err error) {
	var at string
	if err := rows.Scan(&at, &r.Source, &r.Status, &r.Result, &r.Reason, &r.Size, &r.Hash, &r.RequestID, &r.Times); err != nil {
		return message.Rejection{}, err
	}
	r.At, err = time.Parse(createdAtLayout, at)
	return r, err
}
