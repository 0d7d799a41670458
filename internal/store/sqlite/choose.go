package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// A choice is the messages that match a filter, at one moment: those of whole
// chunks by the segments, those behind them one by one.
type choice struct {
	ctx    context.Context
	sn     *snapshot
	found  *found
	source *sourced
	chunks []chosen
	tail   []tailRow // by time
}

// chosen is what a choice has of one chunk.
type chosen struct {
	chunk    int64
	segment  int           // index in snapshot.segments
	bits     *segment.Bits // nil for all that there are
	count    int
	min, max int64 // the times of the whole chunk, whole Unix seconds
	sorted   []int64
}

// tailRow is a message that is in no segment yet.
type tailRow struct {
	unix, id int64
}

// beginning is the first whole second, and end the last one, of a filter's
// times. A message within the second itself may be on either side if the filter
// has a fraction.
func beginning(f message.Filter) int64 {
	if f.Since.IsZero() {
		return math.MinInt64
	}
	return f.Since.Unix()
}

func end(f message.Filter) int64 {
	switch {
	case f.Until.IsZero():
		return math.MaxInt64
	case f.Until.Nanosecond() > 0:
		return f.Until.Unix()
	}
	return f.Until.Unix() - 1
}

// inDoubt says whether a time in whole seconds does not tell if the message
// matches.
func inDoubt(f message.Filter, unix int64) bool {
	return !f.Since.IsZero() && f.Since.Nanosecond() > 0 && unix == f.Since.Unix() ||
		!f.Until.IsZero() && f.Until.Nanosecond() > 0 && unix == f.Until.Unix()
}

// choose finds all messages that match.
func (s *Store) choose(ctx context.Context, sn *snapshot, f message.Filter) (*choice, error) {
	c := &choice{ctx: ctx, sn: sn, found: &s.found}
	condition, nothing, err := sn.condition(ctx, f)
	if err != nil {
		return nil, err
	}
	if !nothing {
		if c.source, err = sn.sourced(ctx, f); err != nil {
			return nil, err
		}
		chunks := 0
		for i := range sn.segments {
			chunks += len(sn.segments[i].Chunks)
		}
		c.chunks = make([]chosen, 0, chunks)
		for i := range sn.segments {
			if err := c.addSegment(i, f, condition); err != nil {
				return nil, err
			}
		}
	}
	if err := c.addTail(f); err != nil {
		return nil, err
	}
	return c, nil
}

