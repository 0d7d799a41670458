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
		counts, err := c.senders()
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

// add counts messages of the sender with a number. One that has lost it has no
// message that is not a hole.
func (n *senderCounts) add(number uint32, by int64) {
	if int64(number) < int64(len(n.byNumber)) {
		n.byNumber[number] += by
	}
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
func (c *choice) senders() (*senderCounts, error) {
	var highest int64
	if err := c.sn.tx.QueryRowContext(c.ctx, "SELECT coalesce(max(id), 0) FROM phones").Scan(&highest); err != nil {
		return nil, err
	}
	n := &senderCounts{byNumber: make([]int64, highest+1)}
	err := c.bySegment(func(l located, own []chosen, whole bool) error {
		if whole {
			err := l.Senders(c.sn.fetch(c.ctx, l.id), func(sc segment.SenderCount) { n.add(sc.Sender, int64(sc.Count)) })
			if err != nil {
				return err
			}
		}
		return c.adjust(own, whole, func(columns *segment.Columns, position int, by int64) {
			n.add(columns.Sender(position), by)
		})
	})
	if err != nil {
		return nil, err
	}
	return n, c.addTailSenders(n)
}

// adjust completes a count of chunks of one segment by their columns. If the
// segment's own count was taken, f is called with -1 for what was removed since,
// else with 1 for every message chosen.
func (c *choice) adjust(own []chosen, counted bool, f func(columns *segment.Columns, position int, by int64)) error {
	list := make([]*chosen, 0, len(own))
	for i := range own {
		if !counted || c.sn.holes[own[i].chunk] != nil {
			list = append(list, &own[i])
		}
	}
	return c.eachColumns(list, func(e *chosen, columns *segment.Columns, bits segment.Bits) error {
		by := int64(1)
		if counted {
			bits, by = *c.sn.holes[e.chunk], -1
		}
		for position := range bits.All {
			f(columns, position, by)
		}
		return nil
	})
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
	return c.bySegment(func(l located, own []chosen, whole bool) error {
		if len(counts) > message.MaxBuckets {
			return message.ErrTooManyBuckets
		}
		counted := whole && b.Seconds()%segment.SecondsPerHour == 0
		rest := own
		if counted {
			err := l.Hours(c.sn.fetch(c.ctx, l.id), func(h segment.HourCount) { counts[b.Floor(h.Start)] += int64(h.Count) })
			if err != nil {
				return err
			}
		} else {
			rest = nil
			for i := range own {
				if e := &own[i]; b.Floor(e.min) == b.Floor(e.max) {
					counts[b.Floor(e.min)] += int64(e.count)
				} else {
					rest = append(rest, *e)
				}
			}
		}
		return c.adjust(rest, counted, func(columns *segment.Columns, position int, by int64) {
			start := b.Floor(columns.Time(position))
			if counts[start] += by; counts[start] == 0 {
				delete(counts, start) // it is no end of the range then
			}
		})
	})
}
