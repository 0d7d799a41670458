package sqlite

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"lyftr/internal/message"
)

// few is how many messages are read and sorted sooner than chosen by time.
const few = 256

// most is how many messages that share their seconds with a page are read for
// it; for more, the list is walked in its order.
const most = 20_000

// list returns up to limit of the messages chosen, behind a position or behind
// so many others. There are more of them than offset.
func (c *choice) list(f message.Filter, o message.Order, after *message.Position, limit int, offset int64) ([]message.Message, error) {
	if f.OnlyTimes() && (after != nil || offset <= fewOffset) {
		return c.sn.listByTime(c.ctx, f, o, after, limit, offset)
	}
	first, last, offset, err := c.seconds(o, after, limit, offset)
	if err != nil {
		return nil, err
	}
	before, err := c.before(first)
	if err != nil {
		return nil, err
	}
	until, err := c.before(last + 1)
	if err != nil {
		return nil, err
	}
	if f.OnlyTimes() || until-before > most {
		// The index knows the order within the seconds.
		narrow := f
		narrow.Since = later(f.Since, time.Unix(first, 0))
		if next := time.Unix(last+1, 0); f.Until.IsZero() || next.Before(f.Until) {
			narrow.Until = next
		}
		return c.sn.listByTime(c.ctx, narrow, o, after, limit, offset)
	}
	ids, err := c.ids(first, last)
	if err != nil {
		return nil, err
	}
	list, err := c.sn.messages(c.ctx, ids, o)
	if err != nil {
		return nil, err
	}
	if after != nil {
		list = slices.DeleteFunc(list, func(m message.Message) bool {
			order := cmp.Or(m.At.Compare(after.At), strings.Compare(m.ID, after.ID), strings.Compare(m.Source, after.Source))
			return order == 0 || (order < 0) == (o != message.Descending)
		})
	}
	list = list[min(int64(len(list)), offset):]
	return list[:min(len(list), limit)], nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// seconds returns the first and the last whole second of the messages that a
// page needs, and how many of them come before the page.
func (c *choice) seconds(o message.Order, after *message.Position, limit int, offset int64) (first, last, skip int64, err error) {
	total := c.total()
	first, last = c.span()
	if total <= few {
		return first, last, offset, nil
	}
	if o == message.Descending {
		return c.secondsDown(first, total, after, limit, offset)
	}
	var before int64 // how many come before the first second
	need := int64(limit)
	if after != nil {
		if first = after.At.Unix(); first > last {
			return first, last, 0, nil
		}
		if before, err = c.before(first); err != nil {
			return 0, 0, 0, err
		}
		through, err := c.before(first + 1)
		if err != nil {
			return 0, 0, 0, err
		}
		need += through - before // those of the cursor's second may be behind us
	} else {
		if first, before, err = c.atRank(offset); err != nil {
			return 0, 0, 0, err
		}
		skip = offset - before
		need += skip
	}
	if before+need < total {
		if last, _, err = c.atRank(before + need - 1); err != nil {
			return 0, 0, 0, err
		}
	}
	return first, last, skip, nil
}

// secondsDown is seconds for the descending order, in which a page begins with
// its last second.
func (c *choice) secondsDown(least, total int64, after *message.Position, limit int, offset int64) (first, last, skip int64, err error) {
	var through int64 // how many come up to the last second
	first = least
	need := int64(limit)
	if after != nil {
		if last = after.At.Unix(); last < first {
			return first, last, 0, nil
		}
		if through, err = c.before(last + 1); err != nil {
			return 0, 0, 0, err
		}
		before, err := c.before(last)
		if err != nil {
			return 0, 0, 0, err
		}
		need += through - before
	} else {
		if last, _, err = c.atRank(total - 1 - offset); err != nil {
			return 0, 0, 0, err
		}
		if through, err = c.before(last + 1); err != nil {
			return 0, 0, 0, err
		}
		skip = offset - (total - through)
		need += skip
	}
	if need < through {
		if first, _, err = c.atRank(through - need); err != nil {
			return 0, 0, 0, err
		}
	}
	return first, last, skip, nil
}
