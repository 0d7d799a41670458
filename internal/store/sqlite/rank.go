package sqlite

import (
	"cmp"
	"database/sql"
	"fmt"
	"math"
	"slices"

	"lyftr/internal/store/segment"
)

// columns reads the columns of a chunk, and which of its messages are chosen.
func (c *choice) columns(e *chosen) (columns segment.Columns, bits segment.Bits, err error) {
	located := c.sn.segments[e.segment]
	columns, err = located.Columns(c.sn.fetch(c.ctx, located.id), int(e.chunk-located.First))
	return columns, c.bitsOf(e, &columns), err
}

func (c *choice) bitsOf(e *chosen, columns *segment.Columns) segment.Bits {
	if e.bits != nil {
		return *e.bits
	}
	bits := columns.Present
	if holes := c.sn.holes[e.chunk]; holes != nil {
		bits.AndNot(holes)
	}
	return bits
}

// widestGap is how many chunks are read although nobody wants them, since going
// on costs less than beginning anew.
const widestGap = 4

// eachColumns reads the columns of chunks of one segment in order, and calls f
// with each and with which of its messages are chosen. Served by the primary key.
func (c *choice) eachColumns(list []*chosen, f func(e *chosen, columns *segment.Columns, bits segment.Bits) error) error {
	for len(list) > 0 {
		run := 1
		for run < len(list) && list[run].chunk-list[run-1].chunk <= widestGap {
			run++
		}
		located := c.sn.segments[list[0].segment]
		part := func(e *chosen) int64 { return partID(located.id, located.ColumnsPart(int(e.chunk-located.First))) }
		own := list[:run]
		err := eachRow(c.ctx, c.sn.partRange, func(rows *sql.Rows) error {
			var id int64
			var data sql.RawBytes
			if err := rows.Scan(&id, &data); err != nil || len(own) == 0 || id != part(own[0]) {
				return err
			}
			columns, err := segment.DecodeColumns(data)
			if err != nil {
				return err
			}
			e := own[0]
			own = own[1:]
			return f(e, &columns, c.bitsOf(e, &columns))
		}, part(own[0]), part(own[run-1]))
		if err != nil {
			return err
		}
		if len(own) > 0 {
			return fmt.Errorf("%w: segment %d has no columns for chunk %d", segment.ErrDamaged, located.id, own[0].chunk)
		}
		list = list[run:]
	}
	return nil
}

// bySegment divides the chunks by their segments. whole says that all there is
// in the segment is chosen.
func (c *choice) bySegment(yield func(l located, own []chosen, whole bool) error) error {
	for i := 0; i < len(c.chunks); {
		end := i + 1
		whole := c.chunks[i].bits == nil
		for end < len(c.chunks) && c.chunks[end].segment == c.chunks[i].segment {
			whole = whole && c.chunks[end].bits == nil
			end++
		}
		located := c.sn.segments[c.chunks[i].segment]
		if whole {
			// A chunk of which everything was removed is not among those chosen.
			n := 0
			for k := range located.Chunks {
				if located.Chunks[k].Count > 0 {
					n++
				}
			}
			whole = n == end-i
		}
		if err := yield(located, c.chunks[i:end], whole); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// byTime returns the messages of a chunk by time, each as the seconds since
// e.min and its position in one number.
func (c *choice) byTime(e *chosen) ([]int64, error) {
	if e.sorted != nil {
		return e.sorted, nil
	}
	columns, bits, err := c.columns(e)
	if err != nil {
		return nil, err
	}
	e.sorted = make([]int64, 0, e.count)
	for p := range bits.All {
		e.sorted = append(e.sorted, (columns.Time(p)-e.min)*segment.ChunkSize+int64(p))
	}
	slices.Sort(e.sorted)
	return e.sorted, nil
}

// before counts the messages chosen whose time is before a whole second.
func (c *choice) before(unix int64) (int64, error) {
	i, _ := slices.BinarySearchFunc(c.tail, unix, func(t tailRow, unix int64) int { return cmp.Compare(t.unix, unix) })
	n := int64(i)
	for k := range c.chunks {
		e := &c.chunks[k]
		switch {
		case e.max < unix:
			n += int64(e.count)
		case e.min < unix:
			sorted, err := c.byTime(e)
			if err != nil {
				return 0, err
			}
			i, _ := slices.BinarySearch(sorted, (unix-e.min)*segment.ChunkSize)
			n += int64(i)
		}
	}
	return n, nil
}

// ids lists the messages chosen whose time is within whole seconds, both
// included.
func (c *choice) ids(first, last int64) (ids []int64, err error) {
	for _, t := range c.tail {
		if t.unix >= first && t.unix <= last {
			ids = append(ids, t.id)
		}
	}
	for k := range c.chunks {
		e := &c.chunks[k]
		switch {
		case e.max < first || e.min > last:
		case e.min >= first && e.max <= last && e.bits != nil:
			for p := range e.bits.All {
				ids = append(ids, segment.FirstID(e.chunk)+int64(p))
			}
		default:
			sorted, err := c.byTime(e)
			if err != nil {
				return nil, err
			}
			for _, v := range sorted {
				if unix := e.min + v/segment.ChunkSize; unix >= first && unix <= last {
					ids = append(ids, segment.FirstID(e.chunk)+v%segment.ChunkSize)
				}
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// allIDs lists all messages chosen, in order of their ids.
func (c *choice) allIDs() ([]int64, error) {
	if c.total() == 0 {
		return nil, nil
	}
	return c.ids(c.span())
}

// span is the least and the greatest second that a message chosen may have.
func (c *choice) span() (first, last int64) {
	first, last = math.MaxInt64, math.MinInt64
	if len(c.tail) > 0 {
		first, last = c.tail[0].unix, c.tail[len(c.tail)-1].unix
	}
	for i := range c.chunks {
		first, last = min(first, c.chunks[i].min), max(last, c.chunks[i].max)
	}
	return first, last
}

// atRank is the second of the message that so many others come before, in order
// of time, and how many come before that second. There are more messages than
// rank.
func (c *choice) atRank(rank int64) (unix, before int64, err error) {
	low, high := c.span() // the answer is within
	for low < high {
		middle := low + (high-low+1)/2
		n, err := c.before(middle)
		if err != nil {
			return 0, 0, err
		}
		if n <= rank {
			low, before = middle, n
		} else {
			high = middle - 1
		}
	}
	return low, before, nil
}
