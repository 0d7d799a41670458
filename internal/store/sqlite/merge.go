package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// mergeable returns neighbours that make one segment of this size, in chunks,
// none of them smaller than a Fan-th of it; nil if there are none.
func mergeable(all []located, size int) (group []located) {
	for i := range all {
		if all[i].First%int64(size) != 0 {
			continue
		}
		n := 0
		for k, l := range all[i:] {
			if own := len(l.Chunks); own < size/segment.Fan || own >= size || l.First != all[i].First+int64(n) {
				break
			}
			if n += len(l.Chunks); n == size {
				return all[i : i+k+1]
			}
		}
	}
	return nil
}

// merge does one of the things there are to do, the most urgent first.
func (x *indexer) merge() (again bool, err error) {
	if x.damaged.Load() && time.Since(x.remade) > remakeEvery {
		return true, x.remake()
	}
	all := x.list()
	holes, erase, err := x.readHoles()
	if err != nil {
		return false, err
	}
	for i, l := range all {
		removed, toErase := 0, false
		for k := range l.Chunks {
			if b := holes[l.First+int64(k)]; b != nil {
				removed += b.Len()
				toErase = toErase || erase[l.First+int64(k)]
			}
		}
		switch {
		case removed == 0:
		case int64(removed) == l.Count() && i < len(all)-1:
			// The last one stays: it says up to where messages are covered.
			return true, x.drop(l)
		case toErase:
			return true, x.mergeGroup([]located{l})
		}
	}
	if err := x.eraseNumbers(); err != nil {
		return false, err
	}
	// Those of Fan chunks are made by the goroutine that builds, since that takes
	// it a moment only.
	for size := segment.Fan * segment.Fan; size <= segment.MaxChunks; size *= segment.Fan {
		if group := mergeable(all, size); group != nil {
			return true, x.mergeGroup(group)
		}
	}
	return false, nil
}

// remakeEvery bounds how often damage makes the indexer begin anew.
const remakeEvery = 10 * time.Minute

// remake throws all segments away, so that they are made anew of the messages.
func (x *indexer) remake() error {
	x.numbering.Lock() // nothing is built meanwhile
	defer x.numbering.Unlock()
	x.store.log.Error("the index behind searches is damaged and is made anew", "segments", len(x.list()))
	if err := x.step(forgetSegments); err != nil {
		return err
	}
	x.remade = time.Now()
	// From here on a merge finds that its segments were replaced; one that was
	// done just before is thrown away too.
	x.mu.Lock()
	ids := make([]int64, len(x.segments))
	for i, l := range x.segments {
		ids[i] = l.id
	}
	x.segments = nil
	x.remakes.Add(1)
	x.damaged.Store(false)
	x.mu.Unlock()
	poke(x.full)
	return x.clear(ids...)
}

// forgetSegments takes all segments out of the table, and what goes with them;
// the holes in them mean nothing then.
func forgetSegments(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, "DELETE FROM segments; DELETE FROM holes; DELETE FROM chunk_sources")
	return err
}

// readHoles returns the holes, and of which chunks they are to be erased.
func (x *indexer) readHoles() (holes map[int64]*segment.Bits, erase map[int64]bool, err error) {
	holes, err = readHoles(x.ctx, x.store.readDB)
	if err != nil || len(holes) == 0 {
		return nil, nil, err
	}
	rows, err := x.store.readDB.QueryContext(x.ctx, "SELECT chunk FROM holes WHERE erase")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	erase = map[int64]bool{}
	for rows.Next() {
		var chunk int64
		if err := rows.Scan(&chunk); err != nil {
			return nil, nil, err
		}
		erase[chunk] = true
	}
	return holes, erase, rows.Err()
}

// mergeGroup makes one segment of neighbours, without what was removed of them.
// Their parts do not change meanwhile, so that no transaction is held open.
func (x *indexer) mergeGroup(group []located) error {
	holes, err := readHoles(x.ctx, x.store.readDB)
	if err != nil {
		return err
	}
	first, last := group[0].First, group[len(group)-1].End()-1
	inputs := make([]segment.Input, len(group))
	for i, l := range group {
		inputs[i] = segment.Input{
			Segment: l.Segment,
			Fetch:   x.fetch(l.id),
			Holes:   func(chunk int) *segment.Bits { return holes[l.First+int64(chunk)] },
		}
	}
	p := x.newParts()
	header, err := segment.Merge(inputs, p.emit)
	if err == nil {
		err = p.finish(header, group, func(ctx context.Context, c *sql.Conn) error {
			return forgetHoles(ctx, c, first, last, holes)
		})
	}
	if err != nil {
		if errors.Is(err, errReplacedMeanwhile) || !x.has(group) {
			err = nil // whoever was first did what there was to do, or it is done now
		}
		return errors.Join(err, x.clear(p.id))
	}
	ids := make([]int64, len(group))
	for i, l := range group {
		ids[i] = l.id
	}
	poke(x.built)
	return x.clear(ids...)
}

