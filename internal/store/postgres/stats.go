package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
)

// Stats implements message.Store.
func (s *Store) Stats(ctx context.Context, f message.Filter) (st message.Stats, err error) {
	b := newRead()
	c := matching(f)
	// Without a filter served by messages_by_sender alone.
	b.Queue(`WITH senders AS (SELECT from_msisdn, count(*) AS messages FROM messages`+c.where()+` GROUP BY from_msisdn)
		SELECT (SELECT sum(messages)::bigint FROM senders), (SELECT count(*) FROM senders), from_msisdn, messages
		FROM senders ORDER BY messages DESC, from_msisdn LIMIT `+c.arg(message.TopSenders), c.args...).Query(func(rows pgx.Rows) error {
		st.Top = nil
		for rows.Next() {
			var top message.SenderCount
			if err := rows.Scan(&st.Total, &st.Senders, &top.From, &top.Count); err != nil {
				return err
			}
			st.Top = append(st.Top, top)
		}
		return rows.Err()
	})
	var first, last []message.Message
	page(b, &first, f, message.Ascending, nil, 1, 0)
	page(b, &last, f, message.Descending, nil, 1, 0)
	if err := s.read(ctx, "stats", b); err != nil {
		return message.Stats{}, err
	}
	if len(first) > 0 {
		st.FirstTS, st.LastTS = first[0].TS, last[0].TS
	}
	return st, nil
}

// Timeline implements message.Store.
func (s *Store) Timeline(ctx context.Context, f message.Filter, bucket message.Bucket) ([]message.BucketCount, error) {
	counts := map[int64]int64{}
	b := newRead()
	c := matching(f)
	width := c.arg(bucket.Seconds())
	limit := c.arg(message.MaxBuckets + 1)
	// Buckets before 1970 begin before their messages too.
	b.Queue(`SELECT ts_unix - ((ts_unix % `+width+`) + `+width+`) % `+width+` AS start, count(*)
		FROM messages`+c.where()+` GROUP BY start LIMIT `+limit, c.args...).Query(func(rows pgx.Rows) error {
		clear(counts)
		for rows.Next() {
			var start, n int64
			if err := rows.Scan(&start, &n); err != nil {
				return err
			}
			counts[start] = n
		}
		return rows.Err()
	})
	if err := s.read(ctx, "timeline", b); err != nil {
		return nil, err
	}
	if len(counts) > message.MaxBuckets {
		return nil, message.ErrTooManyBuckets
	}
	return message.FillBuckets(f, bucket, counts)
}
