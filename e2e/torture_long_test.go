package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// words make texts that are searched for.
var words = strings.Fields(`the order is on its way and should be with you before noon please call when
	you are at home thank you for asking we open at nine the parcel was left with a neighbour`)

// walBound is how long the write-ahead log of a SQLite database may become: it
// is copied into the database at 64 MiB, readers that keep it from being begun
// anew are held back at 128 MiB, and meanwhile it grows.
const walBound = 192 << 20

// longVariable is how long the long run takes, if not an hour.
const longVariable = "LYFTR_TORTURE_LONG"

// TestTortureLong does a bit of everything for a long time and looks how lyftr
// fares.
func TestTortureLong(t *testing.T) {
	besideOthers(t)
	length := tortured(12*time.Second, time.Hour)
	if chosen, err := time.ParseDuration(os.Getenv(longVariable)); err == nil {
		length = chosen
	}
	l := &longRun{t: t, length: length, database: filepath.Join(t.TempDir(), "app.db"), client: newClient(t, 64)}
	l.process = start(t, l.database, "API_TOKEN="+apiToken, "WHATSAPP_APP_SECRET="+appSecret)
	l.client.Timeout = 0 // streams have no end
	ctx, stop := context.WithTimeout(t.Context(), length)
	var work sync.WaitGroup
	defer func() { stop(); work.Wait() }()

	every := func(pause time.Duration, act func(random *rand.Rand, i int)) {
		random := rand.New(rand.NewPCG(1, uint64(pause)))
		work.Go(func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				act(random, i)
				<-tick.C
			}
		})
	}
	for s := range 4 { // 200 webhooks a second
		every(20*time.Millisecond, func(random *rand.Rand, i int) { l.save(s, i, random) })
	}
	every(100*time.Millisecond, l.deliver)
	every(50*time.Millisecond, l.question)
	every(tortured(5*time.Second, time.Minute), func(*rand.Rand, int) { l.export() })
	every(3*time.Second, func(_ *rand.Rand, i int) { l.erase(i) })
	for range 5 {
		work.Go(func() { l.stream(ctx) })
		work.Go(func() { l.wait(ctx) })
	}
	l.watch(ctx, tortured(250*time.Millisecond, 5*time.Second))
	stop()
	work.Wait()
	l.judge()
	if code, _ := l.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	l.report()
}

// longRun is a lyftr under a mixed load.
type longRun struct {
	*process
	t        *testing.T
	length   time.Duration
	database string
	client   *http.Client

	saved, asked, exported, erased, events atomic.Int64
	samples                                []sample
}

// sample is how lyftr fares at one moment.
type sample struct {
	vitals
	wal, database, messages int64
}

// ask sends a request with the token; anything but 200 fails the test.
func (l *longRun) ask(method, path, accept string, body io.Reader) (answer string) {
	r, err := http.NewRequestWithContext(context.Background(), method, l.url(path), body)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+apiToken)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	status, answer := do(l.client, r)
	if status != http.StatusOK {
		l.t.Errorf("%s %s: %d %.200s", method, path, status, answer)
	}
	return answer
}

// save sends a new message, now and then an earlier one again.
func (l *longRun) save(sender, i int, random *rand.Rand) {
	if i > 0 && random.IntN(10) == 0 {
		i = random.IntN(i)
	}
	var text strings.Builder
	for w := range 12 {
		fmt.Fprintf(&text, "%s ", words[(i*7+w*w+sender)%len(words)])
	}
	said := text.String()
	b := body(fmt.Sprintf("long-%d-%d", sender, i), fmt.Sprintf("+9198%08d", (i*31+sender)%5000),
		time.Unix(1736935200+int64(i), 0).UTC().Format(time.RFC3339), &said)
	if status, answer := post(l.client, l.url("/webhook"), b); status != http.StatusOK {
		l.t.Errorf("save: %d %.200s", status, answer)
	}
	l.saved.Add(1)
}

