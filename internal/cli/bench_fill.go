package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/sample"
	"lyftr/internal/store"
)

// benchFillCommand is lyftr bench fill.
type benchFillCommand struct {
	DatabaseURL string        `setting:"DATABASE_URL" default:"sqlite:///./data/app.db" placeholder:"URL" help:"Database to fill. No server may have a SQLite file open."`
	Count       int64         `required:"" placeholder:"N" help:"Messages of the whole sequence, spread over the span."`
	Skip        int64         `default:"0" placeholder:"M" help:"Leave out the first M of them: goes on with a fill that was stopped, given the same --seed, --count, --senders, --start, --span and --mixed."`
	Seed        uint64        `default:"1" placeholder:"N" help:"Chooses the messages; the same seed makes the same ones."`
	Senders     int           `default:"100000" placeholder:"N" help:"How many people write."`
	Start       string        `placeholder:"TIME" help:"When the first message arrives, such as 2025-01-15T10:00:00Z; the span before now if left out."`
	Span        time.Duration `default:"8760h" placeholder:"TIME" help:"Time over which the messages arrive."`
	Mixed       bool          `help:"Let some of the senders write by WhatsApp, Twilio and Standard Webhooks; else all messages are native."`
	Output      string        `default:"database" enum:"database,ndjson" placeholder:"KIND" help:"database, or ndjson for webhook bodies on standard output, one a line."`
}

// Help implements kong.HelpProvider.
func (c *benchFillCommand) Help() string {
	return `Use a database of its own: what is filled in stays. The last line says how to go on.

  lyftr bench fill --count 1000000 --database-url sqlite:///./bench.db
  lyftr bench fill --count 1000 --output ndjson > messages.ndjson`
}

const (
	// fillBatch is how many messages a transaction holds: as many as the store
	// takes at once.
	fillBatch = 1000
	// fillSaves is how many batches are being saved, so that the writer finds
	// the next one when it is done with one.
	fillSaves = 3
)

// filled is what bench fill prints. With Next as --skip and the same other
// options the next run goes on.
type filled struct {
	Messages          int64   `json:"messages"`
	Duplicates        int64   `json:"duplicates"`
	Seconds           float64 `json:"seconds"`
	MessagesPerSecond float64 `json:"messages_per_second"`
	DatabaseBytes     int64   `json:"database_bytes"`
	PeakRSSBytes      int64   `json:"peak_rss_bytes,omitempty"`
	Start             string  `json:"start"`
	Next              int64   `json:"next"`
}

// Run makes the messages and stores or prints them until there are enough or
// the context ends.
func (c *benchFillCommand) Run(e *environment) error {
	if c.Count < 1 || c.Skip < 0 || c.Span <= 0 {
		return usagef("--count and --span must be more than 0, --skip at least 0")
	}
	if c.Senders < 1 || c.Senders > sample.MaxSenders {
		return usagef("--senders must be from 1 to %d", sample.MaxSenders)
	}
	if c.Mixed && c.Output == "ndjson" {
		return usagef("--mixed: a webhook body says nothing of a source")
	}
	o := sample.Options{
		Seed: c.Seed, Span: c.Span, Count: c.Count, Skip: c.Skip, Senders: c.Senders, Received: true, Mixed: c.Mixed,
		Start: time.Now().Add(-c.Span).Truncate(time.Second),
	}
	if c.Start != "" {
		start, err := message.ParseInstant(c.Start)
		if err != nil {
			return usagef("--start: %w", err)
		}
		o.Start = start
	}
	if c.Output == "ndjson" {
		return c.print(e, sample.New(o))
	}
	return c.fill(e, sample.New(o))
}

// print writes webhook bodies.
func (c *benchFillCommand) print(e *environment, g *sample.Generator) error {
	out := bufio.NewWriter(e.stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for i := c.Skip; i < c.Count && e.ctx.Err() == nil; i++ {
		if err := encoder.Encode(newBody(g.Next())); err != nil {
			return fmt.Errorf("bench fill: %w", err)
		}
	}
	return out.Flush()
}

// fill stores the messages and says how fast that went.
func (c *benchFillCommand) fill(e *environment, g *sample.Generator) (err error) {
	tuneRuntime() // as the server does
	db, err := store.Open(e.ctx, c.DatabaseURL, store.Options{})
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, db.Close())
		}
	}()

	begin := time.Now()
	f := fill{db: db, total: max(0, c.Count-c.Skip)}
	stopShowing := showProgress(e.stderr, f.progress)
	err = f.run(e.ctx, g)
	stopShowing()
	if err != nil {
		return fmt.Errorf("bench fill: %w", err)
	}
	closed = true
	if err := db.Close(); err != nil {
		return err
	}
	took := time.Since(begin).Seconds()
	done := f.saved.Load()
	return json.NewEncoder(e.stdout).Encode(filled{
		Messages:          done,
		Duplicates:        f.duplicates.Load(),
		Seconds:           took,
		MessagesPerSecond: float64(done) / took,
		DatabaseBytes:     databaseBytes(c.DatabaseURL),
		PeakRSSBytes:      processMemory("self")["VmHWM"],
		Start:             g.Start().Format(time.RFC3339),
		Next:              c.Skip + done,
	})
}

// fill is a fill in progress.
type fill struct {
	db         message.Store
	total      int64
	saved      atomic.Int64 // duplicates included
	duplicates atomic.Int64
}

func (f *fill) progress() (done, total int64) { return f.saved.Load(), f.total }

// run saves the generator's messages until there are enough or ctx ends. What
// was generated is saved: a context that ends stops the generator only.
func (f *fill) run(ctx context.Context, g *sample.Generator) error {
	generate, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	batches := make(chan []message.Message, fillSaves)
	var work sync.WaitGroup
	work.Go(func() {
		defer close(batches)
		for left := f.total; left > 0 && generate.Err() == nil; {
			batch := make([]message.Message, min(left, fillBatch))
			for i := range batch {
				batch[i] = g.Next()
			}
			batches <- batch
			left -= int64(len(batch))
		}
	})
	errs := make([]error, fillSaves)
	for i := range errs {
		work.Go(func() {
			for batch := range batches {
				if errs[i] != nil {
					continue // empties the channel, so that the generator ends
				}
				if errs[i] = f.save(context.WithoutCancel(ctx), batch); errs[i] != nil {
					stop(errs[i])
				}
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

func (f *fill) save(ctx context.Context, batch []message.Message) error {
	outcomes, err := f.db.Save(ctx, batch, nil)
	if err != nil {
		return err
	}
	duplicates := int64(0)
	for _, o := range outcomes {
		if o.Duplicate {
			duplicates++
		}
	}
	f.duplicates.Add(duplicates)
	f.saved.Add(int64(len(batch)))
	return nil
}
