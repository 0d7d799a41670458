package segment

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Columns are the times and the senders of one chunk, by position.
type Columns struct {
	Present Bits
	times   column
	senders column
}

// column holds a number for each position, as the difference from the least, in
// as few bytes as the largest difference needs.
type column struct {
	least int64
	width int
	data  []byte
}

func (c *column) at(i int) int64 {
	d := c.data[i*c.width:]
	switch c.width {
	case 0:
		return c.least
	case 1:
		return c.least + int64(d[0])
	case 2:
		return c.least + int64(binary.LittleEndian.Uint16(d))
	case 3:
		return c.least + int64(d[0]) + int64(d[1])<<8 + int64(d[2])<<16
	case 4:
		return c.least + int64(binary.LittleEndian.Uint32(d))
	}
	return c.least + int64(binary.LittleEndian.Uint64(d))
}

// Time is when the message at a position was sent, in whole Unix seconds.
func (c *Columns) Time(position int) int64 { return c.times.at(position) }

// Sender is the number of the sender of the message at a position.
func (c *Columns) Sender(position int) uint32 { return uint32(c.senders.at(position)) }

// appendColumn appends the values of the positions in present; the others read
// as anything.
func appendColumn(to []byte, present *Bits, value func(i int) int64) []byte {
	least, most, none := int64(0), int64(0), true
	for i := range present.All {
		v := value(i)
		if none {
			least, most, none = v, v, false
		}
		least, most = min(least, v), max(most, v)
	}
	width := 0
	// The times of the years 1 to 9999 are far from overflowing.
	switch d := uint64(most - least); {
	case d == 0:
	case d < 1<<8:
		width = 1
	case d < 1<<16:
		width = 2
	case d < 1<<24:
		width = 3
	case d < 1<<32:
		width = 4
	default:
		width = 8
	}
	to = binary.AppendVarint(to, least)
	to = append(to, byte(width))
	start := len(to)
	to = slices.Grow(to, width*ChunkSize)[:start+width*ChunkSize]
	data := to[start:]
	clear(data)
	if width == 0 {
		return to
	}
	var b [8]byte
	for i := range present.All {
		binary.LittleEndian.PutUint64(b[:], uint64(value(i)-least))
		copy(data[i*width:], b[:width])
	}
	return to
}

// encodeColumns makes the part of a chunk.
func encodeColumns(present *Bits, time, sender func(i int) int64) []byte {
	b := AppendBits(nil, present)
	b = appendColumn(b, present, time)
	return appendColumn(b, present, sender)
}

func (d *decoder) column() (c column) {
	c.least = d.varint()
	c.width = int(d.byte())
	if c.width > 4 && c.width != 8 {
		d.fail()
		return column{}
	}
	c.data = d.take(uint64(c.width) * ChunkSize)
	return c
}

// Columns reads the columns of a chunk, by its number within the segment. They
// are only good until fetch is called again.
func (s *Segment) Columns(fetch Fetch, chunk int) (c Columns, err error) {
	data, err := fetch(s.ColumnsPart(chunk))
	if err != nil {
		return c, err
	}
	return DecodeColumns(data)
}

// ColumnsPart is the number of the part that holds a chunk's columns.
func (s *Segment) ColumnsPart(chunk int) int { return partColumns + chunk }

// DecodeColumns decodes the part of a chunk's columns, which it keeps.
func DecodeColumns(data []byte) (c Columns, err error) {
	var ok bool
	if c.Present, ok = BitsOf(data); !ok {
		return c, ErrDamaged
	}
	d := decoder{b: data[bytesOfBits:]}
	c.times, c.senders = d.column(), d.column()
	if d.failed {
		return Columns{}, ErrDamaged
	}
	return c, nil
}

// SenderCount is how many messages a sender has in a segment.
type SenderCount struct {
	Sender uint32 // its number
	Count  int
}

// Senders calls yield for every sender, by rising number, with the number of
// messages when the segment was made.
func (s *Segment) Senders(fetch Fetch, yield func(SenderCount)) error {
	return eachCount(fetch, partSenders, func(sender int64, n int) { yield(SenderCount{uint32(sender), n}) })
}

// SecondsPerHour is the width of the buckets of Hours.
const SecondsPerHour = 3600

// HourCount is how many messages of a segment were sent within an hour.
type HourCount struct {
	Start int64 // Unix seconds, a multiple of SecondsPerHour
	Count int
}

// Hours calls yield for every hour that has messages, in order, with their
// number when the segment was made.
func (s *Segment) Hours(fetch Fetch, yield func(HourCount)) error {
	return eachCount(fetch, partHours, func(hour int64, n int) { yield(HourCount{hour * SecondsPerHour, n}) })
}

// hourOf is the hour of a time, also before 1970.
func hourOf(unix int64) int64 {
	h := unix / SecondsPerHour
	if unix%SecondsPerHour < 0 {
		h--
	}
	return h
}

// counts are numbers of messages by something.
type counts map[int64]int

func (c counts) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(len(c)))
	last := int64(0)
	for _, key := range slices.Sorted(maps.Keys(c)) {
		b = binary.AppendVarint(b, key-last)
		b = binary.AppendUvarint(b, uint64(c[key]))
		last = key
	}
	return b
}

func (c counts) add(key int64, n int) {
	if c[key] += n; c[key] == 0 {
		delete(c, key)
	}
}

func eachCount(fetch Fetch, part int, yield func(key int64, n int)) error {
	data, err := fetch(part)
	if err != nil {
		return err
	}
	d := decoder{b: data}
	key := int64(0)
	for range d.length(MaxChunks * ChunkSize) {
		key += d.varint()
		n := int(d.uvarint())
		if d.failed {
			break
		}
		yield(key, n)
	}
	if d.failed {
		return ErrDamaged
	}
	return nil
}
