package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/sample"
)

// benchReadCommand is lyftr bench read.
type benchReadCommand struct {
	URL          string        `default:"http://127.0.0.1:8000" placeholder:"URL" help:"The server, which should hold what bench fill made."`
	Token        string        `setting:"API_TOKEN" secret:"" placeholder:"TOKEN" help:"Token to read with; of several the first is taken."`
	Duration     time.Duration `default:"3s" placeholder:"TIME" help:"How long each kind of read is asked for."`
	Concurrency  int           `default:"1" placeholder:"N" help:"Readers that ask at the same time, each again as soon as it is answered."`
	Only         []string      `placeholder:"WORD,…" help:"Only the kinds of read with one of these words in their name."`
	Seed         uint64        `default:"1" placeholder:"N" help:"Chooses the questions."`
	Senders      int           `default:"100000" placeholder:"N" help:"As given to bench fill."`
	RateWebhooks int           `default:"0" placeholder:"N" help:"Post so many new messages a second meanwhile."`
	Secret       string        `setting:"WEBHOOK_SECRET" secret:"" placeholder:"SECRET" help:"Secret to sign them with."`
	PID          int           `name:"pid" placeholder:"PID" help:"Process of the server, whose memory is printed at the end."`
	JSON         bool          `name:"json" help:"Print JSON, one object a line."`
}

// Help implements kong.HelpProvider.
func (c *benchReadCommand) Help() string {
	return `Slow kinds of read, and what load does to all of them, show as percentiles.

  lyftr bench read
  lyftr bench read --only cursor,from --concurrency 8 --json
  WEBHOOK_SECRET_FILE=/run/secrets/webhook lyftr bench read --rate-webhooks 100`
}

// readLoadConnections is how many webhooks may be under way meanwhile.
const readLoadConnections = 64

// readTimeout bounds one question: longer than a server lets it take.
const readTimeout = 60 * time.Second

// Run asks for each kind of read in turn. It fails if any answer was an error.
func (c *benchReadCommand) Run(e *environment) error {
	reads, err := c.check()
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: c.Concurrency}
	defer transport.CloseIdleConnections()
	token, _, _ := strings.Cut(c.Token, ",")
	b := &readBench{
		server:    &benchServer{url: strings.TrimSuffix(c.URL, "/"), token: strings.TrimSpace(token), client: &http.Client{Transport: transport, Timeout: readTimeout}},
		generator: sample.New(sample.Options{Senders: c.Senders}),
	}
	b.words = b.generator.Words()
	if err := b.learn(e.ctx); err != nil {
		return fmt.Errorf("bench read: %w", err)
	}

	report := &readReport{out: e.stdout, json: c.JSON}
	stopLoad := func() error { return nil }
	if c.RateWebhooks > 0 {
		load, err := newLoad(e.ctx, loadOptions{
			URLs: []string{c.URL}, Secret: c.Secret, Connections: readLoadConnections, Rate: c.RateWebhooks,
		}, sample.New(sample.Options{
			Seed:    uint64(time.Now().UnixNano()), // another run posts other messages
			Senders: c.Senders, Received: true,
		}))
		if err != nil {
			return fmt.Errorf("bench read: %w", err)
		}
		defer load.close()
		ctx, stop := context.WithCancel(e.ctx)
		defer stop()
		posted := make(chan error, 1)
		go func() { posted <- load.run(ctx) }()
		stopLoad = func() error {
			stop()
			return errors.Join(<-posted, report.line(load.measured()))
		}
	}
	for i, r := range reads {
		if err == nil && e.ctx.Err() == nil {
			err = report.line(c.measure(e.ctx, b, r, uint64(i)))
		}
	}
	if err := errors.Join(err, stopLoad()); err != nil {
		return fmt.Errorf("bench read: %w", err)
	}
	if c.PID != 0 {
		memory := processMemory(strconv.Itoa(c.PID))
		if err := report.memory(memory["VmRSS"], memory["VmHWM"]); err != nil {
			return fmt.Errorf("bench read: %w", err)
		}
	}
	if report.errors > 0 {
		return fmt.Errorf("bench read: %d answers were errors, the first: %w", report.errors, report.first)
	}
	return nil
}

// check finds what is wrong with the flags and returns what is to be read.
func (c *benchReadCommand) check() ([]read, error) {
	switch {
	case c.Duration <= 0 || c.Concurrency < 1:
		return nil, usagef("--duration and --concurrency must be more than 0")
	case c.RateWebhooks < 0 || c.RateWebhooks > loadMostRate:
		return nil, usagef("--rate-webhooks must be from 0 to %d", loadMostRate)
	case c.Senders < 1 || c.Senders > sample.MaxSenders:
		return nil, usagef("--senders must be from 1 to %d", sample.MaxSenders)
	case c.RateWebhooks > 0 && c.Secret == "":
		return nil, usagef("no secret to sign webhooks with: set WEBHOOK_SECRET or give --secret")
	}
	if err := checkPID(c.PID); err != nil {
		return nil, err
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" {
		return nil, usagef("--url: not an address such as http://127.0.0.1:8000")
	}
	reads := slices.DeleteFunc(allReads(), func(r read) bool {
		return len(c.Only) > 0 && !slices.ContainsFunc(c.Only, func(word string) bool { return strings.Contains(r.name, word) })
	})
	if len(reads) == 0 {
		return nil, usagef("--only: no kind of read has such a name")
	}
	return reads, nil
}

