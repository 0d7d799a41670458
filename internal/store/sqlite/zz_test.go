package sqlite

import (
	"os"
	"strings"
	"testing"

	"lyftr/internal/message"
)

func BenchmarkZZ(b *testing.B) {
	s, err := Open(b.Context(), os.Getenv("ZZDB"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, q := range strings.Split(os.Getenv("ZZQ"), ",") {
		b.Run(q, func(b *testing.B) {
			for b.Loop() {
				p, err := s.List(b.Context(), message.Query{Filter: message.Filter{Text: q}, Limit: 50})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(p.Total), "total")
			}
		})
	}
}
