package segment_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/store/segment"
)

// ofSource is what EachSourced yields.
func ofSource(t failer, data []byte, source string) (got []segment.Sourced) {
	if err := segment.EachSourced(data, source, func(s segment.Sourced) { got = append(got, s) }); err != nil {
		t.Fatalf("EachSourced(%q): %v", source, err)
	}
	return got
}

// TestSources: what was appended of some chunks is what is read of each source.
func TestSources(t *testing.T) {
	names := []string{"native", "whatsapp", "", "é\x00", "Native"}
	rapid.Check(t, func(t *rapid.T) {
		var data []byte
		want := map[string][]segment.Sourced{}
		for range rapid.IntRange(0, 20).Draw(t, "chunks") {
			chunk := map[string]*segment.Bits{}
			of := rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "sources")
			count, every := 0, rapid.SampledFrom([]int{1, 7, 200}).Draw(t, "every")
			for p := range segment.ChunkSize {
				if len(of) == 0 || p%every > 0 {
					continue
				}
				name := of[p*p%len(of)]
				if chunk[name] == nil {
					chunk[name] = &segment.Bits{}
				}
				chunk[name].Add(p)
				count++
			}
			data = segment.AppendSources(data, chunk)
			for _, name := range names {
				own := segment.Sourced{Bits: chunk[name], Count: count}
				if len(chunk) == 1 && own.Bits != nil {
					own = segment.Sourced{All: true}
				} else if own.Bits == nil {
					own = segment.Sourced{}
				}
				want[name] = append(want[name], own)
			}
		}
		for _, name := range names {
			if diff := cmp.Diff(want[name], ofSource(t, data, name)); diff != "" {
				t.Errorf("%q (-appended +read):\n%s", name, diff)
			}
		}
	})
}

// TestSourcesOfOne: chunks of one source take no more than its name.
func TestSourcesOfOne(t *testing.T) {
	data := segment.AppendSources(nil, map[string]*segment.Bits{"native": {1, 2, 3}})
	if len(data) > len("native")+2 {
		t.Errorf("%d bytes", len(data))
	}
}

// FuzzSources: any bytes are sources or an error.
func FuzzSources(f *testing.F) {
	whole := segment.AppendSources(nil, map[string]*segment.Bits{"native": {1, 2}, "whatsapp": {1 << 63}, "x": {^uint64(0), ^uint64(0), ^uint64(0)}})
	whole = segment.AppendSources(whole, map[string]*segment.Bits{"native": {}})
	whole = segment.AppendSources(whole, nil)
	f.Add(whole, []byte{})
	for at := range whole {
		f.Add(whole, []byte{byte(at), 0, 1, 0})
		f.Add(whole, []byte{byte(at), 0, 0, 0xff})
	}
	f.Fuzz(func(t *testing.T, data, edits []byte) {
		damaged := edit(data, edits)
		var chunks []int
		for _, name := range []string{"native", "x"} {
			n := 0
			err := segment.EachSourced(damaged, name, func(s segment.Sourced) {
				if s.All && s.Bits != nil || s.Bits != nil && s.Bits.Len() > segment.ChunkSize {
					t.Errorf("%+v", s)
				}
				n++
			})
			if err == nil {
				chunks = append(chunks, n)
			}
		}
		if n := slices.Max(append(chunks, 0)); n > len(damaged) {
			t.Errorf("%d chunks of %d bytes", n, len(damaged))
		}
	})
}
