package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// The table adoption_report holds rows of the FastAPI service that break a
// rule, as they were: what is removed from messages is removed from there too.
// It has no index, is read by rowid in pages, and is not counted: its rows are
// copies, or never were messages.

// reportPage is how many of its rows are read at one time.
const reportPage = 512

// eraseReport removes a sender's rows from the report.
func (s *Store) eraseReport(ctx context.Context, from string) error {
	return s.sweepReport(ctx, func(r legacyRow) bool { return r.from.String == from })
}

// expireReport removes the rows from the report that Expire would remove. When
// the next one can be due is remembered, so that the report is not read for
// nothing.
func (s *Store) expireReport(ctx context.Context, before time.Time) error {
	if due := s.reportDue.Load(); due != nil && !due.Before(before) {
		return nil
	}
	next := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	err := s.sweepReport(ctx, func(r legacyRow) bool {
		due, _ := r.check()
		if at, ok := parseLenient(r.created.String); ok && at.After(due) {
			due = at
		}
		if due.Before(before) {
			return true
		}
		if due.Before(next) {
			next = due
		}
		return false
	})
	if err == nil {
		s.reportDue.Store(&next)
	}
	return err
}

// sweepReport removes the rows of the report for which gone is true.
func (s *Store) sweepReport(ctx context.Context, gone func(legacyRow) bool) error {
	columns, err := tableColumns(ctx, s.readDB, "adoption_report")
	if err != nil || len(columns) == 0 {
		return err // nothing was adopted
	}
	for after, more := int64(0), true; more; {
		var ids []int64
		ids, after, more, err = s.readReport(ctx, after, gone)
		if err != nil {
			return err
		}
		for len(ids) > 0 {
			some := ids[:min(len(ids), removeStepRows)]
			err := s.step(ctx, func(ctx context.Context, c *sql.Conn) error {
				s.writer.wipe = true
				return securely(ctx, c, func() error { return deleteReport(ctx, c, some) })
			})
			if err != nil {
				return err
			}
			ids = ids[len(some):]
		}
	}
	return nil
}

// readReport looks at one page of the report and returns the rowids of the rows
// for which gone is true, and where the next page begins.
func (s *Store) readReport(ctx context.Context, after int64, gone func(legacyRow) bool) (ids []int64, last int64, more bool, err error) {
	// Served by the rowid.
	rows, err := s.readDB.QueryContext(ctx, `SELECT rowid, message_id, from_msisdn, to_msisdn, ts, text, created_at
		FROM adoption_report WHERE rowid > ? ORDER BY rowid LIMIT ?`, after, reportPage)
	if err != nil {
		return nil, 0, false, err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var r legacyRow
		if err := rows.Scan(&last, &r.id, &r.from, &r.to, &r.ts, &r.text, &r.created); err != nil {
			return nil, 0, false, err
		}
		if gone(r) {
			ids = append(ids, last)
		}
	}
	return ids, last, n == reportPage, rows.Err()
}

func deleteReport(ctx context.Context, c *sql.Conn, ids []int64) error {
	for _, id := range ids {
		// Served by the rowid.
		if _, err := c.ExecContext(ctx, "DELETE FROM adoption_report WHERE rowid = ?", id); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	return nil
}
