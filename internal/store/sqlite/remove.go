package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// Bounds of the removal of messages.
const (
	// removeStepTime is how long one step removes before it commits, and
	// removeStepRows how many messages it removes at most: saves wait for it. A
	// message costs the commit up to six pages.
	removeStepTime = 3 * time.Millisecond
	removeStepRows = 64
	// removePage is how many ids are looked up at one time.
	removePage = 1 << 16
	// expirePage is how many messages have their age looked at in one go.
	expirePage = 512
)

const (
	// Served by the primary key.
	removeSQL = `DELETE FROM messages WHERE id = ? RETURNING source, message_id`
	// Both served by the primary key of removed.
	keepRemovedSQL = `INSERT INTO removed (identity) VALUES (?) ON CONFLICT DO NOTHING`
	isRemovedSQL   = `SELECT EXISTS (SELECT 1 FROM removed WHERE identity = ?)`
	// Served by messages_by_time.
	expiredSQL = `SELECT id, created_at, ts_unix, ts_nanos, message_id, source FROM messages
		WHERE (ts_unix, ts_nanos) < (?, ?) AND (ts_unix, ts_nanos, message_id, source) > (?, ?, ?, ?)
		ORDER BY ts_unix, ts_nanos, message_id, source LIMIT ?`
)

// Erase implements message.Store.
func (s *Store) Erase(ctx context.Context, from string) (removed int64, err error) {
	// What arrives from now on may arrive for ever.
	last := s.lastID.Load()
	for after := int64(0); after < last; {
		ids, err := s.idsOf(ctx, from, after, last, removePage)
		if err == nil {
			var n int64
			n, err = s.remove(ctx, ids, true)
			removed += n
		}
		if err != nil {
			return removed, unavailable("erase messages", err)
		}
		if len(ids) < removePage {
			break
		}
		after = ids[len(ids)-1]
	}
	if err := s.eraseStatuses(ctx, from); err != nil {
		return removed, unavailable("erase statuses", err)
	}
	if err := s.eraseReport(ctx, from); err != nil {
		return removed, unavailable("erase messages: adoption report", err)
	}
	if err := s.eraseNumber(ctx, from); err != nil {
		return removed, unavailable("erase messages: number", err)
	}
	return removed, nil
}

// Expire implements message.Store.
func (s *Store) Expire(ctx context.Context, before time.Time) (removed int64, err error) {
	behind := message.Position{At: time.Unix(-1<<62, 0)}
	for more := true; more; {
		var ids []int64
		ids, behind, more, err = s.expired(ctx, before, behind)
		if err == nil {
			var n int64
			n, err = s.remove(ctx, ids, false)
			removed += n
		}
		if err != nil {
			return removed, unavailable("expire messages", err)
		}
	}
	if err := s.expireStatuses(ctx, before); err != nil {
		return removed, unavailable("expire statuses", err)
	}
	if err := s.expireReport(ctx, before); err != nil {
		return removed, unavailable("expire messages: adoption report", err)
	}
	if removed > 0 {
		poke(s.indexer.built)
	}
	return removed, nil
}

// unavailable says that calling again goes on.
func unavailable(what string, err error) error {
	if errors.Is(err, message.ErrUnavailable) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, message.ErrUnavailable, err)
}

// idsOf returns the first ids, in order, of the messages of a sender that are
// above after and at most last.
func (s *Store) idsOf(ctx context.Context, from string, after, last int64, limit int) (ids []int64, err error) {
	if from == "" {
		return nil, nil // in a filter that is everybody
	}
	err = s.read(ctx, "find messages", func(ctx context.Context, tx *sql.Tx) error {
		sn, err := s.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		c, err := s.choose(ctx, sn, message.Filter{From: from})
		if err != nil {
			return err
		}
		ids, err = c.allIDs()
		return err
	})
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id int64) bool { return id <= after || id > last })
	return ids[:min(len(ids), limit)], nil
}