func (x *indexer) fetch(id int64) segment.Fetch {
	var data []byte
	return func(part int) ([]byte, error) {
		err := x.store.readDB.QueryRowContext(x.ctx, "SELECT data FROM segment_parts WHERE id = ?", partID(id, part)).Scan(&data)
		if errors.Is(err, sql.ErrNoRows) {
			err = segment.ErrDamaged
		}
		if err != nil {
			return nil, fmt.Errorf("segment %d, part %d: %w", id, part, err)
		}
		return data, nil
	}
}

// forgetHoles takes away the holes that a segment was made without. Others may
// have come since. Served by the primary key.
func forgetHoles(ctx context.Context, c *sql.Conn, first, last int64, applied map[int64]*segment.Bits) error {
	for chunk, done := range applied {
		if chunk < first || chunk > last {
			continue
		}
		var data []byte
		if err := c.QueryRowContext(ctx, "SELECT bits FROM holes WHERE chunk = ?", chunk).Scan(&data); err != nil {
			return err
		}
		left, ok := segment.BitsOf(data)
		if !ok {
			return fmt.Errorf("the holes of chunk %d are damaged", chunk)
		}
		left.AndNot(done)
		var err error
		if left == (segment.Bits{}) {
			_, err = c.ExecContext(ctx, "DELETE FROM holes WHERE chunk = ?", chunk)
		} else {
			_, err = c.ExecContext(ctx, "UPDATE holes SET bits = ? WHERE chunk = ?", segment.AppendBits(nil, &left), chunk)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// drop removes a segment of which all messages were removed.
func (x *indexer) drop(l located) error {
	err := x.step(func(ctx context.Context, c *sql.Conn) error {
		if err := deleteSegment(ctx, c, l.id); err != nil {
			return err
		}
		_, err := c.ExecContext(ctx, "DELETE FROM holes WHERE chunk >= ? AND chunk < ?", l.First, l.End())
		return err
	})
	if errors.Is(err, errReplacedMeanwhile) {
		return nil
	}
	if err != nil {
		return err
	}
	x.replace([]located{l}, nil)
	return x.clear(l.id)
}

// eraseNumber notes that a sender has to lose its number, if it has one. Served
// by the unique index of phones.
func (s *Store) eraseNumber(ctx context.Context, msisdn string) error {
	var has bool
	if err := s.readDB.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM phones WHERE msisdn = ?)", msisdn).Scan(&has); err != nil || !has {
		return err
	}
	err := s.step(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, "INSERT INTO erased_senders (msisdn) VALUES (?) ON CONFLICT DO NOTHING", msisdn)
		return err
	})
	if err == nil {
		poke(s.indexer.built)
	}
	return err
}

// eraseNumbers takes their numbers from senders who were erased, unless there
// are messages from or to them. No segment has anything of what was erased any
// more.
func (x *indexer) eraseNumbers() error {
	x.numbering.Lock()
	defer x.numbering.Unlock()
	var names []string
	rows, err := x.store.readDB.QueryContext(x.ctx, "SELECT msisdn FROM erased_senders")
	if err != nil {
		return err
	}
	err = eachRowOf(rows, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		used, err := x.isUsed(name)
		if err != nil {
			return err
		}
		err = x.step(func(ctx context.Context, c *sql.Conn) error {
			return securely(ctx, c, func() error {
				if !used {
					if _, err := c.ExecContext(ctx, "DELETE FROM phones WHERE msisdn = ?", name); err != nil {
						return err
					}
				}
				_, err := c.ExecContext(ctx, "DELETE FROM erased_senders WHERE msisdn = ?", name)
				return err
			})
		})
		if err != nil {
			return err
		}
		if !used {
			delete(x.numbers, name)
		}
	}
	return nil
}

// isUsed reports whether there are messages from or to a name.
func (x *indexer) isUsed(name string) (used bool, err error) {
	err = x.store.read(x.ctx, "find messages", func(ctx context.Context, tx *sql.Tx) error {
		sn, err := x.store.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		for _, f := range []message.Filter{{From: name}, {To: name}} {
			c, err := x.store.choose(ctx, sn, f)
			if err != nil {
				return err
			}
			used = used || c.total() > 0
		}
		return nil
	})
	return used, err
}
