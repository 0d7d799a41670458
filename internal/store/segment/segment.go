// Package segment derives from a range of stored messages what questions about
// millions of them are answered from: for every word, sender and recipient the
// messages that have it, and for every message its time and its sender. A
// segment is made behind the acknowledgement, never changed, and merged with
// its neighbours into larger ones. Nothing in it is needed to know what is
// stored: it can be made again from the messages at any time.
//
// A segment is a header and numbered parts, blobs of some kilobytes, so that a
// question reads only the parts that it needs. The package knows no database:
// parts go out through an emit function and come in through a Fetch.
//
// Messages are known by their ids, which have no gaps to speak of. 1024 ids are
// a chunk; a set of messages is a bitmap for each chunk.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// ChunkSize is how many ids a chunk has.
	ChunkSize = 1 << chunkBits
	chunkBits = 10
	// Fan is how many segments are merged into one of the next size, so that
	// sizes are 1, 16, 256 and MaxChunks chunks.
	Fan = 16
	// MaxChunks is the size beyond which segments are not merged: four million
	// messages, whose segment has some hundred megabytes.
	MaxChunks = Fan * Fan * Fan
	// MaxParts bounds the number of a part.
	MaxParts = 1 << 24
)

// ChunkOf is the chunk that holds an id.
func ChunkOf(id int64) int64 { return id >> chunkBits }

// FirstID is the lowest id of a chunk.
func FirstID(chunk int64) int64 { return chunk << chunkBits }

// Numbers of the first part of each kind.
const (
	partDictionary = 0 << 22
	partPostings   = 1 << 22
	partColumns    = 2 << 22
	partSenders    = 3 << 22
	partHours      = partSenders + 1
)

// partTarget is the size that parts of the dictionary and of posting lists do
// not exceed if they can, in bytes: with what a database adds they fit a page of
// 4096. Parts are read whole.
const partTarget = 4000

// Emit takes a part of a segment that is being made. It may not keep data.
type Emit func(part int, data []byte) error

// Fetch returns a part of a segment. The caller of Fetch does not change it and
// has no use for it after the next call.
type Fetch func(part int) ([]byte, error)

// ErrDamaged is in the tree of every error that says that a segment is not what
// this package made, or made by another version. It can be made anew.
var ErrDamaged = errors.New("segment: damaged")

// Chunk says what a chunk holds.
type Chunk struct {
	Count    int   // messages
	Min, Max int64 // their times, whole Unix seconds; not set if Count is 0
}

// Segment is a decoded header.
type Segment struct {
	First  int64 // the first chunk
	Chunks []Chunk

	dictionary []dictionaryPart
	postings   []int // first ordinal of each part
	terms      int   // ordinals there are
	firstWord  int   // ordinal of the first term that is a word
}

// dictionaryPart says where a part of the dictionary begins.
type dictionaryPart struct {
	ordinal int
	term    string
}

// End is the chunk behind the last one.
func (s *Segment) End() int64 { return s.First + int64(len(s.Chunks)) }

// Count is the number of messages.
func (s *Segment) Count() (n int64) {
	for i := range s.Chunks {
		n += int64(s.Chunks[i].Count)
	}
	return n
}

// headerVersion changes with the format of anything in a segment, so that those
// of another version are made anew.
const headerVersion = 1

// encode returns the header as Decode takes it.
func (s *Segment) encode() []byte {
	b := []byte{headerVersion}
	b = binary.AppendUvarint(b, uint64(s.First))
	b = binary.AppendUvarint(b, uint64(len(s.Chunks)))
	last := int64(0)
	for _, c := range s.Chunks {
		b = binary.AppendUvarint(b, uint64(c.Count))
		if c.Count > 0 {
			b = binary.AppendVarint(b, c.Min-last)
			b = binary.AppendUvarint(b, uint64(c.Max-c.Min))
			last = c.Min
		}
	}
	b = binary.AppendUvarint(b, uint64(s.terms))
	b = binary.AppendUvarint(b, uint64(s.firstWord))
	b = binary.AppendUvarint(b, uint64(len(s.dictionary)))
	for _, d := range s.dictionary {
		b = binary.AppendUvarint(b, uint64(d.ordinal))
		b = binary.AppendUvarint(b, uint64(len(d.term)))
		b = append(b, d.term...)
	}
	b = binary.AppendUvarint(b, uint64(len(s.postings)))
	for _, p := range s.postings {
		b = binary.AppendUvarint(b, uint64(p))
	}
	return b
}

// Decode decodes a header.
func Decode(header []byte) (*Segment, error) {
	d := decoder{b: header}
	if d.byte() != headerVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrDamaged)
	}
	s := &Segment{First: int64(d.uvarint())}
	s.Chunks = make([]Chunk, d.length(MaxChunks))
	last := int64(0)
	for i := range s.Chunks {
		c := &s.Chunks[i]
		if c.Count = int(d.uvarint()); c.Count > 0 {
			c.Min = last + d.varint()
			c.Max = c.Min + int64(d.uvarint())
			last = c.Min
		}
	}
	s.terms = int(d.uvarint())
	s.firstWord = int(d.uvarint())
	s.dictionary = make([]dictionaryPart, d.length(MaxParts))
	for i := range s.dictionary {
		s.dictionary[i] = dictionaryPart{ordinal: int(d.uvarint()), term: string(d.bytes())}
	}
	s.postings = make([]int, d.length(MaxParts))
	for i := range s.postings {
		s.postings[i] = int(d.uvarint())
	}
	if d.failed {
		return nil, ErrDamaged
	}
	return s, nil
}

// decoder reads varints; after the first fault it gives zeros.
type decoder struct {
	b      []byte
	at     int // what is read of b
	failed bool
}

// left is how many bytes are not read yet.
func (d *decoder) left() int { return len(d.b) - d.at }

// rest is what is not read yet.
func (d *decoder) rest() []byte { return d.b[d.at:] }

func (d *decoder) fail() {
	d.at, d.failed = len(d.b), true
}

func (d *decoder) byte() byte {
	if d.at >= len(d.b) {
		d.fail()
		return 0
	}
	d.at++
	return d.b[d.at-1]
}

func (d *decoder) uvarint() uint64 {
	if d.at < len(d.b) && d.b[d.at] < 0x80 { // most are short
		d.at++
		return uint64(d.b[d.at-1])
	}
	v, n := binary.Uvarint(d.b[d.at:])
	if n <= 0 {
		d.fail()
		return 0
	}
	d.at += n
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b[d.at:])
	if n <= 0 {
		d.fail()
		return 0
	}
	d.at += n
	return v
}

// length reads a count of things of which there are at most so many.
func (d *decoder) length(most int) int {
	n := d.uvarint()
	if n > uint64(most) || n > uint64(d.left()) { // each takes a byte at least
		d.fail()
		return 0
	}
	return int(n)
}

// bytes reads a length and so many bytes.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	return d.take(n)
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(d.left()) {
		d.fail()
		return nil
	}
	b := d.b[d.at : d.at+int(n)]
	d.at += int(n)
	return b
}
