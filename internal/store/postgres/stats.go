package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
)

// Stats implements message.Store.
func (s *Store) Stats(ctx context.Context, f message.Filter) (st message.Stats, err error) {
	var first, last []message.Message
	edges := func(b *pgx.Batch) {
		page(b, &first, f, message.Ascending, nil, 1, 0)
		page(b, &last, f, message.Descending, nil, 1, 0)
	}
	if summable(f) && timesOf(f) == (message.Filter{}) {
		err = s.readSummed(ctx, "stats", func(b *pgx.Batch, summed int64) {
			c := &condition{}
			tail := c.arg(summed)
			less := ""
			if f.Source != "" {
				less = " UNION ALL SELECT from_msisdn, -count(*) FROM messages" + others(f).where() + " GROUP BY from_msisdn"
			}
			// Served by the primary keys.
			topSenders(b, &st, c, `SELECT from_msisdn, sum(messages)::bigint AS messages FROM (
				SELECT from_msisdn, messages FROM senders
				UNION ALL SELECT from_msisdn, count(*) FROM messages WHERE tx >= `+tail+` GROUP BY from_msisdn`+less+`)
				AS parts GROUP BY from_msisdn HAVING sum(messages) > 0`)
			edges(b)
		})
	} else {
		b := newRead()
		c := matching(f)
		topSenders(b, &st, c, `SELECT from_msisdn, count(*) AS messages FROM messages`+c.where()+` GROUP BY from_msisdn`)
		edges(b)
		err = s.read(ctx, "stats", b)
	}
	if err != nil {
		return message.Stats{}, err
	}
	if len(first) > 0 {
		st.FirstTS, st.LastTS = first[0].TS, last[0].TS
	}
	return st, nil
}

// topSenders queues what a query for messages by sender comes to.
func topSenders(b *pgx.Batch, st *message.Stats, c *condition, bySender string) {
	b.Queue(`WITH senders AS MATERIALIZED (`+bySender+`)
		SELECT (SELECT sum(messages)::bigint FROM senders), (SELECT count(*) FROM senders), from_msisdn, messages
		FROM senders ORDER BY messages DESC, from_msisdn LIMIT `+c.arg(message.TopSenders), c.args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var top message.SenderCount
			if err := rows.Scan(&st.Total, &st.Senders, &top.From, &top.Count); err != nil {
				return err
			}
			st.Top = append(st.Top, top)
		}
		return rows.Err()
	})
}

// Timeline implements message.Store.
func (s *Store) Timeline(ctx context.Context, f message.Filter, bucket message.Bucket) ([]message.BucketCount, error) {
	t := &timeline{bucket: bucket, most: message.MaxBuckets + 1, counts: map[int64]int64{}}
	if summable(f) {
		if err := s.checkSpan(ctx, f, bucket); err != nil {
			return nil, err
		}
	}
	first, end, rest, ok := hours(f)
	var err error
	if summable(f) && bucket >= message.Hour && ok {
		err = s.readSummed(ctx, "timeline", func(b *pgx.Batch, summed int64) {
			if f.Source != "" {
				t.most = nil // most of them may come to 0
				t.messages(b, others(f), -1)
			}
			c := &condition{}
			t.queue(b, c, "SELECT hour * 3600 - 62135596800 AS ts_unix, messages FROM hours WHERE hour >= "+c.arg(first)+" AND hour < "+c.arg(end))
			t.messages(b, inHours(first, end, summed), 1)
			for _, f := range rest {
				t.messages(b, matching(f), 1)
			}
		})
	} else {
		b := newRead()
		t.messages(b, matching(f), 1)
		err = s.read(ctx, "timeline", b)
	}
	if err != nil {
		return nil, err
	}
	if len(t.counts) > message.MaxBuckets {
		return nil, message.ErrTooManyBuckets
	}
	return message.FillBuckets(f, bucket, t.counts)
}

// checkSpan finds a timeline that would be too long before anything is counted.
func (s *Store) checkSpan(ctx context.Context, f message.Filter, bucket message.Bucket) error {
	var first, last []message.Message
	b := newRead()
	page(b, &first, f, message.Ascending, nil, 1, 0)
	page(b, &last, f, message.Descending, nil, 1, 0)
	if err := s.read(ctx, "timeline", b); err != nil || len(first) == 0 || len(last) == 0 {
		return err
	}
	_, err := message.FillBuckets(f, bucket, map[int64]int64{bucket.Floor(first[0].At.Unix()): 1, bucket.Floor(last[0].At.Unix()): 1})
	return err
}

// timeline gathers counts by bucket.
type timeline struct {
	bucket message.Bucket
	most   any // of the buckets that a query returns, nil for all
	counts map[int64]int64
}

// messages queues the messages of a condition, of which each counts so much.
func (t *timeline) messages(b *pgx.Batch, c *condition, each int) {
	t.queue(b, c, "SELECT ts_unix, "+strconv.Itoa(each)+" AS messages FROM messages"+c.where())
}

// queue queues what a query for messages by ts_unix comes to.
func (t *timeline) queue(b *pgx.Batch, c *condition, counted string) {
	width := c.arg(t.bucket.Seconds())
	// Buckets before 1970 begin before their messages too.
	b.Queue(`SELECT ts_unix - ((ts_unix % `+width+`) + `+width+`) % `+width+` AS start, sum(messages)::bigint
		FROM (`+counted+`) AS counted GROUP BY start LIMIT `+c.arg(t.most), c.args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var start, n int64
			if err := rows.Scan(&start, &n); err != nil {
				return err
			}
			if t.counts[start] += n; t.counts[start] == 0 {
				delete(t.counts, start)
			}
		}
		return rows.Err()
	})
}