// deliver sends a message and a status as WhatsApp does.
func (l *longRun) deliver(_ *rand.Rand, i int) {
	type object = map[string]any
	b, err := json.Marshal(object{"object": "whatsapp_business_account", "entry": []any{object{"id": "1", "changes": []any{object{
		"field": "messages", "value": object{
			"messaging_product": "whatsapp", "metadata": object{"display_phone_number": "15550783881", "phone_number_id": "1"},
			"messages": []any{object{"from": "919812345678", "id": fmt.Sprintf("wamid.m%d", i), "timestamp": fmt.Sprint(1749416383 + i), "type": "text", "text": object{"body": "a message"}}},
			"statuses": []any{object{"id": fmt.Sprintf("wamid.s%d", i/3), "status": []string{"sent", "delivered", "read"}[i%3], "timestamp": "1749416399", "recipient_id": "919812345679"}},
		}}}}}})
	if err != nil {
		panic(err)
	}
	if status, answer := postWhatsApp(l.client, l.url("/webhook"), b); status != http.StatusOK {
		l.t.Errorf("deliver: %d %.200s", status, answer)
	}
	l.saved.Add(1)
}

// question asks one of all the questions there are.
func (l *longRun) question(random *rand.Rand, i int) {
	from := url.QueryEscape(fmt.Sprintf("+9198%08d", random.IntN(5000)))
	word := words[random.IntN(len(words))]
	paths := []string{
		"/messages", "/messages?order=desc&limit=100", "/messages?from=" + from, "/messages?total=none&q=" + word, "/messages?limit=1&q=" + word + "&from=" + from,
		"/messages?order=desc&since=2025-01-15T10:00:00Z&until=2025-01-15T11:00:00Z", "/messages?source=whatsapp&limit=5",
		"/stats", "/stats?from=" + from, "/stats/timeline?bucket=day", "/feed?limit=10", "/feed?after=latest", "/statuses?limit=10&message_id=wamid.s0", "/rejected",
		"/", "/openapi.json", "/health/ready", "/metrics",
	}
	l.ask(http.MethodGet, paths[i%len(paths)], "", nil)
	l.asked.Add(1)
}

func (l *longRun) export() {
	l.ask(http.MethodGet, "/export?format=csv", "", nil)
	l.exported.Add(1)
}

// erase removes one sender after the other, whose messages come again and are
// repeats for ever.
func (l *longRun) erase(i int) {
	var answer struct{ Deleted int64 }
	b := l.ask(http.MethodDelete, "/messages?from="+url.QueryEscape(fmt.Sprintf("+9198%08d", i%5000)), "", nil)
	if err := json.Unmarshal([]byte(b), &answer); err != nil {
		l.t.Errorf("erase: %v", err)
	}
	l.erased.Add(answer.Deleted)
}

// stream follows the feed.
func (l *longRun) stream(ctx context.Context) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url("/feed?after=latest"), nil)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+apiToken)
	r.Header.Set("Accept", "text/event-stream")
	resp, err := l.client.Do(r)
	if err != nil {
		l.t.Errorf("stream: %v", err)
		return
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "event: message") {
			l.events.Add(1)
		}
	}
	if ctx.Err() == nil {
		l.t.Errorf("a stream ended: %v", lines.Err())
	}
}

// wait asks for what comes next, over and over.
func (l *longRun) wait(ctx context.Context) {
	after := "latest"
	for ctx.Err() == nil {
		var page struct {
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(l.ask(http.MethodGet, "/feed?wait=2&after="+url.QueryEscape(after), "", nil)), &page); err != nil {
			l.t.Errorf("feed: %v", err)
			return
		}
		after = page.Next
	}
}

