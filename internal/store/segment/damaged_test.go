package segment_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// small is a segment of two chunks with something of everything: words of
// several lengths, scripts without spaces, long runs, bitmaps, gaps.
func small(t failer, first int64) (header []byte, parts map[int][]byte) {
	var docs []segment.Doc
	texts := []string{"hello world", "shell hello", "日本語 日本", strings.Repeat("abc", 20), "", "x", "rare" + strings.Repeat("ly", 9)}
	for i := range 400 {
		id := segment.FirstID(first) + int64(i)*5 + 1
		docs = append(docs, segment.Doc{
			ID: id, From: uint32(1 + i%7), To: uint32(1 + i%300), Time: int64(i*i) - 500, Text: message.Fold(texts[i%len(texts)]),
		})
	}
	parts = map[int][]byte{}
	header, err := segment.Build(first, 2, slices.Values(docs), keep(t, parts))
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return header, parts
}

// edits are changes of bytes: each says where, and what becomes of it.
func edit(data []byte, edits []byte) []byte {
	data = bytes.Clone(data)
	for ; len(edits) >= 4; edits = edits[4:] {
		at := int(binary.LittleEndian.Uint16(edits)) % (len(data) + 1)
		switch value := edits[3]; edits[2] % 4 {
		case 0:
			if at < len(data) {
				data[at] = value
			}
		case 1:
			data = data[:at]
		case 2:
			data = slices.Insert(data, at, value)
		case 3:
			data = append(data[:at:at], data[min(len(data), at+1+int(value)):]...)
		}
	}
	return data
}

// FuzzDamaged: a damaged segment gives an error or some answer, in bounded time
// and memory, whatever of it is damaged.
func FuzzDamaged(f *testing.F) {
	header, parts := small(f, 3)
	numbers := slices.Sorted(maps.Keys(parts))
	f.Add([]byte{}, uint8(0), []byte{})
	f.Add([]byte{1, 0, 0, 0xff, 2, 0, 0, 0xff, 3, 0, 0, 0xff}, uint8(0), []byte{})
	for i := range numbers {
		f.Add([]byte{}, uint8(i), []byte{0, 0, 0, 0xff})
		f.Add([]byte{}, uint8(i), []byte{1, 0, 2, 0x80, 1, 0, 2, 0xff, 1, 0, 2, 0xff})
		f.Add([]byte{}, uint8(i), []byte{20, 0, 1, 0})
		f.Add([]byte{}, uint8(i), []byte{0, 0, 1, 0})
		f.Add([]byte{9, 0, 0, 1, 40, 0, 0, 0x7f}, uint8(i), []byte{130, 0, 0, 8, 9, 0, 0, 0})
	}
	a, b, text := uint32(1), uint32(300), message.Fold
	conditions := []*segment.Condition{
		segment.NewCondition(&a, nil, ""), segment.NewCondition(nil, &b, ""), segment.NewCondition(&a, &a, text("hello world")),
	}
	for _, needle := range []string{"h", "he", "hel", "ello", "hello wor", "lo world", "o w", "日", "日本", "日本語", "bca", strings.Repeat("abc", 12), "ly", "rarelyly", " "} {
		conditions = append(conditions, segment.NewCondition(nil, nil, text(needle)))
	}
	f.Fuzz(func(t *testing.T, headerEdits []byte, part uint8, partEdits []byte) {
		damaged, err := segment.Decode(edit(header, headerEdits))
		if err != nil {
			return
		}
		which := numbers[int(part)%len(numbers)]
		own := maps.Clone(parts)
		own[which] = edit(own[which], partEdits)
		m := &made{damaged, own}
		for _, c := range conditions {
			sure, maybe, err := m.Find(m.fetch, c)
			if err == nil && (sure != nil && len(sure) != len(m.Chunks) || maybe != nil && len(maybe) != len(m.Chunks)) {
				t.Errorf("Find: sets of %d and %d chunks, there are %d", len(sure), len(maybe), len(m.Chunks))
			}
			if err == nil {
				_, _ = segment.DecodeSet(sure.Encode(), len(m.Chunks))
			}
		}
		for i := range m.Chunks {
			columns, err := m.Columns(m.fetch, i)
			if err != nil {
				continue
			}
			for p := range columns.Present.All {
				columns.Time(p)
				columns.Sender(p)
			}
		}
		_ = m.Senders(m.fetch, func(segment.SenderCount) {})
		_ = m.Hours(m.fetch, func(segment.HourCount) {})
		var hole segment.Bits
		hole.Add(6)
		for _, holes := range []*segment.Bits{nil, &hole} {
			emitted := 0
			merged, err := segment.Merge([]segment.Input{{Segment: m.Segment, Fetch: m.fetch, Holes: func(int) *segment.Bits { return holes }}},
				func(_ int, data []byte) error { emitted += len(data); return nil })
			if err != nil {
				continue
			}
			if _, err := segment.Decode(merged); err != nil {
				t.Errorf("what was merged does not decode: %v", err)
			}
			if emitted > 1<<20 {
				t.Errorf("a segment of some kilobytes became one of %d bytes", emitted)
			}
		}
	})
}

