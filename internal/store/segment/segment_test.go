package segment_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
)

// made is a segment with its parts in memory.
type made struct {
	*segment.Segment
	parts map[int][]byte
}

func (m *made) fetch(part int) ([]byte, error) {
	data, ok := m.parts[part]
	if !ok {
		return nil, fmt.Errorf("there is no part %d", part)
	}
	return bytes.Clone(data), nil
}

// keep collects parts, each of which may come once.
func keep(t failer, parts map[int][]byte) segment.Emit {
	return func(part int, data []byte) error {
		if _, ok := parts[part]; ok || part < 0 || part >= segment.MaxParts {
			t.Fatalf("part %d came twice, or is out of range", part)
		}
		parts[part] = bytes.Clone(data)
		return nil
	}
}

type failer interface {
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func decoded(t failer, header []byte, err error, parts map[int][]byte) *made {
	if err != nil {
		t.Fatalf("make a segment: %v", err)
	}
	s, err := segment.Decode(header)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return &made{s, parts}
}

func build(t failer, first int64, chunks int, docs []segment.Doc) *made {
	parts := map[int][]byte{}
	header, err := segment.Build(first, chunks, slices.Values(docs), keep(t, parts))
	return decoded(t, header, err, parts)
}

// found is what a condition finds, where a text has to be looked at by looking
// at it. It fails if a message that is said to be sure is not one.
func found(t failer, m *made, docs map[int64]segment.Doc, c *segment.Condition, want func(segment.Doc) bool) []int64 {
	sure, maybe, err := m.Find(m.fetch, c)
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	var ids []int64
	for i := range m.Chunks {
		var both segment.Bits
		if sure != nil && sure[i] != nil {
			both = *sure[i]
		}
		if maybe != nil && maybe[i] != nil {
			for p := range maybe[i].All {
				id := segment.FirstID(m.First+int64(i)) + int64(p)
				if both.Has(p) {
					t.Errorf("id %d is sure and not sure", id)
				}
				d, ok := docs[id]
				if !ok {
					t.Fatalf("id %d is found and not there", id)
				}
				if want(d) {
					both.Add(p)
				}
			}
		}
		for p := range both.All {
			ids = append(ids, segment.FirstID(m.First+int64(i))+int64(p))
		}
	}
	return ids
}

// someText draws texts of many scripts whose parts are likely to be met again.
var someText = rapid.Custom(func(t *rapid.T) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{
		"hello", "hell", "he", "shell", "helo", "lohel", "abcxbcd", "abcd", "o", " ", " ", "  ", ", ", ".", "!", "world", "wor", "ÉCOLE", "école", "ß", "ς", "Σ", "K", "İ",
		"नमस्ते", "नम", "।", "سلام", "،", "привет", "日本語", "日", "本", "本語", "語日", "ไทย", "ภาษา", "カタ", "😀", "👍🏽", "12345", "45", "1", "\n",
		strings.Repeat("abcdefgh", 5), strings.Repeat("x", 33), strings.Repeat("y", 32), "\u0301", "\U0010ffff", "한국어", "%", "_", `\`,
	}), 0, 8).Draw(t, "parts")
	return strings.Join(parts, "")
})

// TestFind: every condition finds what a loop over the messages finds, in
// segments that were built, merged and merged again, with holes.
func TestFind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Int64Range(0, 3).Draw(t, "first chunk")
		all := map[int64]segment.Doc{}
		var inputs []*made
		at := first
		for range rapid.IntRange(1, 4).Draw(t, "segments") {
			chunks := rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "chunks")
			var docs []segment.Doc
			id := segment.FirstID(at)
			for range rapid.IntRange(0, 40).Draw(t, "messages") {
				id += rapid.Int64Range(1, 200).Draw(t, "distance")
				if segment.ChunkOf(id) >= at+int64(chunks) {
					break
				}
				d := segment.Doc{
					ID: id, From: rapid.Uint32Range(1, 5).Draw(t, "from"), To: rapid.SampledFrom([]uint32{1, 2, 1 << 31}).Draw(t, "to"),
					Time: rapid.SampledFrom([]int64{-62135596800, -1, 0, 5, 300, 70_000, 20_000_000, 253402300799}).Draw(t, "time"),
					Text: message.Fold(someText.Draw(t, "text")),
				}
				docs, all[id] = append(docs, d), d
			}
			inputs = append(inputs, build(t, at, chunks, docs))
			at += int64(chunks)
		}
		holes := map[int64]*segment.Bits{}
		for id := range all {
			if rapid.IntRange(0, 4).Draw(t, "hole") == 0 {
				c := segment.ChunkOf(id)
				if holes[c] == nil {
					holes[c] = &segment.Bits{}
				}
				holes[c].Add(int(id % segment.ChunkSize))
			}
		}
		for _, m := range inputs {
			check(t, m, all)
		}
		var to []segment.Input
		for _, m := range inputs {
			to = append(to, segment.Input{Segment: m.Segment, Fetch: m.fetch, Holes: func(chunk int) *segment.Bits { return holes[m.First+int64(chunk)] }})
		}
		parts := map[int][]byte{}
		header, err := segment.Merge(to, keep(t, parts))
		merged := decoded(t, header, err, parts)
		for c, b := range holes {
			for p := range b.All {
				delete(all, segment.FirstID(c)+int64(p))
			}
		}
		check(t, merged, all)
		// Merging one segment without holes changes nothing.
		again := map[int][]byte{}
		header2, err := segment.Merge([]segment.Input{{Segment: merged.Segment, Fetch: merged.fetch, Holes: func(int) *segment.Bits { return nil }}}, keep(t, again))
		if err != nil || !bytes.Equal(header, header2) || !maps.EqualFunc(parts, again, bytes.Equal) {
			t.Errorf("merging a segment alone changed it (error %v)", err)
		}
	})
}

// check compares a segment with the messages of its chunks.
func check(t *rapid.T, m *made, all map[int64]segment.Doc) {
	own := map[int64]segment.Doc{}
	senders := map[uint32]int{}
	for id, d := range all {
		if c := segment.ChunkOf(id); c >= m.First && c < m.End() {
			own[id] = d
			senders[d.From]++
		}
	}
	if m.Count() != int64(len(own)) {
		t.Errorf("Count: got %d, want %d", m.Count(), len(own))
	}
	got := map[uint32]int{}
	if err := m.Senders(m.fetch, func(c segment.SenderCount) { got[c.Sender] = c.Count }); err != nil {
		t.Fatalf("Senders: %v", err)
	}
	if diff := cmp.Diff(senders, got); diff != "" {
		t.Errorf("Senders (-want +got):\n%s", diff)
	}
	for i, c := range m.Chunks {
		n := 0
		if c.Count > 0 {
			columns, err := m.Columns(m.fetch, i)
			if err != nil {
				t.Fatalf("Columns: %v", err)
			}
			for p := range columns.Present.All {
				d, ok := own[segment.FirstID(m.First+int64(i))+int64(p)]
				n++
				if !ok || columns.Time(p) != d.Time || columns.Sender(p) != d.From || d.Time < c.Min || d.Time > c.Max {
					t.Errorf("chunk %d, position %d: time %d, sender %d, in %d to %d; want %+v", i, p, columns.Time(p), columns.Sender(p), c.Min, c.Max, d)
				}
			}
		}
		if n != c.Count {
			t.Errorf("chunk %d: %d messages in its columns, %d in the header", i, n, c.Count)
		}
	}
	var texts []string
	for _, id := range slices.Sorted(maps.Keys(own)) {
		texts = append(texts, own[id].Text)
	}
	for range 8 {
		text := ""
		if rapid.Bool().Draw(t, "with text") {
			text = message.Fold(someText.Draw(t, "needle"))
			if len(texts) > 0 && rapid.Bool().Draw(t, "of a message") {
				text = rapid.SampledFrom(texts).Draw(t, "whose")
			}
			if runes := []rune(text); len(runes) > 2 && rapid.Bool().Draw(t, "cut") {
				a := rapid.IntRange(0, len(runes)-1).Draw(t, "from rune")
				b := rapid.IntRange(a+1, len(runes)).Draw(t, "to rune")
				text = string(runes[a:b])
			}
		}
		var from, to *uint32
		if rapid.IntRange(0, 3).Draw(t, "with from") == 0 {
			v := rapid.Uint32Range(1, 6).Draw(t, "from")
			from = &v
		}
		if rapid.IntRange(0, 3).Draw(t, "with to") == 0 {
			v := rapid.SampledFrom([]uint32{1, 2, 3, 1 << 31}).Draw(t, "to")
			to = &v
		}
		if from == nil && to == nil && text == "" {
			continue
		}
		matches := func(d segment.Doc) bool {
			return (from == nil || d.From == *from) && (to == nil || d.To == *to) && strings.Contains(d.Text, text)
		}
		var want []int64
		for i := range m.Chunks {
			for p := range segment.ChunkSize {
				id := segment.FirstID(m.First+int64(i)) + int64(p)
				if d, ok := own[id]; ok && matches(d) {
					want = append(want, id)
				}
			}
		}
		ids := found(t, m, own, segment.NewCondition(from, to, text), matches)
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("from %v, to %v, text %q (-want +got):\n%s", from, to, text, diff)
		}
	}
}