// watch takes a sample now and then. The log is looked at and not kept.
func (l *longRun) watch(ctx context.Context, pace time.Duration) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for ctx.Err() == nil && !l.t.Failed() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s := sample{vitals: l.vitals(l.t), messages: int64(l.metric(l.t, "lyftr_stored_messages"))}
		for name, size := range map[string]*int64{l.database: &s.database, l.database + "-wal": &s.wal} {
			info, err := os.Stat(name)
			if err != nil {
				l.t.Fatal(err)
			}
			*size = info.Size()
		}
		l.samples = append(l.samples, s)
		l.mu.Lock()
		for _, line := range l.lines {
			if strings.Contains(line, `"level":"ERROR"`) {
				l.t.Errorf("the log has %s", line)
			}
		}
		l.lines = nil
		l.mu.Unlock()
	}
}

// figure is what is watched of the samples.
type figure struct {
	name   string
	of     func(s *sample) int64
	unit   int64
	ending string
}

// figures are in the order of the report.
func figures() []figure {
	return []figure{
		{"memory", func(s *sample) int64 { return s.resident }, 1 << 20, " MiB"},
		{"goroutines", func(s *sample) int64 { return int64(s.goroutines) }, 1, ""},
		{"descriptors", func(s *sample) int64 { return int64(s.descriptors) }, 1, ""},
		{"write-ahead log", func(s *sample) int64 { return s.wal }, 1 << 20, " MiB"},
		{"database a message", func(s *sample) int64 { return s.database / max(1, s.messages) }, 1, " bytes"},
	}
}

// median of a figure.
func (f *figure) median(samples []sample) int64 {
	var all []int64
	for i := range samples {
		all = append(all, f.of(&samples[i]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// judge compares what was when lyftr had warmed up with what was at the end.
func (l *longRun) judge() {
	warm := l.samples[len(l.samples)/4:]
	if len(warm) < 9 {
		l.t.Fatalf("only %d samples", len(l.samples))
	}
	first, last := warm[:len(warm)/3], warm[len(warm)-len(warm)/3:]
	const few = 12 // of connections that come and go, each with its goroutines
	memory := int64(48 << 20)
	growth := tortured[int64](4, 0) // at first much of the database is still in its log
	for i, bound := range []func(before int64) int64{
		func(before int64) int64 { return before + before/4 + memory },
		func(before int64) int64 { return before + 2*few },
		func(before int64) int64 { return before + few },
		func(int64) int64 { return walBound },
		func(before int64) int64 { return before + before/4 + growth*before },
	} {
		f := figures()[i]
		if before, after := f.median(first), f.median(last); after > bound(before) {
			l.t.Errorf("%s: %d at first and %d at last", f.name, before, after)
		}
	}
	for _, s := range l.samples {
		if s.wal > walBound {
			l.t.Fatalf("the write-ahead log was %d bytes long", s.wal)
		}
	}
	if l.events.Load() == 0 || l.exported.Load() == 0 || l.erased.Load() == 0 {
		l.t.Errorf("%d events, %d exports, %d erased: something was not done", l.events.Load(), l.exported.Load(), l.erased.Load())
	}
}

func (l *longRun) report() {
	warm := l.samples[len(l.samples)/4:]
	var parts []string
	for _, f := range figures() {
		highest := int64(0)
		for i := range l.samples {
			highest = max(highest, f.of(&l.samples[i]))
		}
		parts = append(parts, fmt.Sprintf("%s %d, %d, %d (at most %d)%s", f.name, f.of(&warm[0])/f.unit, f.median(warm)/f.unit, f.of(&warm[len(warm)-1])/f.unit, highest/f.unit, f.ending))
	}
	end := &l.samples[len(l.samples)-1]
	found(l.t, "Long run", "mixed load for "+l.length.String(), fmt.Sprintf("%d webhooks, %d questions, %d exports, %d erased, %d events to streams, %d messages at the end; first, median and last after the first quarter: %s",
		l.saved.Load(), l.asked.Load(), l.exported.Load(), l.erased.Load(), l.events.Load(), end.messages, strings.Join(parts, "; ")))
}
