package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// Stats implements message.Store.
func (s *Store) Stats(ctx context.Context, f message.Filter) (st message.Stats, err error) {
	err = s.read(ctx, "stats", func(ctx context.Context, tx *sql.Tx) error {
		sn, err := s.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		c, err := s.choose(ctx, sn, f)
		if err != nil {
			return err
		}
		if st.Total = c.total(); st.Total == 0 {
			return nil
		}
		for order, ts := range map[message.Order]*string{message.Ascending: &st.FirstTS, message.Descending: &st.LastTS} {
			edge, err := c.list(f, order, nil, 1, 0)
			if err != nil {
				return fmt.Errorf("%s: %w", order, err)
			}
			if len(edge) == 0 {
				return fmt.Errorf("%d messages and none of them is the first %s", st.Total, order)
			}
			*ts = edge[0].TS
		}
		if f.From != "" {
			st.Senders, st.Top = 1, []message.SenderCount{{From: f.From, Count: st.Total}}
			return nil
		}
		counts, err := c.senders(f)
		if err != nil {
			return fmt.Errorf("senders: %w", err)
		}
		st.Senders = counts.len()
		st.Top, err = counts.top(ctx, tx, message.TopSenders)
		return err
	})
	if err != nil {
		return message.Stats{}, err
	}
	return st, nil
}

// senderCounts are messages by sender.
type senderCounts struct {
	byNumber []int64          // of those that have a number
	byName   map[string]int64 // of the others
}

func (n *senderCounts) len() int64 {
	senders := int64(len(n.byName))
	for _, count := range n.byNumber {
		if count > 0 {
			senders++
		}
	}
	return senders
}

// senders counts the messages chosen by sender.
func (c *choice) senders(f message.Filter) (*senderCounts, error) {
	var highest int64
	if err := c.sn.tx.QueryRowContext(c.ctx, "SELECT coalesce(max(id), 0) FROM phones").Scan(&highest); err != nil {
		return nil, err
	}
	n := &senderCounts{byNumber: make([]int64, highest+1)}
	whole := f.To == "" && f.Text == "" // then segments that are chosen whole have it counted
	for i := 0; i < len(c.chunks); {
		located := c.sn.segments[c.chunks[i].segment]
		own := c.chunks[i:]
		if k := slices.IndexFunc(own, func(e chosen) bool { return e.segment != c.chunks[i].segment }); k >= 0 {
			own = own[:k]
		}
		i += len(own)
		counted := whole && c.isWhole(located, own)
		if counted {
			err := located.Senders(c.sn.fetch(c.ctx, located.id), func(sc segment.SenderCount) { n.byNumber[sc.Sender] += int64(sc.Count) })
			if err != nil {
				return nil, err
			}
		}
		for k := range own {
			e := &own[k]
			holes := c.sn.holes[e.chunk]
			if counted && holes == nil {
				continue
			}
			columns, bits, err := c.columns(e)
			if err != nil {
				return nil, err
			}
			by := int64(1)
			if counted {
				bits, by = *holes, -1
			}
			for p := range bits.All {
				n.byNumber[columns.Sender(p)] += by
			}
		}
	}
	return n, c.addTailSenders(n)
}

// isWhole reports whether all that a segment has is chosen. A chunk of which all
// messages were removed is not among those chosen.
func (c *choice) isWhole(l located, own []chosen) bool {
	n := 0
	for i := range l.Chunks {
		if l.Chunks[i].Count > 0 {
			n++
		}
	}
	return n == len(own) && !slices.ContainsFunc(own, func(e chosen) bool { return e.bits != nil })
}

// addTailSenders adds the senders of messages that are in no segment, some of
// whom have a number and some of whom do not. Served by the primary key and the
// unique index of phones.
func (c *choice) addTailSenders(n *senderCounts) error {
	n.byName = map[string]int64{}
	ids := make([]int64, len(c.tail))
	for i := range c.tail {
		ids[i] = c.tail[i].id
	}
	return c.sn.eachOf(c.ctx, ids, "(SELECT phones.id FROM phones WHERE msisdn = from_msisdn), from_msisdn", func(rows *sql.Rows) error {
		var number sql.NullInt64
		var name string
		if err := rows.Scan(&number, &name); err != nil {
			return err
		}
		if number.Valid {
			n.byNumber[number.Int64]++
		} else {
			n.byName[name]++
		}
		return nil
	})
}