// FuzzDecodeSet: any bytes are a set or an error.
func FuzzDecodeSet(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{0, 5, 4, 6}, uint16(3))
	f.Add(append([]byte{2}, bytes.Repeat([]byte{0xff}, 128)...), uint16(1))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, uint16(9))
	f.Fuzz(func(t *testing.T, data []byte, chunks uint16) {
		s, err := segment.DecodeSet(data, int(chunks))
		if err != nil {
			return
		}
		again, err := segment.DecodeSet(s.Encode(), int(chunks))
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		for i := range again {
			var a, b segment.Bits
			if s[i] != nil {
				a = *s[i]
			}
			if again[i] != nil {
				b = *again[i]
			}
			if a != b {
				t.Errorf("chunk %d: %v became %v", i, a, b)
			}
		}
	})
}

// TestMergedIsBuilt: merging leaves byte for byte what building of the messages
// that are left makes. So nothing stays of those in the holes.
func TestMergedIsBuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Int64Range(0, 40).Draw(t, "first chunk")
		chunks := 0
		var left []segment.Doc
		var inputs []segment.Input
		holes := map[int64]*segment.Bits{}
		for range rapid.IntRange(1, 4).Draw(t, "segments") {
			own := rapid.IntRange(1, 3).Draw(t, "chunks")
			var docs []segment.Doc
			for chunk := range own {
				c := first + int64(chunks+chunk)
				every := rapid.SampledFrom([]int{1, 3, 9, 200, 2000}).Draw(t, "every")
				gone := rapid.SampledFrom([]int{0, 1, 2, 7, 300}).Draw(t, "gone")
				words := rapid.SampledFrom([]int{1, 5, 5000}).Draw(t, "words")
				for p := 1; p < segment.ChunkSize; p += every {
					d := segment.Doc{
						ID: segment.FirstID(c) + int64(p), From: uint32(1 + p%13), To: uint32(1 + p%900), Time: int64(p*p%7777) * 1000,
						Text: message.Fold(strings.Repeat("word", p%3) + string(rune('a'+p%words%26)) + " 日本" + string(rune(0x4E00+p%words))),
					}
					docs = append(docs, d)
					if gone > 0 && p%gone == 0 {
						if holes[c] == nil {
							holes[c] = &segment.Bits{}
						}
						holes[c].Add(p)
						continue
					}
					left = append(left, d)
				}
			}
			m := build(t, first+int64(chunks), own, docs)
			inputs = append(inputs, segment.Input{Segment: m.Segment, Fetch: m.fetch, Holes: func(chunk int) *segment.Bits { return holes[m.First+int64(chunk)] }})
			chunks += own
		}
		want, got := map[int][]byte{}, map[int][]byte{}
		wantHeader, err := segment.Build(first, chunks, slices.Values(left), keep(t, want))
		if err != nil {
			t.Fatalf("Build: %v", err)
		}
		gotHeader, err := segment.Merge(inputs, keep(t, got))
		if err != nil {
			t.Fatalf("Merge: %v", err)
		}
		if !bytes.Equal(wantHeader, gotHeader) {
			t.Errorf("the header differs: %x, %x", wantHeader, gotHeader)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("parts (-built +merged):\n%s", diff)
		}
		for part := range want {
			if !bytes.Equal(want[part], got[part]) {
				t.Errorf("part %d differs", part)
			}
		}
	})
}