// addSegment adds what matches in one segment.
func (c *choice) addSegment(i int, f message.Filter, condition *segment.Condition) error {
	l := c.sn.segments[i]
	first, last := beginning(f), end(f)
	inTime := func(n segment.Chunk) bool { return n.Count > 0 && n.Max >= first && n.Min <= last }
	if !slices.ContainsFunc(l.Chunks, inTime) || c.source.none(l) {
		return nil
	}
	fetch := c.sn.fetch(c.ctx, l.id)
	var got answer
	if condition != nil {
		var err error
		if got, err = c.ask(l, fetch, f, condition); err != nil {
			return err
		}
	}
	begin := len(c.chunks)
	var doubtful []int64
	for k, n := range l.Chunks {
		if !inTime(n) {
			continue
		}
		e := chosen{chunk: l.First + int64(k), segment: i, count: n.Count, min: n.Min, max: n.Max}
		holes := c.sn.holes[e.chunk]
		whole := n.Min >= first && n.Max <= last && !inDoubt(f, n.Min) && !inDoubt(f, n.Max)
		yes, ask := got.of(k)
		if condition != nil && yes == (segment.Bits{}) && ask == (segment.Bits{}) {
			continue
		}
		own, err := c.source.of(c.ctx, e.chunk)
		if err != nil {
			return err
		}
		if !own.All && own.Bits == nil {
			continue
		}
		if condition == nil && whole && own.All {
			if holes != nil {
				e.count -= holes.Len()
			}
			if e.count > 0 {
				c.chunks = append(c.chunks, e)
			}
			continue
		}
		if set := got.sure; whole && holes == nil && own.All && set != nil && set[k] != nil && (got.maybe == nil || got.maybe[k] == nil) {
			// The set is nobody else's: no need to copy it.
			if e.bits, e.count = set[k], set[k].Len(); e.count > 0 {
				c.chunks = append(c.chunks, e)
			}
			continue
		}
		// What was removed meanwhile may be in one of the two: of equal numbers of
		// messages both have the same, since whatever is missing is missing for ever.
		if condition == nil && whole && own.Count == n.Count {
			yes = *own.Bits
		} else if condition == nil || !whole {
			columns, err := l.Columns(fetch, k)
			if err != nil {
				return err
			}
			if condition == nil {
				yes = columns.Present
			}
			narrow(f, &columns, &yes, &ask)
		}
		if !own.All {
			yes.And(own.Bits)
			ask.And(own.Bits)
		}
		if holes != nil {
			yes.AndNot(holes)
			ask.AndNot(holes)
		}
		for p := range ask.All {
			doubtful = append(doubtful, segment.FirstID(e.chunk)+int64(p))
		}
		if e.bits, e.count = &yes, yes.Len(); e.count > 0 || ask != (segment.Bits{}) {
			c.chunks = append(c.chunks, e)
		}
	}
	if err := c.verify(f, doubtful); err != nil {
		return err
	}
	if isSearch(f) && !got.known {
		set := make(segment.Set, len(l.Chunks))
		for _, e := range c.chunks[begin:] {
			set[e.chunk-l.First] = e.bits
		}
		c.found.put(foundKey{l.id, message.Fold(f.Text)}, set)
	}
	return nil
}

// answer is what a segment finds: the messages that match, and those of which
// only their text can tell.
type answer struct {
	sure, maybe segment.Set
	known       bool // it was found before
}

// of is the answer for one chunk, by its number within the segment.
func (a *answer) of(chunk int) (yes, ask segment.Bits) {
	if a.sure != nil && a.sure[chunk] != nil {
		yes = *a.sure[chunk]
	}
	if a.maybe != nil && a.maybe[chunk] != nil {
		ask = *a.maybe[chunk]
	}
	return yes, ask
}

func (c *choice) ask(l located, fetch segment.Fetch, f message.Filter, condition *segment.Condition) (a answer, err error) {
	if f.Text == "" || f.From != "" || f.To != "" {
		a.sure, a.maybe, err = l.Find(fetch, condition)
		return a, err
	}
	key := foundKey{l.id, message.Fold(f.Text)}
	if a.sure, a.known, err = c.found.get(key, len(l.Chunks)); a.known || err != nil {
		return a, err
	}
	if a.maybe = c.source.few(l); a.maybe != nil {
		return a, nil
	}
	a.sure, a.maybe, err = l.Find(fetch, condition)
	if err == nil && a.maybe.Empty() {
		c.found.put(key, a.sure)
		a.known = true
	}
	return a, err
}

// narrow leaves the messages of a chunk that are within the filter's times.
// Those of which whole seconds do not tell move from yes to ask.
func narrow(f message.Filter, columns *segment.Columns, yes, ask *segment.Bits) {
	first, last := beginning(f), end(f)
	all := *yes
	all.Or(ask)
	var out, doubt segment.Bits
	for p := range all.All {
		switch unix := columns.Time(p); {
		case unix < first || unix > last:
			out.Add(p)
		case inDoubt(f, unix):
			doubt.Add(p)
		}
	}
	yes.AndNot(&out)
	yes.AndNot(&doubt)
	ask.AndNot(&out)
	ask.Or(&doubt)
}