// expired looks at one page of the messages whose ts is before the time, in
// list order, and returns the ids of those that also arrived before it, and
// where the next page begins.
func (s *Store) expired(ctx context.Context, before time.Time, behind message.Position) (ids []int64, next message.Position, more bool, err error) {
	rows, err := s.readDB.QueryContext(ctx, expiredSQL,
		before.Unix(), before.Nanosecond(), behind.At.Unix(), behind.At.Nanosecond(), behind.ID, behind.Source, expirePage)
	if err != nil {
		return nil, next, false, err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var id, unix, nanos int64
		var created string
		if err := rows.Scan(&id, &created, &unix, &nanos, &next.ID, &next.Source); err != nil {
			return nil, next, false, err
		}
		next.At = time.Unix(unix, nanos)
		if arrivedBefore(created, before) {
			ids = append(ids, id)
		}
	}
	return ids, next, n == expirePage, rows.Err()
}

// arrivedBefore reports whether a message arrived before the time. Of an
// adopted one the arrival may be no time; then its ts alone counts.
func arrivedBefore(created string, before time.Time) bool {
	at, ok := parseLenient(created)
	return !ok || at.Before(before)
}

// remove removes the messages that are still there of these ids, in steps, and
// returns how many that were.
func (s *Store) remove(ctx context.Context, ids []int64, erase bool) (removed int64, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	err = s.steps(ctx, func() (more bool, err error) {
		tried, n, err := s.writer.remove(ids, erase)
		removed += n
		ids = ids[tried:]
		return len(ids) > 0, err
	})
	return removed, err
}

