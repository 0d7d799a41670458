package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
)

// rejectTimeout bounds Reject.
const rejectTimeout = 2 * time.Second

const (
	rejectSQL = `INSERT INTO rejected (at, source, status, result, reason, size, hash, request_id, times)
		SELECT at, source, status, result, reason, size, hash, request_id, times
		FROM unnest($1::timestamptz[], $2::text[], $3::int[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::int[])
			WITH ORDINALITY AS a(at, source, status, result, reason, size, hash, request_id, times, n) ORDER BY n`
	// forgetSQL removes all but the last $1. What another process is removing is
	// left to it. Served by the primary key.
	forgetSQL = `DELETE FROM rejected WHERE id IN (SELECT id FROM rejected
		WHERE id <= (SELECT id FROM rejected ORDER BY id DESC OFFSET $1 LIMIT 1) FOR UPDATE SKIP LOCKED)`
	// Served by the primary key.
	rejectedSQL = `SELECT at, source, status, result, reason, size, hash, request_id, times FROM rejected ORDER BY id DESC LIMIT $1`
)

// Reject implements message.Store. It is no work of the writer's, for which saves
// wait, and is not waited for by the standbys: a crash may undo it.
func (s *Store) Reject(ctx context.Context, rejections []message.Rejection) error {
	if s.readOnly {
		return errReadOnly
	}
	if len(rejections) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(s.timeout, rejectTimeout))
	defer cancel()
	var at []time.Time
	var status, times []int32
	var size []int64
	var source, result, reason, hash, requestID []string
	for _, r := range rejections[max(0, len(rejections)-message.MaxRejections):] {
		at, size = append(at, r.At.UTC().Truncate(time.Millisecond)), append(size, r.Size)
		status, times = append(status, int32(r.Status)), append(times, int32(r.Times)) //nolint:gosec // far from the end
		source, result, reason = append(source, r.Source), append(result, r.Result), append(reason, r.Reason)
		hash, requestID = append(hash, r.Hash), append(requestID, r.RequestID)
	}
	b := &pgx.Batch{}
	b.Queue("SELECT set_config('synchronous_commit', 'off', true)")
	b.Queue(rejectSQL, at, source, status, result, reason, size, hash, requestID, times)
	b.Queue(forgetSQL, message.MaxRejections)
	return readError(ctx, "remember refused deliveries", s.readers.SendBatch(ctx, b).Close())
}

// Rejected implements message.Store.
func (s *Store) Rejected(ctx context.Context, limit int) ([]message.Rejection, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.readers.Query(ctx, rejectedSQL, max(0, limit))
	if err != nil {
		return nil, readError(ctx, "refused deliveries", err)
	}
	rejections, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r message.Rejection, err error) {
		err = row.Scan(&r.At, &r.Source, &r.Status, &r.Result, &r.Reason, &r.Size, &r.Hash, &r.RequestID, &r.Times)
		r.At = r.At.UTC()
		return r, err
	})
	return rejections, readError(ctx, "refused deliveries", err)
}