// verify looks at messages of which the segments do not tell whether they
// match, and adds those that do. The ids are in order, of chunks that were just
// added.
func (c *choice) verify(f message.Filter, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	needle := message.Fold(f.Text)
	at, _ := slices.BinarySearchFunc(c.chunks, segment.ChunkOf(ids[0]), func(e chosen, chunk int64) int { return cmp.Compare(e.chunk, chunk) })
	from := at
	err := c.sn.eachOf(c.ctx, ids, "messages.id, text, ts_unix, ts_nanos", func(rows *sql.Rows) error {
		var id, unix, nanos int64
		var text sql.RawBytes
		if err := rows.Scan(&id, &text, &unix, &nanos); err != nil {
			return err
		}
		if needle != "" && (text == nil || !message.ContainsFold(string(text), needle)) || !within(f, time.Unix(unix, nanos)) {
			return nil
		}
		for c.chunks[at].chunk < segment.ChunkOf(id) {
			at++
		}
		c.chunks[at].bits.Add(int(id % segment.ChunkSize))
		c.chunks[at].count++
		return nil
	})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	// Only those of the segment at hand can have none.
	c.chunks = append(c.chunks[:from], slices.DeleteFunc(c.chunks[from:], func(e chosen) bool { return e.count == 0 })...)
	return nil
}

func within(f message.Filter, at time.Time) bool {
	return (f.Since.IsZero() || !at.Before(f.Since)) && (f.Until.IsZero() || at.Before(f.Until))
}

// idsAtOnce is how many messages one statement reads.
const idsAtOnce = 500

// eachOf reads columns of the messages with these ids, which are in order, and
// calls f with each row, in that order too. Served by the primary key.
func (sn *snapshot) eachOf(ctx context.Context, ids []int64, columns string, f func(*sql.Rows) error) error {
	st, err := sn.tx.PrepareContext(ctx, "SELECT "+columns+" FROM json_each(?) AS wanted CROSS JOIN messages ON messages.id = wanted.value")
	if err != nil {
		return err
	}
	defer st.Close()
	for some := range slices.Chunk(ids, idsAtOnce) {
		if err := eachRow(ctx, st, f, idList(some)); err != nil {
			return err
		}
	}
	return nil
}

// idList writes ids as a JSON array.
func idList(ids []int64) string {
	b := append(make([]byte, 0, 10*len(ids)), '[')
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, id, 10)
	}
	return string(append(b, ']'))
}

func eachRow(ctx context.Context, st *sql.Stmt, f func(*sql.Rows) error, args ...any) error {
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return eachRowOf(rows, f)
}

// eachRowOf calls f with each row, and closes them.
func eachRowOf(rows *sql.Rows, f func(*sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// addTail adds the matching messages behind the segments. Served by the primary
// key: NOT INDEXED leaves it and nothing else.
func (c *choice) addTail(f message.Filter) error {
	m := matching(f)
	m.and("id >= ?", c.sn.covered())
	rows, err := c.sn.tx.QueryContext(c.ctx, "SELECT id, ts_unix FROM messages NOT INDEXED"+m.where(), m.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t tailRow
		if err := rows.Scan(&t.id, &t.unix); err != nil {
			return err
		}
		c.tail = append(c.tail, t)
	}
	slices.SortFunc(c.tail, func(a, b tailRow) int { return cmp.Or(cmp.Compare(a.unix, b.unix), cmp.Compare(a.id, b.id)) })
	return rows.Err()
}

// total is the number of messages chosen.
func (c *choice) total() int64 {
	n := int64(len(c.tail))
	for i := range c.chunks {
		n += int64(c.chunks[i].count)
	}
	return n
}

// messages reads the messages with these ids, in list order.
func (sn *snapshot) messages(ctx context.Context, ids []int64, o message.Order) (list []message.Message, err error) {
	list = make([]message.Message, 0, len(ids))
	err = sn.eachOf(ctx, ids, messageColumns, func(rows *sql.Rows) error {
		m, err := scanMessage(rows)
		list = append(list, m)
		return err
	})
	slices.SortFunc(list, func(a, b message.Message) int {
		order := cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID), strings.Compare(a.Source, b.Source))
		if o == message.Descending {
			return -order
		}
		return order
	})
	return list, err
}
