package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"lyftr/internal/message"
)

const (
	// benchBackupBytes is how large the database is that is backed up.
	benchBackupBytes = 1 << 30
	// benchBackupRate is how many messages a second are saved meanwhile.
	benchBackupRate    = 2000
	benchBackupSenders = 50
)

// BenchmarkBackup compares ways to copy a database of 1 GB while messages
// arrive: how long the copy takes, how large the log is at most (it is at most
// 64 MiB without a copy), and how long a save takes at the worst. Checking the
// copy is not in it.
func BenchmarkBackup(b *testing.B) {
	path := filepath.Join(b.TempDir(), "app.db")
	fillForBackup(b, path)
	for _, way := range []struct {
		name string
		copy func(ctx context.Context, destination string) error
	}{
		{"nothing for 5 s", func(ctx context.Context, _ string) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			<-ctx.Done()
			return nil
		}},
		{"pages in one read transaction", func(ctx context.Context, destination string) error {
			f, err := claimUnfinished(destination)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = (&backup{path: path, unfinished: destination, file: f, progress: func(int64, int64) {}}).copy(ctx)
			return err
		}},
		{"VACUUM INTO", func(ctx context.Context, destination string) error {
			db := openDB(fileDSN(path, append(guards(), "mode=ro")), nil)
			defer db.Close()
			if _, err := db.ExecContext(ctx, "VACUUM INTO ?", destination); err != nil {
				return err
			}
			return syncFile(destination)
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			s, err := Open(b.Context(), path, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var took []time.Duration
			longest := int64(0)
			for b.Loop() {
				destination := filepath.Join(b.TempDir(), "backup.db")
				ctx, stop := context.WithCancel(b.Context())
				var senders sync.WaitGroup
				senders.Go(func() { took = append(took, sendPaced(ctx, b, s)...) })
				senders.Go(func() {
					for ctx.Err() == nil {
						longest = max(longest, size(b, path+"-wal"))
						<-time.After(10 * time.Millisecond)
					}
				})
				if err := way.copy(b.Context(), destination); err != nil {
					b.Fatal(err)
				}
				stop()
				senders.Wait()
				if err := removeIfThere(destination); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(longest)/1e6, "log-MB")
			b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "saves/s")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
			b.ReportMetric(took[len(took)-1].Seconds()*1000, "max-ms")
		})
	}
}

func fillForBackup(b *testing.B, path string) {
	s, err := Open(b.Context(), path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; size(b, path) < benchBackupBytes; n++ {
		batch := make([]message.Message, 1000)
		for i := range batch {
			batch[i] = benchMessage()
		}
		if _, err := s.Save(b.Context(), batch, nil); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	f, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("the database has %d bytes", f.Size())
}

func benchMessage() message.Message {
	m := messages(fmt.Sprintf("m-%016x", rand.Uint64()))[0]
	m.From = fmt.Sprintf("+9198%08d", rand.IntN(100_000))
	text := "The order is on its way and should be with you before noon. Please call when you are at home."
	m.Text = &text
	return m
}

// sendPaced saves messages at a steady rate until ctx ends and returns how long
// each took.
func sendPaced(ctx context.Context, b *testing.B, s *Store) []time.Duration {
	var mu sync.Mutex
	var all []time.Duration
	var senders sync.WaitGroup
	for range benchBackupSenders {
		senders.Go(func() {
			var own []time.Duration
			tick := time.NewTicker(time.Second * benchBackupSenders / benchBackupRate)
			defer tick.Stop()
			for ctx.Err() == nil {
				begun := time.Now()
				if _, err := s.Save(b.Context(), []message.Message{benchMessage()}, nil); err != nil {
					b.Error(err)
					return
				}
				own = append(own, time.Since(begun))
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	senders.Wait()
	return all
}
