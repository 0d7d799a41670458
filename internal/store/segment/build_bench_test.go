package segment

import (
	"testing"

	"lyftr/internal/message"
	"lyftr/internal/sample"
)

// BenchmarkBuild makes a segment of a chunk and one of Fan chunks, and reports
// the time for each message.
func BenchmarkBuild(b *testing.B) {
	for name, chunks := range map[string]int{"chunks=1": 1, "chunks=16": Fan} {
		b.Run(name, func(b *testing.B) {
			g := sample.New(sample.Options{Senders: 100_000})
			docs := make([]Doc, chunks*ChunkSize)
			numbers := map[string]uint32{}
			number := func(s string) uint32 {
				n, ok := numbers[s]
				if !ok {
					n = uint32(len(numbers) + 1)
					numbers[s] = n
				}
				return n
			}
			for i := range docs {
				m := g.Next()
				docs[i] = Doc{ID: int64(i), From: number(m.From), To: number(m.To), Time: m.At.Unix()}
				if m.Text != nil {
					docs[i].Text = message.Fold(*m.Text)
				}
			}
			bytes := 0
			for b.Loop() {
				bytes = 0
				if _, err := Build(0, chunks, docs, func(_ int, data []byte) error { bytes += len(data); return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(docs)), "ns/message")
			b.ReportMetric(float64(bytes)/float64(len(docs)), "bytes/message")
		})
	}
}
