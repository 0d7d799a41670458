package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// sourceGroup is how many chunks a row of the table chunk_sources is about.
const sourceGroup = 16

// sourced is what chunks have of one source, in a snapshot. It is read from the
// table chunk_sources as far as that goes, and from the messages behind.
type sourced struct {
	sn     *snapshot
	source string
	known  []segment.Sourced // of the first chunks
	rows   *chunkReader      // of the others, nil until it is needed
}

// sourced reads the table chunk_sources, a row for each 16 000 messages; nil if
// the filter has no source. Served by the primary key.
func (sn *snapshot) sourced(ctx context.Context, f message.Filter) (*sourced, error) {
	if f.Source == "" {
		return nil, nil
	}
	s := &sourced{sn: sn, source: f.Source}
	rows, err := sn.tx.QueryContext(ctx, "SELECT id, chunks, data FROM chunk_sources ORDER BY id")
	if err != nil {
		return nil, err
	}
	group := int64(0)
	err = eachRowOf(rows, func(rows *sql.Rows) error {
		var id, chunks int64
		var data sql.RawBytes
		if err := rows.Scan(&id, &chunks, &data); err != nil {
			return err
		}
		err := segment.EachSourced(data, s.source, func(c segment.Sourced) { s.known = append(s.known, c) })
		if err == nil && (id != group || int64(len(s.known)) != id*sourceGroup+chunks) {
			err = segment.ErrDamaged
		}
		if err != nil {
			return fmt.Errorf("sources of the chunks from %d: %w", id*sourceGroup, err)
		}
		group++
		return nil
	})
	return s, err
}

// of is what a chunk has of the source, all if none is asked for.
func (s *sourced) of(ctx context.Context, chunk int64) (own segment.Sourced, err error) {
	if s == nil {
		return segment.Sourced{All: true}, nil
	}
	if chunk < int64(len(s.known)) {
		return s.known[chunk], nil
	}
	if s.rows == nil {
		if s.rows, err = newChunkReader(ctx, s.sn.tx); err != nil {
			return own, err
		}
	}
	data, err := s.rows.sources(ctx, chunk)
	if err != nil {
		return own, err
	}
	return own, segment.EachSourced(data, s.source, func(c segment.Sourced) { own = c })
}

// none reports whether it is known that no message of a segment is of the source.
func (s *sourced) none(l located) bool {
	if s == nil || l.End() > int64(len(s.known)) {
		return false
	}
	return !slices.ContainsFunc(s.known[l.First:l.End()], func(c segment.Sourced) bool { return c.All || c.Bits != nil })
}

// few returns the messages of a segment that are of the source if they are known
// and few; then their texts are read sooner than the words of the segment.
func (s *sourced) few(l located) segment.Set {
	if s == nil || l.End() > int64(len(s.known)) {
		return nil
	}
	n := 0
	set := make(segment.Set, len(l.Chunks))
	for i, c := range s.known[l.First:l.End()] {
		if c.Bits != nil {
			n += c.Bits.Len()
		}
		if c.All || n > few {
			return nil
		}
		set[i] = c.Bits
	}
	return set
}

// chunkReader reads of which sources the messages of chunks are. Most chunks have
// one, which the database tells without a row for each message.
type chunkReader struct {
	ends, each *sql.Stmt
}

// newChunkReader prepares what is served by the primary key: NOT INDEXED leaves
// it and nothing else. The end of the transaction closes it.
func newChunkReader(ctx context.Context, tx *sql.Tx) (r *chunkReader, err error) {
	r = &chunkReader{}
	if r.ends, err = tx.PrepareContext(ctx, "SELECT min(source), max(source) FROM messages NOT INDEXED WHERE id >= ? AND id < ?"); err != nil {
		return nil, err
	}
	r.each, err = tx.PrepareContext(ctx, "SELECT id, source FROM messages NOT INDEXED WHERE id >= ? AND id < ?")
	return r, err
}

// sources returns what segment.EachSourced reads, of one chunk.
func (r *chunkReader) sources(ctx context.Context, chunk int64) ([]byte, error) {
	first, end := segment.FirstID(chunk), segment.FirstID(chunk+1)
	var least, greatest sql.NullString
	if err := r.ends.QueryRowContext(ctx, first, end).Scan(&least, &greatest); err != nil {
		return nil, err
	}
	sources := map[string]*segment.Bits{}
	if least.Valid && least == greatest {
		sources[least.String] = &segment.Bits{}
	} else if least.Valid {
		err := eachRow(ctx, r.each, func(rows *sql.Rows) error {
			var id int64
			var source string
			if err := rows.Scan(&id, &source); err != nil {
				return err
			}
			if sources[source] == nil {
				sources[source] = &segment.Bits{}
			}
			sources[source].Add(int(id % segment.ChunkSize))
			return nil
		}, first, end)
		if err != nil {
			return nil, err
		}
	}
	return segment.AppendSources(nil, sources), nil
}

// noteSources writes the sources of the next chunks that segments have into the
// table chunk_sources, at most those of one row.
func (x *indexer) noteSources() (again bool, err error) {
	tx, leave, err := x.store.beginRead(x.ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	last, err := lastSources(x.ctx, tx)
	if err != nil {
		return false, err
	}
	if last.chunks < 0 || last.chunks > sourceGroup {
		return false, fmt.Errorf("%w: sources of %d chunks", segment.ErrDamaged, last.chunks)
	}
	next, end := last.end(), x.next()
	if next >= end {
		return false, nil
	}
	row := last
	if row.chunks == sourceGroup {
		row = sourceRow{id: last.id + 1}
	}
	reader, err := newChunkReader(x.ctx, tx)
	if err != nil {
		return false, err
	}
	for ; next < end && row.chunks < sourceGroup; next++ {
		data, err := reader.sources(x.ctx, next)
		if err != nil {
			return false, err
		}
		row.data, row.chunks = append(row.data, data...), row.chunks+1
	}
	leave()
	err = x.step(func(ctx context.Context, c *sql.Conn) error {
		// All of them may have been thrown away.
		now, err := lastSources(ctx, c)
		if err != nil {
			return err
		}
		if now.end() != last.end() {
			return errStep{errReplacedMeanwhile}
		}
		_, err = c.ExecContext(ctx, `INSERT INTO chunk_sources (id, chunks, data) VALUES (?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET chunks = excluded.chunks, data = excluded.data`, row.id, row.chunks, row.data)
		return err
	})
	return err == nil, err
}

// sourceRow is a row of the table chunk_sources.
type sourceRow struct {
	id, chunks int64
	data       []byte
}

// end is the chunk behind those that it is made of.
func (r *sourceRow) end() int64 { return r.id*sourceGroup + r.chunks }

// lastSources returns the last row, or one of no chunk if there is none. Served
// by the primary key.
func lastSources(ctx context.Context, q queryer) (r sourceRow, err error) {
	rows, err := q.QueryContext(ctx, "SELECT id, chunks, data FROM chunk_sources ORDER BY id DESC LIMIT 1")
	if err != nil {
		return r, err
	}
	return r, eachRowOf(rows, func(rows *sql.Rows) error { return rows.Scan(&r.id, &r.chunks, &r.data) })
}
