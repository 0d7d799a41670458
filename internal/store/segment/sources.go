package segment

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Sourced is what a chunk has of one source.
type Sourced struct {
	All   bool  // all its messages are of it, whichever were removed since
	Bits  *Bits // those that are, nil if All or if none is
	Count int   // messages of the chunk, of all its sources; not set if All or if none is of it
}

// AppendSources appends which messages of a chunk are of which source, as
// EachSourced reads it. What is of one source takes no more than its name.
func AppendSources(to []byte, sources map[string]*Bits) []byte {
	to = binary.AppendUvarint(to, uint64(len(sources)))
	if len(sources) > 1 {
		count := 0
		for _, b := range sources {
			count += b.Len()
		}
		to = binary.AppendUvarint(to, uint64(count))
	}
	var positions []uint16
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		to = binary.AppendUvarint(to, uint64(len(name)))
		to = append(to, name...)
		if len(sources) == 1 {
			break
		}
		positions = positions[:0]
		for p := range sources[name].All {
			positions = append(positions, uint16(p))
		}
		to = appendContainer(to, 0, positions)
	}
	return to
}

// EachSourced calls yield with what each of the chunks has of a source that were
// appended to data, in their order.
func EachSourced(data []byte, source string, yield func(Sourced)) error {
	d := decoder{b: data}
	var free slab
	for d.left() > 0 {
		s, count := Sourced{}, 0
		n := d.length(ChunkSize)
		if n > 1 {
			count = int(d.uvarint())
		}
		for range n {
			own := string(d.bytes()) == source
			if n == 1 {
				s.All = own
				break
			}
			c := containers{decoder: d}
			switch {
			case !c.next():
				c.fail()
			case own:
				s.Bits, s.Count = free.new(), count
				c.addTo(s.Bits)
			default:
				c.skip()
			}
			d = c.decoder
		}
		if d.failed {
			return ErrDamaged
		}
		yield(s)
	}
	return nil
}
