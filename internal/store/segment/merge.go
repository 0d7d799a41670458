package segment

import (
	"bytes"
	"encoding/binary"
)

// Input is a segment that goes into a merge.
type Input struct {
	Segment *Segment
	Fetch   Fetch
	// Holes are the messages, by the number of the chunk within the segment,
	// that are left out; nil stands for none.
	Holes func(chunk int) *Bits
}

// Merge makes one segment of several that follow one another, and returns its
// header. Nothing of the messages in the holes goes into it. It takes memory for
// the longest posting lists and for what it has to know of each word and sender,
// not for the segments.
func Merge(inputs []Input, emit Emit) (header []byte, err error) {
	first := inputs[0].Segment.First
	w := newWriter(first, int(inputs[len(inputs)-1].Segment.End()-first), emit)
	for i := range inputs {
		if err := w.mergeColumns(&inputs[i]); err != nil {
			return nil, err
		}
	}
	if err := w.mergeTerms(inputs); err != nil {
		return nil, err
	}
	return w.close()
}

// mergeColumns copies the columns of an input, and adds up its senders and
// hours.
func (w *writer) mergeColumns(in *Input) error {
	s := in.Segment
	if err := eachCount(in.Fetch, partSenders, w.senders.add); err != nil {
		return err
	}
	if err := eachCount(in.Fetch, partHours, w.hours.add); err != nil {
		return err
	}
	for i := range s.Chunks {
		if s.Chunks[i].Count == 0 {
			continue
		}
		to := int(s.First-w.s.First) + i
		holes := in.Holes(i)
		data, err := in.Fetch(partColumns + i)
		if err != nil {
			return err
		}
		if holes == nil {
			w.s.Chunks[to] = s.Chunks[i]
			if err := w.emit(partColumns+to, data); err != nil {
				return err
			}
			continue
		}
		c, err := DecodeColumns(data)
		if err != nil {
			return err
		}
		for p := range holes.All {
			if c.Present.Has(p) {
				w.senders.add(int64(c.Sender(p)), -1)
				w.hours.add(hourOf(c.Time(p)), -1)
			}
		}
		left := c.Present
		left.AndNot(holes)
		n := Chunk{Count: left.Len()}
		if n.Count == 0 {
			continue
		}
		none := true
		for p := range left.All {
			t := c.Time(p)
			if none {
				n.Min, n.Max, none = t, t, false
			}
			n.Min, n.Max = min(n.Min, t), max(n.Max, t)
		}
		w.s.Chunks[to] = n
		err = w.emit(partColumns+to, encodeColumns(&left, c.Time, func(p int) int64 { return int64(c.Sender(p)) }))
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) mergeTerms(inputs []Input) error {
	walks := make([]*termWalk, len(inputs))
	for i := range inputs {
		walks[i] = &termWalk{in: &inputs[i]}
		if err := walks[i].next(); err != nil {
			return err
		}
	}
	var postings []byte
	for {
		var least []byte
		for _, t := range walks {
			if t.term != nil && (least == nil || bytes.Compare(t.term, least) < 0) {
				least = t.term
			}
		}
		if least == nil {
			return nil
		}
		term := string(least)
		if term[0] == termGram {
			return nil // the last kind; these are made anew, of the words
		}
		postings = postings[:0]
		last := 0 // chunk of the last container
		for _, t := range walks {
			if string(t.term) != term {
				continue
			}
			var err error
			postings, last, err = t.appendPostings(postings, int(t.in.Segment.First-w.s.First), last)
			if err != nil {
				return err
			}
			if err := t.next(); err != nil {
				return err
			}
		}
		if len(postings) == 0 {
			continue // all in holes
		}
		if err := w.term(term, postings); err != nil {
			return err
		}
	}
}

// termWalk goes through the terms of an input in order.
type termWalk struct {
	in       *Input
	ordinal  int
	term     []byte // nil at the end
	postings []byte

	dictionary []byte // what is left of the part at hand
	nextPart   int
	lengths    decoder
	lists      []byte
	nextList   int
}

func (t *termWalk) next() error {
	s := t.in.Segment
	if t.ordinal == s.terms {
		t.term, t.postings = nil, nil
		return nil
	}
	if len(t.dictionary) == 0 {
		data, err := t.in.Fetch(partDictionary + t.nextPart)
		if err != nil {
			return err
		}
		if len(data) < 2 {
			return ErrDamaged
		}
		t.dictionary = bytes.Clone(data[1:])
		t.nextPart++
	}
	end := bytes.IndexByte(t.dictionary, 0)
	if end <= 0 {
		return ErrDamaged
	}
	t.term, t.dictionary = t.dictionary[:end], t.dictionary[end+1:]
	if len(t.lists) == 0 {
		data, err := t.in.Fetch(partPostings + t.nextList)
		if err != nil {
			return err
		}
		if t.lengths, t.lists, err = splitPostings(bytes.Clone(data)); err != nil {
			return err
		}
		t.nextList++
	}
	n := t.lengths.uvarint()
	if t.lengths.failed || n == 0 || n > uint64(len(t.lists)) {
		return ErrDamaged
	}
	t.postings, t.lists = t.lists[:n], t.lists[n:]
	t.ordinal++
	return nil
}

// splitPostings divides a part of posting lists into their lengths and the
// lists.
func splitPostings(data []byte) (lengths decoder, lists []byte, err error) {
	d := decoder{b: data}
	n := d.length(MaxParts)
	lengths = d
	for range n {
		d.uvarint()
	}
	if d.failed {
		return decoder{}, nil, ErrDamaged
	}
	return lengths, d.rest(), nil
}

// appendPostings appends the list at hand, whose segment begins so many chunks
// behind that of the result, without what is in holes.
func (t *termWalk) appendPostings(to []byte, offset, last int) (_ []byte, _ int, err error) {
	c := containers{decoder: decoder{b: t.postings}}
	var positions []uint16
	for c.next() {
		if c.chunk >= len(t.in.Segment.Chunks) {
			return nil, 0, ErrDamaged
		}
		chunk := offset + c.chunk
		holes := t.in.Holes(c.chunk)
		if holes == nil {
			kind := c.kind
			data := c.skip()
			to = binary.AppendUvarint(to, uint64(chunk-last)<<2|uint64(kind))
			to = append(to, data...)
			last = chunk
			continue
		}
		var b Bits
		c.addTo(&b)
		b.AndNot(holes)
		positions = positions[:0]
		for p := range b.All {
			positions = append(positions, uint16(p))
		}
		if len(positions) > 0 {
			to = appendContainer(to, chunk-last, positions)
			last = chunk
		}
	}
	if c.failed {
		return nil, 0, ErrDamaged
	}
	return to, last, nil
}
