package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// follower reads the feed as server-sent events and resumes by the last id,
// wherever the server is at the time.
type follower struct {
	mu     sync.Mutex
	url    string
	moved  chan struct{} // closed when url has changed
	lastID string
	seen   map[string]int
	order  []string
	ends   int // of streams
}

func newFollower() *follower {
	return &follower{moved: make(chan struct{}), seen: map[string]int{}}
}

// move tells the follower where the server is now.
func (f *follower) move(url string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.url = url
	close(f.moved)
	f.moved = make(chan struct{})
}

// follow reads until the context ends.
func (f *follower) follow(ctx context.Context, client *http.Client) {
	for ctx.Err() == nil {
		f.mu.Lock()
		url, moved := f.url, f.moved
		f.mu.Unlock()
		f.read(ctx, client, url)
		f.mu.Lock()
		f.ends++
		f.mu.Unlock()
		select {
		case <-moved:
		case <-time.After(50 * time.Millisecond): // the same server again
		case <-ctx.Done():
		}
	}
}

// read reads one stream to its end. An event counts once its empty line is
// there, as the rules for event streams have it.
func (f *follower) read(ctx context.Context, client *http.Client, url string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if f.lastID != "" {
		r.Header.Set("Last-Event-ID", f.lastID)
	}
	resp, err := client.Do(r)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return
	}
	lines := bufio.NewReader(resp.Body)
	var id, data string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return // what is cut off does not count
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			f.event(id, data)
			data = ""
		}
	}
}

func (f *follower) event(id, data string) {
	if f.lastID = id; data == "" {
		return
	}
	var m struct {
		ID string `json:"message_id"`
	}
	if err := json.Unmarshal([]byte(data), &m); err != nil {
		m.ID = "not JSON: " + data
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[m.ID]++
	f.order = append(f.order, m.ID)
}

func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.order)
}

// TestFollowThroughKill: who follows the feed while the server is killed and
// started again under load has seen every acknowledged message once, in the
// order of storing.
func TestFollowThroughKill(t *testing.T) {
	const rounds, senders, followers = 8, 12, 3
	database := filepath.Join(t.TempDir(), "app.db")
	l := &ledger{deliveries: map[string]*delivery{}}
	random := rand.New(rand.NewPCG(3, 4))
	var all []*follower
	var following sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer func() { stop(); following.Wait() }()
	reader := newClient(t, followers)
	reader.Timeout = 0 // a stream has no end
	for range followers {
		all = append(all, newFollower())
	}
	begin := sync.OnceFunc(func() {
		for _, f := range all {
			following.Go(func() { f.follow(ctx, reader) })
		}
	})
	move := func(p *process) {
		for _, f := range all {
			f.move(p.url("/feed"))
		}
		begin()
	}
	for round := range rounds {
		p := start(t, database)
		move(p)
		client := newClient(t, senders)
		loading, end := context.WithCancel(ctx)
		kill := time.AfterFunc(time.Duration(100+random.IntN(500))*time.Millisecond, func() {
			p.kill()
			end()
		})
		l.load(loading, client, p.url("/webhook"), fmt.Sprintf("f%d", round), senders)
		kill.Stop()
		end()
	}
	p := start(t, database)
	move(p)
	var whole struct{ Total int }
	_, answer := get(t, p.url("/messages?limit=1"))
	if err := json.Unmarshal(answer, &whole); err != nil || whole.Total < rounds {
		t.Fatalf("%d messages are stored, %v: the load did not load", whole.Total, err)
	}
	for _, f := range all {
		waitFor(t, func() bool { return f.count() >= whole.Total })
	}

	// A stop in good order ends the streams and is not held up by them.
	code, took := p.terminate(t)
	if code != 0 || took > 5*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
	stop()
	following.Wait()
	if stored := l.verify(t, database); stored != whole.Total {
		t.Errorf("%d messages are stored, the server counted %d", stored, whole.Total)
	}
	for i, f := range all {
		if !slices.Equal(f.order, all[0].order) {
			t.Errorf("follower %d saw another order than the first", i)
		}
		if f.ends < rounds {
			t.Errorf("follower %d lost its stream only %d times", i, f.ends)
		}
		for _, id := range slices.Sorted(maps.Keys(f.seen)) {
			if f.seen[id] != 1 {
				t.Errorf("follower %d saw %s %d times", i, id, f.seen[id])
			}
			if l.deliveries[id] == nil {
				t.Errorf("follower %d saw %s, which was never sent", i, id)
			}
		}
		for id, d := range l.deliveries {
			if d.acknowledged && f.seen[id] == 0 {
				t.Errorf("follower %d did not see %s, which was acknowledged", i, id)
			}
		}
	}
	t.Logf("%d messages, %d followers, %d kills", whole.Total, followers, rounds)
}

// TestTerminateWhileReading: requests that wait and streams do not hold up the
// end of the process, and are answered in good order.
func TestTerminateWhileReading(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	p := start(t, database)
	client := newClient(t, 16)
	client.Timeout = 0
	const waiting = 8
	type result struct {
		status int
		body   string
	}
	results := make(chan result)
	for i := range 2 * waiting {
		go func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url("/feed?wait=60"), nil)
			if err != nil {
				panic(err)
			}
			if i%2 == 0 {
				r.Header.Set("Accept", "text/event-stream")
			}
			status, body := do(client, r)
			results <- result{status, body}
		}()
	}
	waitFor(t, func() bool {
		_, metrics := get(t, p.url("/metrics"))
		return strings.Contains(string(metrics), fmt.Sprintf("lyftr_feed_readers %d\n", 2*waiting))
	})
	code, took := p.terminate(t)
	if code != 0 || took > 5*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
	streams := 0
	for range 2 * waiting {
		r := <-results
		if strings.HasPrefix(r.body, "retry: ") {
			streams++
			continue
		}
		if r.status != http.StatusOK || !strings.HasPrefix(r.body, `{"data":[],"next_cursor":"`) {
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	if streams != waiting {
		t.Errorf("%d streams ended in good order, want %d", streams, waiting)
	}
}
