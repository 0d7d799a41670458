package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"sync"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// located is a segment of the database.
type located struct {
	id int64
	*segment.Segment
}

// partID is where a part of a segment stands in the table segment_parts.
func partID(segmentID int64, part int) int64 { return segmentID*segment.MaxParts + int64(part) }

// headers keeps the decoded headers of the segments, which never change.
type headers struct {
	mu   sync.Mutex
	byID map[int64]*segment.Segment
}

// snapshot is one read transaction and what it says of the segments: all that a
// question reads is of one moment.
type snapshot struct {
	tx            *sql.Tx
	last, removed int64 // see countMessages
	segments      []located
	holes         map[int64]*segment.Bits
	part          *sql.Stmt // one part by its id
	partRange     *sql.Stmt // those from an id to another
	kept          []byte    // the part that was read last
}

// snapshot reads which segments there are. Served by the primary keys.
func (s *Store) snapshot(ctx context.Context, tx *sql.Tx) (sn *snapshot, err error) {
	sn = &snapshot{tx: tx}
	if sn.last, sn.removed, err = countMessages(ctx, tx); err != nil {
		return nil, err
	}
	if sn.segments, err = s.headers.read(ctx, tx); err != nil {
		return nil, err
	}
	if sn.removed > 0 {
		if sn.holes, err = readHoles(ctx, tx); err != nil {
			return nil, err
		}
	}
	if sn.part, err = tx.PrepareContext(ctx, "SELECT data FROM segment_parts WHERE id = ?"); err != nil {
		return nil, err
	}
	sn.partRange, err = tx.PrepareContext(ctx, "SELECT id, data FROM segment_parts WHERE id BETWEEN ? AND ?")
	return sn, err
}

// read returns the segments in the order of their chunks.
func (h *headers) read(ctx context.Context, q queryer) (list []located, err error) {
	rows, err := q.QueryContext(ctx, "SELECT id FROM segments ORDER BY first_chunk")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var l located
		if err := rows.Scan(&l.id); err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	known := maps.Clone(h.byID)
	h.mu.Unlock()
	current := make(map[int64]*segment.Segment, len(list))
	changed := len(known) != len(list)
	for i := range list {
		l := &list[i]
		if l.Segment = known[l.id]; l.Segment == nil {
			if l.Segment, err = readHeader(ctx, q, l.id); err != nil {
				return nil, err
			}
			changed = true
		}
		current[l.id] = l.Segment
	}
	if changed {
		h.mu.Lock()
		h.byID = current
		h.mu.Unlock()
	}
	return list, nil
}

func readHeader(ctx context.Context, q queryer, id int64) (*segment.Segment, error) {
	rows, err := q.QueryContext(ctx, "SELECT header FROM segments WHERE id = ?", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, errors.Join(fmt.Errorf("%w: segment %d is gone", segment.ErrDamaged, id), rows.Err())
	}
	var header sql.RawBytes
	if err := rows.Scan(&header); err != nil {
		return nil, err
	}
	return segment.Decode(header)
}

func readHoles(ctx context.Context, q queryer) (map[int64]*segment.Bits, error) {
	rows, err := q.QueryContext(ctx, "SELECT chunk, bits FROM holes")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	holes := map[int64]*segment.Bits{}
	for rows.Next() {
		var chunk int64
		var data sql.RawBytes
		if err := rows.Scan(&chunk, &data); err != nil {
			return nil, err
		}
		b, ok := segment.BitsOf(data)
		if !ok {
			return nil, fmt.Errorf("the holes of chunk %d are damaged", chunk)
		}
		holes[chunk] = &b
	}
	return holes, rows.Err()
}

// covered is the first id behind the segments: from there on messages are
// looked at one by one.
func (sn *snapshot) covered() int64 {
	if len(sn.segments) == 0 {
		return 0
	}
	return segment.FirstID(sn.segments[len(sn.segments)-1].End())
}

// fetch returns what reads the parts of a segment. Each part is good until
// another of the snapshot is read.
func (sn *snapshot) fetch(ctx context.Context, id int64) segment.Fetch {
	return func(part int) ([]byte, error) {
		rows, err := sn.part.QueryContext(ctx, partID(id, part))
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		if !rows.Next() {
			return nil, errors.Join(fmt.Errorf("%w: segment %d has no part %d", segment.ErrDamaged, id, part), rows.Err())
		}
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return nil, err
		}
		sn.kept = append(sn.kept[:0], data...)
		return sn.kept, nil
	}
}

// number returns the number of a sender or recipient, nil if no segment has it.
// Served by the unique index of phones.
func (sn *snapshot) number(ctx context.Context, msisdn string) (*uint32, error) {
	var n uint32
	err := sn.tx.QueryRowContext(ctx, "SELECT id FROM phones WHERE msisdn = ?", msisdn).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &n, err
}

// condition turns a filter into what is asked of the segments. There is none
// if the filter is about times alone, and nothing to find if nobody there has
// one of its numbers.
func (sn *snapshot) condition(ctx context.Context, f message.Filter) (c *segment.Condition, nothing bool, err error) {
	var from, to *uint32
	for _, n := range []struct {
		msisdn string
		number **uint32
	}{{f.From, &from}, {f.To, &to}} {
		if n.msisdn == "" {
			continue
		}
		if *n.number, err = sn.number(ctx, n.msisdn); err != nil {
			return nil, false, err
		}
		if *n.number == nil {
			return nil, true, nil
		}
	}
	if from == nil && to == nil && f.Text == "" {
		return nil, false, nil
	}
	return segment.NewCondition(from, to, message.Fold(f.Text)), false, nil
}