// manyTies is a number of senders of equal counts of whom the first by name are
// found sooner by going through the names.
const manyTies = 1000

// top returns the senders with most messages, equal counts by name.
func (n *senderCounts) top(ctx context.Context, tx *sql.Tx, most int) ([]message.SenderCount, error) {
	least := n.least(most)
	var list []message.SenderCount
	for name, count := range n.byName {
		if count >= least {
			list = append(list, message.SenderCount{From: name, Count: count})
		}
	}
	var above, ties []int64
	for number, count := range n.byNumber {
		switch {
		case count > least:
			above = append(above, int64(number))
		case count == least:
			ties = append(ties, int64(number))
		}
	}
	// Both served by the indexes of phones.
	const byNumber, byName = "SELECT id, msisdn FROM phones WHERE id IN (SELECT value FROM json_each(?))", "SELECT id, msisdn FROM phones ORDER BY msisdn"
	more, err := n.names(ctx, tx, len(above), func(count int64) bool { return count > least }, byNumber, idList(above))
	if err != nil {
		return nil, err
	}
	list = append(list, more...)
	tied := func(count int64) bool { return count == least }
	if len(ties) <= manyTies {
		more, err = n.names(ctx, tx, len(ties), tied, byNumber, idList(ties))
	} else {
		more, err = n.names(ctx, tx, most, tied, byName)
	}
	if err != nil {
		return nil, err
	}
	list = append(list, more...)
	slices.SortFunc(list, func(a, b message.SenderCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.From, b.From))
	})
	return list[:min(len(list), most)], nil
}

// names reads numbers and names until so many are found whose count will do.
func (n *senderCounts) names(ctx context.Context, tx *sql.Tx, enough int, will func(count int64) bool, query string, args ...any) (list []message.SenderCount, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for len(list) < enough && rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return nil, err
		}
		if will(n.byNumber[id]) {
			list = append(list, message.SenderCount{From: name, Count: n.byNumber[id]})
		}
	}
	return list, rows.Err()
}

// least is the n-th largest count, or the least if there are fewer senders.
func (n *senderCounts) least(nth int) int64 {
	var largest []int64 // falling
	add := func(count int64) {
		if count == 0 || len(largest) == nth && count <= largest[nth-1] {
			return
		}
		i, _ := slices.BinarySearchFunc(largest, count, func(a, b int64) int { return cmp.Compare(b, a) })
		largest = slices.Insert(largest, i, count)
		largest = largest[:min(len(largest), nth)]
	}
	for _, count := range n.byNumber {
		add(count)
	}
	for _, count := range n.byName {
		add(count)
	}
	return largest[len(largest)-1]
}

// Timeline implements message.Store.
func (s *Store) Timeline(ctx context.Context, f message.Filter, b message.Bucket) ([]message.BucketCount, error) {
	counts := map[int64]int64{}
	err := s.read(ctx, "timeline", func(ctx context.Context, tx *sql.Tx) error {
		sn, err := s.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		c, err := s.choose(ctx, sn, f)
		if err != nil {
			return err
		}
		return c.buckets(b, counts)
	})
	if err != nil {
		return nil, err
	}
	return message.FillBuckets(f, b, counts)
}

// buckets counts the messages chosen by the start of their bucket. It returns
// ErrTooManyBuckets as soon as there are.
func (c *choice) buckets(b message.Bucket, counts map[int64]int64) error {
	for i := range c.tail {
		counts[b.Floor(c.tail[i].unix)]++
	}
	for i := range c.chunks {
		e := &c.chunks[i]
		if len(counts) > message.MaxBuckets {
			return message.ErrTooManyBuckets
		}
		if start := b.Floor(e.min); start == b.Floor(e.max) {
			counts[start] += int64(e.count)
			continue
		}
		columns, bits, err := c.columns(e)
		if err != nil {
			return err
		}
		for p := range bits.All {
			counts[b.Floor(columns.Time(p))]++
		}
	}
	return nil
}
