package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lyftr/internal/message"
)

// Copier copies the messages of one store to another in the order of the first
// one's feed, and then all statuses. Each is saved with what is known of it; one
// that is there already stays as it is.
type Copier struct {
	From, To message.Store
	// Position is how far the copy has come in the feed of From: everything
	// before it is saved. A copy that was broken off goes on from there. If it is
	// lost messages are saved again, which does no harm.
	Position string
	// Counts are of everything before Position.
	Counts CopyCounts
	// Statuses are counts of the last walk through the statuses. A copy that was
	// broken off walks through all of them again, which does no harm.
	Statuses StatusCounts
	// StatusesSince is when that walk began.
	StatusesSince time.Time
	// OnSaved, if set, is called after each save, when Position and Counts, or
	// Statuses, are those behind it.
	OnSaved func()
	// OnFault, if set, is told of each message that To does not have as From has
	// it: because it was refused, with the reason, or else because To has
	// another with its identity.
	OnFault func(m *message.Message, refused error)
}

// CopyCounts are what became of the messages of a copy.
type CopyCounts struct {
	Created    int64 `json:"created"`
	Duplicates int64 `json:"duplicates"`
	Mismatches int64 `json:"mismatches"` // duplicates with other content
	Refused    int64 `json:"refused"`    // break a rule, and cannot be stored there
}

// Messages is how many messages were copied or tried.
func (c CopyCounts) Messages() int64 { return c.Created + c.Duplicates + c.Refused }

// StatusCounts are what became of the statuses of a copy.
type StatusCounts struct{ Created, Duplicates int64 }

// All is how many statuses were copied.
func (c StatusCounts) All() int64 { return c.Created + c.Duplicates }

// ErrCopyRead is in the tree of an error of Run that came from the store that is
// read.
var ErrCopyRead = errors.New("read the source")

const (
	// copyMessages, or statuses, and copyBytes, of text and raw, are what is saved
	// at one time: as much as a transaction takes.
	copyMessages = 1000
	copyBytes    = 1 << 20
)

// copyBatch is a piece of the feed.
type copyBatch struct {
	messages []message.Message
	position string // behind them
	err      error  // what ended the feed behind them
}

// Run copies until the end of the feed, as it is when the copy gets there, and
// then the statuses. One save follows the other, so that the feeds of both have
// one order.
//
// When ctx ends, what is being saved is finished. After any error Run may be
// called again and goes on.
func (c *Copier) Run(ctx context.Context) error {
	if err := c.runMessages(ctx); err != nil {
		return err
	}
	return c.runStatuses(ctx)
}

// runMessages copies the messages. The next ones are read while some are saved.
func (c *Copier) runMessages(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	batches := make(chan copyBatch)
	from, position := c.From, c.Position
	go func() {
		defer close(batches)
		readFeed(reading, from, position, batches)
	}()
	defer func() {
		stop()
		for range batches { // until the goroutine has ended
		}
	}()
	for b := range batches {
		if err := c.save(ctx, b); err != nil {
			return err
		}
		if b.err != nil {
			return fmt.Errorf("%w: %w", ErrCopyRead, b.err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// readFeed reads the feed behind a position in pieces, to its end.
func readFeed(ctx context.Context, db message.Store, position string, to chan<- copyBatch) {
	for more := true; more; {
		var b copyBatch
		for size := 0; more && len(b.messages) < copyMessages && size < copyBytes; {
			page, err := db.Feed(ctx, position, min(message.MaxFeedLimit, copyMessages-len(b.messages)))
			if err != nil {
				b.err, more = err, false
				break
			}
			for i := range page.Messages {
				size += weight(&page.Messages[i])
			}
			b.messages = append(b.messages, page.Messages...)
			position, more = page.Next, page.More
		}
		b.position = position
		select {
		case to <- b:
		case <-ctx.Done():
			return
		}
	}
}

// weight is about how many bytes a message takes besides what every one does.
func weight(m *message.Message) int {
	n := len(m.Raw)
	if m.Text != nil {
		n += len(*m.Text)
	}
	return n
}

// save saves a batch and moves the position behind it.
func (c *Copier) save(ctx context.Context, b copyBatch) error {
	results, err := c.saveAll(context.WithoutCancel(ctx), b.messages)
	if err != nil {
		return err
	}
	for i, r := range results {
		switch {
		case r.refused != nil:
			c.Counts.Refused++
		case !r.Duplicate:
			c.Counts.Created++
		case r.Mismatch:
			c.Counts.Mismatches++
			fallthrough
		default:
			c.Counts.Duplicates++
		}
		if (r.refused != nil || r.Mismatch) && c.OnFault != nil {
			c.OnFault(&b.messages[i], r.refused)
		}
	}
	if b.position == c.Position {
		return nil
	}
	c.Position = b.position
	if c.OnSaved != nil {
		c.OnSaved()
	}
	return nil
}

// copyResult is what became of one message.
type copyResult struct {
	message.Outcome
	refused error
}

// saveAll saves messages. Those that were adopted may break a rule, and a
// database may refuse such a one, and with it all that were to be saved at once:
// then they are saved by halves, until it is alone.
func (c *Copier) saveAll(ctx context.Context, messages []message.Message) ([]copyResult, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	outcomes, err := c.To.Save(ctx, messages, nil)
	switch {
	case err == nil:
		results := make([]copyResult, len(outcomes))
		for i, o := range outcomes {
			results[i].Outcome = o
		}
		return results, nil
	case errors.Is(err, message.ErrUnavailable), !anyBreaksRule(messages):
		return nil, err
	case len(messages) == 1:
		return []copyResult{{refused: err}}, nil
	}
	half := len(messages) / 2
	first, err := c.saveAll(ctx, messages[:half])
	if err != nil {
		return nil, err
	}
	second, err := c.saveAll(ctx, messages[half:])
	if err != nil {
		return nil, err
	}
	return append(first, second...), nil
}

func anyBreaksRule(messages []message.Message) bool {
	for _, m := range messages {
		if m.Check() != nil { // of a copy: Check changes it
			return true
		}
	}
	return false
}
