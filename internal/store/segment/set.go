package segment

import (
	"encoding/binary"
	"math/bits"
)

// Bits are messages of one chunk: bit i is the id FirstID(chunk) + i.
type Bits [ChunkSize / 64]uint64

// Has reports whether position i is in b.
func (b *Bits) Has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

// Add puts position i into b.
func (b *Bits) Add(i int) { b[i/64] |= 1 << (i % 64) }

// Len is the number of positions in b.
func (b *Bits) Len() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// All calls yield for every position in b, in order, until it returns false.
func (b *Bits) All(yield func(i int) bool) {
	for w, word := range b {
		for word != 0 {
			if !yield(w*64 + bits.TrailingZeros64(word)) {
				return
			}
			word &= word - 1
		}
	}
}

// And keeps what is in o too.
func (b *Bits) And(o *Bits) {
	for i := range b {
		b[i] &= o[i]
	}
}

// Or adds what is in o.
func (b *Bits) Or(o *Bits) {
	for i := range b {
		b[i] |= o[i]
	}
}

// AndNot takes away what is in o.
func (b *Bits) AndNot(o *Bits) {
	for i := range b {
		b[i] &^= o[i]
	}
}

// bytesOfBits is the length of Bits as bytes.
const bytesOfBits = ChunkSize / 8

// AppendBits appends b as bytes, the least significant bit of the first byte
// first.
func AppendBits(to []byte, b *Bits) []byte {
	for _, w := range b {
		to = binary.LittleEndian.AppendUint64(to, w)
	}
	return to
}

// BitsOf reads what AppendBits wrote.
func BitsOf(data []byte) (b Bits, ok bool) {
	if len(data) < bytesOfBits {
		return b, false
	}
	for i := range b {
		b[i] = binary.LittleEndian.Uint64(data[i*8:])
	}
	return b, true
}

// Set is messages of a segment, by the number of the chunk within it; nil
// stands for none.
type Set []*Bits

// slab hands out bitmaps a few at a time, which is cheaper than one by one.
type slab []Bits

func (s *slab) new() *Bits {
	const many = 64
	if len(*s) == 0 {
		*s = make([]Bits, many)
	}
	b := &(*s)[0]
	*s = (*s)[1:]
	return b
}

// and keeps in s what is in o too.
func (s Set) and(o Set) {
	for i := range s {
		switch {
		case s[i] == nil:
		case o[i] == nil:
			s[i] = nil
		default:
			s[i].And(o[i])
		}
	}
}

// or adds what is in o, whose bitmaps s may take over.
func (s Set) or(o Set) {
	for i := range s {
		switch {
		case o[i] == nil:
		case s[i] == nil:
			s[i] = o[i]
		default:
			s[i].Or(o[i])
		}
	}
}

// andNot takes from s what is in o.
func (s Set) andNot(o Set) {
	for i := range s {
		if s[i] != nil && o[i] != nil {
			s[i].AndNot(o[i])
		}
	}
}

func (s Set) len() (n int) {
	for _, b := range s {
		if b != nil {
			n += b.Len()
		}
	}
	return n
}

// Empty reports whether there is no message in s.
func (s Set) Empty() bool {
	for _, b := range s {
		if b != nil && *b != (Bits{}) {
			return false
		}
	}
	return true
}

// A posting list is a container for every chunk that has the term: the distance
// from the chunk before, twice shifted, with the container's kind.
const (
	kindSingle = 1 // one position
	kindList   = 2 // their number, the first position, the distances of the others
	kindBitmap = 3 // Bits
)

// bitmapFrom is the number of positions from which on a bitmap is shorter than
// a list.
const bitmapFrom = bytesOfBits

// appendContainer appends the container of a chunk so far behind the last one.
func appendContainer(to []byte, distance int, positions []uint16) []byte {
	head := uint64(distance) << 2
	switch {
	case len(positions) == 1:
		to = binary.AppendUvarint(to, head|kindSingle)
		return binary.AppendUvarint(to, uint64(positions[0]))
	case len(positions) < bitmapFrom:
		to = binary.AppendUvarint(to, head|kindList)
		to = binary.AppendUvarint(to, uint64(len(positions)))
		last := uint16(0)
		for _, p := range positions {
			to = binary.AppendUvarint(to, uint64(p-last))
			last = p
		}
		return to
	}
	var b Bits
	for _, p := range positions {
		b.Add(int(p))
	}
	to = binary.AppendUvarint(to, head|kindBitmap)
	return AppendBits(to, &b)
}

// containers walks over a posting list.
type containers struct {
	decoder
	chunk int // of the container that next returned, within the segment
	kind  int
}

func (c *containers) next() bool {
	if c.left() == 0 {
		return false
	}
	head := c.uvarint()
	c.chunk += int(head >> 2)
	c.kind = int(head & 3)
	if c.chunk < 0 || c.chunk >= MaxChunks {
		c.fail()
	}
	return !c.failed
}

// addTo puts the container's positions into b.
func (c *containers) addTo(b *Bits) {
	switch c.kind {
	case kindSingle:
		c.add(b, c.uvarint())
	case kindList:
		position := uint64(0)
		for range c.length(ChunkSize) {
			position += c.uvarint()
			c.add(b, position)
		}
	case kindBitmap:
		o, ok := BitsOf(c.take(bytesOfBits))
		if !ok {
			c.fail()
			return
		}
		b.Or(&o)
	default:
		c.fail()
	}
}

func (c *containers) add(b *Bits, position uint64) {
	if position >= ChunkSize {
		c.fail()
		return
	}
	b.Add(int(position))
}

// skip goes over the container and returns its bytes without the head.
func (c *containers) skip() []byte {
	start := c.at
	switch c.kind {
	case kindSingle:
		c.uvarint()
	case kindList:
		for range c.length(ChunkSize) {
			c.uvarint()
		}
	case kindBitmap:
		c.take(bytesOfBits)
	default:
		c.fail()
	}
	return c.b[start:c.at]
}

// union adds a posting list to a set.
func union(s Set, postings []byte, free *slab) error {
	c := containers{decoder: decoder{b: postings}}
	for c.next() {
		if c.chunk >= len(s) {
			return ErrDamaged
		}
		if s[c.chunk] == nil {
			s[c.chunk] = free.new()
		}
		c.addTo(s[c.chunk])
	}
	if c.failed {
		return ErrDamaged
	}
	return nil
}

// Encode returns the set as DecodeSet reads it, in about three bytes a message
// or less.
func (s Set) Encode() []byte {
	var to []byte
	var positions []uint16
	last := 0
	for chunk, b := range s {
		if b == nil || *b == (Bits{}) {
			continue
		}
		positions = positions[:0]
		for p := range b.All {
			positions = append(positions, uint16(p))
		}
		to = appendContainer(to, chunk-last, positions)
		last = chunk
	}
	return to
}

// DecodeSet reads a set of messages of so many chunks.
func DecodeSet(data []byte, chunks int) (Set, error) {
	s := make(Set, chunks)
	return s, union(s, data, &slab{})
}