// measure asks for one kind of read until its time is over, at least once.
func (c *benchReadCommand) measure(ctx context.Context, b *readBench, r read, number uint64) measured {
	results := make([]measured, c.Concurrency)
	all := measured{name: r.name, slow: r.slow, took: &histogram{}}
	seeds := rand.NewPCG(c.Seed, number)
	end := time.Now().Add(c.Duration)
	var readers sync.WaitGroup
	for i := range results {
		source := rand.NewPCG(seeds.Uint64(), seeds.Uint64())
		results[i].took = all.took
		readers.Go(func() {
			a := &asker{readBench: b, source: source, random: rand.New(source)}
			for {
				a.ask(ctx, r, &results[i])
				if ctx.Err() != nil || time.Now().After(end) {
					return
				}
			}
		})
	}
	readers.Wait()
	for i := range results {
		all.add(&results[i])
	}
	return all
}

// readBench is what the readers share.
type readBench struct {
	server      *benchServer
	generator   *sample.Generator
	words       *sample.Words
	total       int64
	first, last time.Time
}

// learn asks how many messages there are and of what time.
func (b *readBench) learn(ctx context.Context) error {
	answer, _, err := b.server.get(ctx, "/stats")
	if err != nil {
		return err
	}
	if answer.TotalMessages == 0 {
		return errors.New("the server has no messages: fill its database with lyftr bench fill")
	}
	b.total = answer.TotalMessages
	var errFirst, errLast error
	b.first, errFirst = message.ParseTimestamp(answer.First)
	b.last, errLast = message.ParseTimestamp(answer.Last)
	return errors.Join(errFirst, errLast)
}

// benchServer is the server that is asked.
type benchServer struct {
	url, token string
	client     *http.Client
}

// benchAnswer is what the answers of all reads have that is looked at.
type benchAnswer struct {
	Data          []json.RawMessage `json:"data"`
	Total         int64             `json:"total"`
	NextCursor    string            `json:"next_cursor"`
	TotalMessages int64             `json:"total_messages"`
	First         string            `json:"first_message_ts"`
	Last          string            `json:"last_message_ts"`
}

// get asks and returns the answer and how long it took until it was there
// whole. Any status but 200 is an error.
func (s *benchServer) get(ctx context.Context, path string) (answer benchAnswer, took time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, http.NoBody)
	if err != nil {
		return answer, 0, err
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	begin := time.Now()
	response, err := s.client.Do(request)
	if err != nil {
		return answer, time.Since(begin), err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	took = time.Since(begin)
	switch {
	case err != nil:
		return answer, took, fmt.Errorf("%s: %w", path, err)
	case response.StatusCode != http.StatusOK:
		return answer, took, fmt.Errorf("%s: the server answered %s: %.200s", path, response.Status, body)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, took, fmt.Errorf("%s: %w", path, err)
	}
	return answer, took, nil
}

// measured is what came of one kind of request.
type measured struct {
	name    string
	slow    bool // by its nature
	took    *histogram
	rows    int64 // in all answers
	matches int64 // that all answers counted
	unsent  int64 // that were due and not begun
	errors  int64
	first   error
}

func (m *measured) fail(err error) {
	m.errors++
	if m.first == nil {
		m.first = err
	}
}

func (m *measured) add(o *measured) {
	m.rows += o.rows
	m.matches += o.matches
	m.unsent += o.unsent
	m.errors += o.errors
	if m.first == nil {
		m.first = o.first
	}
}

// readReport prints what was measured and remembers what went wrong.
type readReport struct {
	out    io.Writer
	json   bool
	titled bool
	errors int64
	first  error
}

// line prints one kind of request.
func (r *readReport) line(m measured) error {
	r.errors += m.errors
	if r.first == nil {
		r.first = m.first
	}
	// What was due and not sent counts with the time that it waited.
	count, l := m.took.count()-m.unsent, m.took.latencies()
	matches := m.matches / max(1, count)
	if r.json {
		return json.NewEncoder(r.out).Encode(struct {
			Name  string `json:"name"`
			Slow  bool   `json:"slow"`
			Count int64  `json:"count"`
			latencies
			Rows    int64 `json:"rows"`
			Matches int64 `json:"mean_matches"`
			Unsent  int64 `json:"unsent"`
			Errors  int64 `json:"errors"`
		}{m.name, m.slow, count, l, m.rows, matches, m.unsent, m.errors})
	}
	if !r.titled {
		r.titled = true
		if _, err := fmt.Fprintf(r.out, "%-28s %8s %9s %9s %9s %9s %9s %10s %6s\n",
			"", "count", "p50 ms", "p90 ms", "p99 ms", "max ms", "rows", "matches", "errors"); err != nil {
			return err
		}
	}
	name := m.name
	if m.slow {
		name += " (slow)"
	}
	if m.unsent > 0 {
		name += fmt.Sprintf(" (%d unsent)", m.unsent)
	}
	_, err := fmt.Fprintf(r.out, "%-28s %8d %9.2f %9.2f %9.2f %9.2f %9d %10d %6d\n",
		name, count, l.P50, l.P90, l.P99, l.Max, m.rows, matches, m.errors)
	return err
}

// memory prints what a process holds now and has held at most, in bytes.
func (r *readReport) memory(now, most int64) error {
	if r.json {
		return json.NewEncoder(r.out).Encode(struct {
			RSS     int64 `json:"rss_bytes"`
			PeakRSS int64 `json:"peak_rss_bytes"`
		}{now, most})
	}
	_, err := fmt.Fprintf(r.out, "memory of the server: %d MiB, at most %d MiB\n", now>>20, most>>20)
	return err
}
