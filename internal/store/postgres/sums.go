package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lyftr/internal/message"
)

// The messages of the transactions below counters.summed are counted by hour and
// by sender, in hours and senders; the others, which are few, are counted when
// somebody asks. So a save pays nothing for it, replicas do not wait for each
// other's counts, and an answer is exact all the same: the sums and how far they
// go are read in one snapshot.

const (
	// sumEvery is how often new messages are summed up while they arrive.
	sumEvery = time.Second
	// sumStep is about how many messages one transaction sums up: removals wait
	// for it.
	sumStep = 20_000
	// sumTimeout bounds a step: a server that hangs may have been replaced.
	sumTimeout = 10 * time.Second
)

// sumLock is held by transactions that change the sums; it is taken before any
// other lock.
const sumLock = int64(0x6c7966747273) // "lyftrs"

const (
	// hourSQL is the hour of a message, counted from the year 1, in which the
	// first possible ts is: it is never negative.
	hourSQL = `(ts_unix + 62135596800) / 3600`
	// yearOne is the start of the year 1 in Unix time, hour an hour, in seconds.
	yearOne = -62135596800
	hour    = 3600
	// allHours is above every hour.
	allHours = int64(1) << 40
)

const (
	// summedSQL, and the row that it reads, is served by the primary key.
	summedSQL = `SELECT value FROM counters WHERE name = 'summed'`
	// sumEndSQL finds where a step ends: below the horizon $1, and behind $2
	// messages and the rest of the last one's transaction. Served by the primary
	// key.
	sumEndSQL = `SELECT least($1::bigint, 1 + coalesce((SELECT tx FROM messages WHERE tx >= (` + summedSQL + `)
		ORDER BY tx, n OFFSET $2 LIMIT 1), $1::bigint - 1))`
	// Served by the primary keys, as the next two.
	sumHoursSQL = `INSERT INTO hours (hour, messages) SELECT ` + hourSQL + ` AS hour, count(*) FROM messages
		WHERE tx >= $1 AND tx < $2 GROUP BY 1
		ON CONFLICT (hour) DO UPDATE SET messages = hours.messages + excluded.messages`
	sumSendersSQL = `INSERT INTO senders (from_msisdn, messages) SELECT from_msisdn, count(*) FROM messages
		WHERE tx >= $1 AND tx < $2 GROUP BY 1
		ON CONFLICT (from_msisdn) DO UPDATE SET messages = senders.messages + excluded.messages`
	setSummedSQL = `UPDATE counters SET value = $1 WHERE name = 'summed'`
)

// sum sums up what was stored, now and then.
func (w *watcher) sum(ctx context.Context) {
	for {
		more, err := w.sumOnce(ctx, sumStep)
		if err != nil && ctx.Err() == nil {
			w.store.log.Debug("messages were not summed up", "error", err.Error())
			poke(w.unsummed)
		}
		if more && err == nil {
			continue
		}
		if !sleep(ctx, sumEvery) {
			return
		}
		select {
		case <-w.unsummed:
		case <-ctx.Done():
			return
		}
	}
}

// sumOnce is one step, of about so many messages. It reports whether there was
// more than one step's work.
func (w *watcher) sumOnce(ctx context.Context, step int) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sumTimeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, w.store.readers, func(tx pgx.Tx) error {
		var locked bool
		var from, end, horizon int64
		b := &pgx.Batch{}
		// A crash may undo it, all of it at once.
		b.Queue("SET LOCAL synchronous_commit = off")
		b.Queue("SELECT pg_try_advisory_xact_lock($1)", sumLock).QueryRow(func(row pgx.Row) error { return row.Scan(&locked) })
		b.Queue(horizonSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&horizon) })
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		if !locked {
			poke(w.unsummed) // somebody else does it, who may not have seen everything
			return nil
		}
		horizon += w.store.txOffset
		b = &pgx.Batch{}
		b.Queue(summedSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&from) })
		b.Queue(sumEndSQL, horizon, step).QueryRow(func(row pgx.Row) error { return row.Scan(&end) })
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		if end <= from {
			return nil
		}
		more = end < horizon
		b = &pgx.Batch{}
		b.Queue(sumHoursSQL, from, end)
		b.Queue(sumSendersSQL, from, end)
		b.Queue(setSummedSQL, end)
		return tx.SendBatch(ctx, b).Close()
	})
	return more && err == nil, err
}