// steps has the writer run one step after the other, as long as there are more.
// Saves that waited for one get as much of the writer's time.
func (s *Store) steps(ctx context.Context, step func() (more bool, err error)) error {
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		var rest time.Duration
		notRun := s.queue.Do(ctx, func() {
			began := time.Now()
			more, err = step()
			if s.queue.Depth() > 0 {
				rest = time.Since(began)
			}
		})
		if err = errors.Join(notRun, err); err != nil {
			return err
		}
		if rest > 0 {
			select {
			case <-time.After(rest):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// remove is one step: it removes the messages of the first ids and returns how
// many ids that were, and how many of them had a message.
func (w *writer) remove(ids []int64, erase bool) (tried int, removed int64, err error) {
	err = w.step(func(ctx context.Context, c *sql.Conn) error {
		return securely(ctx, c, func() (err error) {
			tried, removed, err = w.removeRows(ctx, c, ids, erase)
			return err
		})
	})
	if err != nil {
		return 0, 0, err
	}
	if removed > 0 {
		w.store.messages.Add(-removed)
		w.store.deletions.Add(1)
		w.wipe = true
	}
	return tried, removed, nil
}

// securely runs f with secure_delete on: pages that become free are written
// over with zeros too, which otherwise would keep what they held, such as a long
// text, until they are used again. See writerDSN for what holds the rest of
// the time.
func securely(ctx context.Context, c *sql.Conn, f func() error) error {
	if _, err := c.ExecContext(ctx, "PRAGMA secure_delete = ON"); err != nil {
		return fmt.Errorf("secure_delete: %w", err)
	}
	err := f()
	if _, again := c.ExecContext(ctx, "PRAGMA secure_delete = FAST"); again != nil {
		err = errors.Join(err, fmt.Errorf("secure_delete: %w", again))
	}
	return err
}

func (w *writer) removeRows(ctx context.Context, c *sql.Conn, ids []int64, erase bool) (tried int, removed int64, err error) {
	began := time.Now()
	segments, err := segmentSpans(ctx, c)
	if err != nil {
		return 0, 0, fmt.Errorf("read segments: %w", err)
	}
	holes := map[int64]*segment.Bits{}
	for ; tried < min(len(ids), removeStepRows); tried++ {
		if tried > 0 && time.Since(began) >= removeStepTime {
			break
		}
		id := ids[tried]
		a, row := w.args[:1], [2]driver.Value{}
		a[0].Value = id
		err := w.queryOne(ctx, w.removeRow, a, row[:])
		if errors.Is(err, sql.ErrNoRows) {
			continue // another call was first
		}
		if err != nil {
			return 0, 0, fmt.Errorf("delete: %w", err)
		}
		source, _ := row[0].(string)
		messageID, _ := row[1].(string)
		a[0].Value = w.identities.Of(source, messageID)
		if _, err := w.keepRemoved.ExecContext(ctx, a); err != nil {
			return 0, 0, fmt.Errorf("keep identity: %w", err)
		}
		if w.statuses {
			a := w.args[:2]
			a[0].Value, a[1].Value = messageID, source
			if _, err := w.dropStatuses.ExecContext(ctx, a); err != nil {
				return 0, 0, fmt.Errorf("delete statuses: %w", err)
			}
		}
		if chunk := segment.ChunkOf(id); covered(segments, chunk) {
			if holes[chunk] == nil {
				holes[chunk] = &segment.Bits{}
			}
			holes[chunk].Add(int(id % segment.ChunkSize))
		}
		removed++
	}
	if removed == 0 {
		return tried, 0, nil
	}
	for chunk, bits := range holes {
		if err := makeHoles(ctx, c, chunk, bits, erase); err != nil {
			return 0, 0, fmt.Errorf("make holes: %w", err)
		}
	}
	// The newest message may be among them: its id must not be given out again.
	if _, err := c.ExecContext(ctx, `UPDATE counters SET value = CASE name
		WHEN 'removed' THEN value + ? WHEN 'deletions' THEN value + 1 WHEN 'last_id' THEN ? ELSE value END`,
		removed, w.lastID); err != nil {
		return 0, 0, fmt.Errorf("count: %w", err)
	}
	return tried, removed, nil
}

// span is the range of chunks of a segment.
type span struct{ first, chunks int64 }

func segmentSpans(ctx context.Context, c *sql.Conn) (spans []span, err error) {
	// A scan: there are few segments.
	rows, err := c.QueryContext(ctx, "SELECT first_chunk, chunks FROM segments")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s span
		if err := rows.Scan(&s.first, &s.chunks); err != nil {
			return nil, err
		}
		spans = append(spans, s)
	}
	return spans, rows.Err()
}

func covered(spans []span, chunk int64) bool {
	for _, s := range spans {
		if s.first <= chunk && chunk < s.first+s.chunks {
			return true
		}
	}
	return false
}

// makeHoles adds the bits to those of the chunk.
func makeHoles(ctx context.Context, c *sql.Conn, chunk int64, bits *segment.Bits, erase bool) error {
	var data []byte
	// Served by the primary key.
	err := c.QueryRowContext(ctx, "SELECT bits FROM holes WHERE chunk = ?", chunk).Scan(&data)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return err
	default:
		before, ok := segment.BitsOf(data)
		if !ok {
			return fmt.Errorf("the holes of chunk %d are damaged", chunk)
		}
		bits.Or(&before)
	}
	_, err = c.ExecContext(ctx, `INSERT INTO holes (chunk, bits, erase) VALUES (?, ?, ?)
		ON CONFLICT (chunk) DO UPDATE SET bits = excluded.bits, erase = max(erase, excluded.erase)`, chunk, segment.AppendBits(nil, bits), erase)
	return err
}

// isRemoved reports whether a message was removed, or its recipient erased, in
// the transaction in progress. It costs nothing while nothing was ever removed.
func (w *writer) isRemoved(ctx context.Context, source, id string) (bool, error) {
	if w.store.deletions.Load() == 0 {
		return false, nil
	}
	a, row := w.args[:1], [1]driver.Value{}
	a[0].Value = w.identities.Of(source, id)
	if err := w.queryOne(ctx, w.findRemoved, a, row[:]); err != nil {
		return false, err
	}
	return row[0] == int64(1), nil
}

// wipeEvery is how often it is tried to empty the log of what was removed.
const wipeEvery = 10 * time.Second

// emptyLog copies the whole log and empties it, so that it does not show any more
// what was removed. A reader holds that up; it is waited for some milliseconds at
// most, since saves wait too.
func (w *writer) emptyLog(ctx context.Context, milliseconds int) error {
	w.wiped = time.Now()
	if _, err := w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", milliseconds)); err != nil {
		return err
	}
	var busy, length, copied int64
	err := w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &length, &copied)
	if _, again := w.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeoutMS)); again != nil {
		err = errors.Join(err, again)
	}
	if err != nil {
		return err
	}
	w.pending = copied < length
	w.wipe = w.wipe && busy != 0
	return nil
}
