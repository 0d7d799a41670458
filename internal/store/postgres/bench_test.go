package postgres

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/pgserver"
)

// BenchmarkRows is what a message costs one writer when so many callers save one
// at a time, each index with its share.
func BenchmarkRows(b *testing.B) {
	server := pgserver.Start(b, pgserver.Options{Durable: true, Settings: map[string]string{"shared_buffers": "128MB"}})
	words := strings.Fields(`the order is on its way and should be with you before noon please call when
	you are at home thank you for asking we open at nine the parcel was left with a neighbour can you
	send the invoice again my number has changed see you on friday is it still available`)
	for _, drop := range []string{"", "messages_search", "messages_search messages_by_sender messages_by_recipient", "messages_search messages_by_sender messages_by_recipient messages_by_time"} {
		b.Run("without="+drop, func(b *testing.B) {
			url := server.NewDatabase(b)
			s, err := Open(b.Context(), url, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for index := range strings.FieldsSeq(drop) {
				server.Exec(b, url, "DROP INDEX "+index)
			}
			if v := os.Getenv("PGX_EXEC"); v != "" {
				server.Exec(b, url, v)
			}
			random := rand.New(rand.NewPCG(1, 2))
			messages := make([]message.Message, b.N)
			now := time.Now()
			for i := range messages {
				var text strings.Builder
				for range 6 + random.IntN(20) {
					text.WriteString(words[random.IntN(len(words))] + " ")
				}
				t := text.String()
				messages[i] = message.Message{Source: "native", ID: fmt.Sprintf("wamid.%016x", random.Uint64()), From: fmt.Sprintf("+9198%08d", random.IntN(100_000)),
					To: "+14155550100", TS: "2025-01-15T10:00:00Z", At: now.Add(time.Duration(i) * time.Millisecond), Text: &t}
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range 64 {
				wg.Go(func() {
					for {
						i := int(next.Add(1)) - 1
						if i >= b.N {
							return
						}
						if _, err := s.Save(b.Context(), messages[i:i+1], nil); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