// summable reports whether a filter chooses by times alone, if at all: then the
// sums may answer. So they do for native messages, less those that are not.
func summable(f message.Filter) bool {
	if f.Source == message.SourceNative {
		f.Source = ""
	}
	return f.OnlyTimes()
}

// timesOf is what a filter says of times.
func timesOf(f message.Filter) message.Filter {
	return message.Filter{Since: f.Since, Until: f.Until}
}

// others is the condition of what is within the times of a filter of native
// messages, and is not native. Served by messages_by_source.
func others(f message.Filter) *condition {
	c := matching(timesOf(f))
	c.and(notNative)
	return c
}

// readSummed is read for queries that have to know how far the sums go.
func (s *Store) readSummed(ctx context.Context, what string, queue func(b *pgx.Batch, summed int64)) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.readers.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		var summed int64
		b := newRead()
		b.Queue(summedSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&summed) })
		if err := conn.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		b = &pgx.Batch{}
		queue(b, summed)
		b.Queue("COMMIT")
		return conn.SendBatch(ctx, b).Close()
	})
	return readError(ctx, what, err)
}

// hours returns the whole hours of a filter of times, from first to before end,
// and the filters of what is in none: before and behind them. Without a whole
// hour ok is false.
func hours(f message.Filter) (first, end int64, rest []message.Filter, ok bool) {
	first, end = 0, allHours
	if !f.Since.IsZero() {
		up := int64(hour - 1)
		if f.Since.Nanosecond() > 0 {
			up++
		}
		first = max(0, (f.Since.Unix()-yearOne+up)/hour)
	}
	if !f.Until.IsZero() {
		end = max(0, f.Until.Unix()-yearOne) / hour
	}
	if first >= end {
		return 0, 0, nil, false
	}
	// Nothing is before the first hour of all.
	if start := hourStart(first); first > 0 && f.Since.Before(start) {
		rest = append(rest, message.Filter{Since: f.Since, Until: start})
	}
	if !f.Until.IsZero() {
		if start := hourStart(end); start.Before(f.Until) {
			rest = append(rest, message.Filter{Since: start, Until: f.Until})
		}
	}
	return first, end, rest, true
}

func hourStart(h int64) time.Time { return time.Unix(yearOne+h*hour, 0).UTC() }

// inHours is the condition of what is in whole hours and not summed up.
func inHours(first, end, summed int64) *condition {
	c := &condition{}
	c.and("tx >= " + c.arg(summed))
	if first > 0 {
		c.and("ts_unix >= " + c.arg(yearOne+first*hour))
	}
	if end < allHours {
		c.and("ts_unix < " + c.arg(yearOne+end*hour))
	}
	return c
}

// countTimes queues the count of what a summable filter matches.
func countTimes(b *pgx.Batch, to *int64, f message.Filter, summed int64) {
	add := func(query string, args ...any) {
		b.Queue(query, args...).QueryRow(func(row pgx.Row) error {
			var n int64
			err := row.Scan(&n)
			*to += n
			return err
		})
	}
	*to = 0
	if f.Source != "" {
		c := others(f)
		add("SELECT -count(*) FROM messages"+c.where(), c.args...)
		f = timesOf(f)
	}
	first, end, rest, ok := hours(f)
	if !ok {
		rest = []message.Filter{f}
	} else {
		// Served by the primary keys.
		add("SELECT coalesce(sum(messages), 0)::bigint FROM hours WHERE hour >= $1 AND hour < $2", first, end)
		c := inHours(first, end, summed)
		add("SELECT count(*) FROM messages"+c.where(), c.args...)
	}
	for _, f := range rest {
		// Served by messages_by_time.
		c := matching(f)
		add("SELECT count(*) FROM messages"+c.where(), c.args...)
	}
}
