package segment

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// BenchmarkBuild makes a segment of a chunk and one of Fan chunks, whose words are
// as frequent as words are, and reports the time for each message.
func BenchmarkBuild(b *testing.B) {
	for name, chunks := range map[string]int{"chunks=1": 1, "chunks=16": Fan} {
		b.Run(name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			words := rand.NewZipf(random, 1.2, 20, 50_000)
			docs := make([]Doc, chunks*ChunkSize)
			for i := range docs {
				var text strings.Builder
				for range 5 + random.IntN(20) {
					fmt.Fprintf(&text, "W%X ", words.Uint64()*2654435761%1_000_003)
				}
				docs[i] = Doc{ID: int64(i), From: random.Uint32N(100_000), To: random.Uint32N(10), Time: int64(i), Text: text.String()}
			}
			bytes := 0
			for b.Loop() {
				bytes = 0
				if _, err := Build(0, chunks, slices.Values(docs), func(_ int, data []byte) error { bytes += len(data); return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(docs)), "ns/message")
			b.ReportMetric(float64(bytes)/float64(len(docs)), "bytes/message")
		})
	}
}
