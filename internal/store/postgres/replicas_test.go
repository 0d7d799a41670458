package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"lyftr/internal/message"
)

// openReplicas opens several stores on one database.
func openReplicas(t *testing.T, url string, n int) (replicas []*Store) {
	t.Helper()
	for range n {
		replicas = append(replicas, openStore(t, url, Options{}))
	}
	return replicas
}

// TestSameMessagesToAll: the same batches come to all replicas at the same
// moment, each time in another order.
func TestSameMessagesToAll(t *testing.T) {
	t.Parallel()
	const batches, size = 150, 12
	replicas := openReplicas(t, sharedServer(t).NewDatabase(t), 3)
	created := make([]map[string]int, len(replicas))
	var savers sync.WaitGroup
	for i, s := range replicas {
		created[i] = map[string]int{}
		random := rand.New(rand.NewPCG(1, uint64(i)))
		var mu sync.Mutex
		for saver := range 2 {
			var orders [][]message.Message
			for b := range batches {
				if b%2 != saver {
					continue
				}
				var batch []message.Message
				for m := range size {
					// Neighbouring batches share half of their messages.
					batch = append(batch, newMessage(fmt.Sprintf("m%05d", b*size/2+m)))
				}
				random.Shuffle(size, func(x, y int) { batch[x], batch[y] = batch[y], batch[x] })
				orders = append(orders, batch)
			}
			savers.Go(func() {
				for _, batch := range orders {
					outcomes, err := s.Save(t.Context(), batch, nil)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for n, o := range outcomes {
						switch o {
						case message.Outcome{}:
							created[i][batch[n].ID]++
						case message.Outcome{Duplicate: true}:
						default:
							t.Errorf("%s: outcome %v", batch[n].ID, o)
						}
					}
					mu.Unlock()
				}
			})
		}
	}
	savers.Wait()
	const want = (batches-1)*size/2 + size
	times := map[string]int{}
	for _, c := range created {
		for id, n := range c {
			times[id] += n
		}
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s was created %d times", id, n)
		}
	}
	if len(times) != want {
		t.Errorf("%d messages were created, want %d", len(times), want)
	}
	for i, s := range replicas {
		stored := listIDs(t, s)
		if len(stored) != want || len(slices.Compact(stored)) != want {
			t.Errorf("replica %d lists %d messages, want %d", i, len(stored), want)
		}
		page, err := s.List(t.Context(), message.Query{Limit: 1})
		if err != nil || page.Total != want {
			t.Errorf("replica %d: total %d (%v), want %d", i, page.Total, err, want)
		}
		stats, err := s.Stats(t.Context(), message.Filter{})
		if err != nil || stats.Total != want {
			t.Errorf("replica %d: stats of %d (%v), want %d", i, stats.Total, err, want)
		}
		if n := s.Status().Messages; n != want {
			t.Errorf("replica %d: status says %d messages, want %d", i, n, want)
		}
	}
}

// follow reads the feed until it has n messages, and waits for changes when it
// finds nothing.
func follow(ctx context.Context, s *Store, n int) (ids []string, err error) {
	after := ""
	for len(ids) < n {
		changed := s.Changed()
		p, err := s.Feed(ctx, after, 7)
		if err != nil {
			return ids, err
		}
		after = p.Next
		ids = append(ids, idsOf(p.Messages)...)
		if len(p.Messages) == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
				return ids, fmt.Errorf("after %d of %d messages: %w", len(ids), n, ctx.Err())
			}
		}
	}
	return ids, nil
}

// TestFollowReplicas: readers follow the feed on every replica while all save,
// every message twice.
func TestFollowReplicas(t *testing.T) {
	t.Parallel()
	const savers, each = 6, 100
	replicas := openReplicas(t, sharedServer(t).NewDatabase(t), 3)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var running sync.WaitGroup
	read := make([][]string, 2*len(replicas))
	for i := range read {
		running.Go(func() {
			var err error
			if read[i], err = follow(ctx, replicas[i%len(replicas)], savers*each); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	for saver := range 2 * savers {
		running.Go(func() {
			for i := range each {
				m := newMessage(fmt.Sprintf("%d-%d", saver%savers, i))
				if _, err := replicas[saver%len(replicas)].Save(ctx, []message.Message{m}, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	whole, _ := feedIDs(t, replicas[0], "")
	sorted := slices.Compact(slices.Sorted(slices.Values(whole)))
	if len(whole) != savers*each || len(sorted) != savers*each {
		t.Errorf("the feed has %d messages, %d of them distinct, want %d", len(whole), len(sorted), savers*each)
	}
	for i, ids := range read {
		if !slices.Equal(ids, whole) {
			t.Errorf("reader %d was given another order, or not all: %d messages", i, len(ids))
		}
	}
}
