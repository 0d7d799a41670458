// Package sample makes messages that look like those of people who write to
// shops, banks and offices: in several languages and scripts, with words as
// frequent as words are, from senders some of whom write much and most little,
// by day more than by night. It also makes questions whose answers are of a
// known size.
//
// The words behind the first few hundred of each language are made up.
package sample

import (
	"math/rand/v2"
	"time"

	"lyftr/internal/message"
)

// MaxSenders is the largest number of senders.
const MaxSenders = 10_000_000

// Options choose the messages of a Generator. Zero values mean the defaults.
type Options struct {
	// Seed chooses one of many sequences of messages. Words and senders are the
	// same for all.
	Seed uint64
	// Start is when the first message arrives. Default: Span before now.
	Start time.Time
	// Span is the time over which Count messages arrive. Default 365 days.
	Span time.Duration
	// Count is how many messages fill the span; later ones arrive at its end.
	// Default a million.
	Count int64
	// Skip is how many messages are left out at the beginning.
	Skip int64
	// Senders is how many people write, at most MaxSenders. Default 100 000.
	Senders int
	// Mixed has four of ten senders write by a provider each, and changes nothing
	// else. Default: all messages are native.
	Mixed bool
	// Received has the messages' ReceivedAt set to when they arrive.
	Received bool
}

func (o Options) withDefaults() Options {
	if o.Span <= 0 {
		o.Span = 365 * 24 * time.Hour
	}
	if o.Start.IsZero() {
		o.Start = time.Now().Add(-o.Span)
	}
	if o.Count <= 0 {
		o.Count = 1_000_000
	}
	if o.Senders <= 0 {
		o.Senders = 100_000
	}
	o.Start = o.Start.UTC()
	return o
}

// Generator makes messages one after the other, in order of arrival. It is for
// one goroutine at a time.
type Generator struct {
	o              Options
	next           int64
	clock          *clock
	vocabularies   []*vocabulary
	senders        *senders
	recipients     []string
	recipientsDice dice
	buffer         []byte
}

// New returns a generator. It makes the vocabularies, which takes a tenth of a
// second.
func New(o Options) *Generator {
	o = o.withDefaults()
	g := &Generator{o: o, next: o.Skip, clock: newClock(o.Start, o.Span)}
	for i, l := range languages() {
		g.vocabularies = append(g.vocabularies, newVocabulary(i, l))
	}
	g.senders = newSenders(o.Senders, g.vocabularies)
	g.recipients, g.recipientsDice = newRecipients()
	return g
}

// Start is when the first message of the sequence arrives.
func (g *Generator) Start() time.Time { return g.o.Start }

// Next returns the next message. It depends on the options and on its place in
// the sequence only. Its strings share memory.
func (g *Generator) Next() message.Message {
	i := g.next
	g.next++
	r := &random{state: mix(mix(g.o.Seed) + uint64(i)*goldenGamma)} // another for every i

	arrival := g.clock.at(min(1, (float64(i)+r.unit())/float64(g.o.Count))).Truncate(time.Millisecond)
	at, layout := arrival.Add(-delay(r)), "2006-01-02T15:04:05Z"
	if r.below(8) == 0 {
		at, layout = at.Truncate(time.Millisecond), "2006-01-02T15:04:05.000Z"
	} else {
		at = at.Truncate(time.Second)
	}
	sender := g.senders.dice.throw(r.Uint64())
	b := appendID(g.buffer[:0], r)
	endID := len(b)
	b = at.AppendFormat(b, layout)
	endTS := len(b)
	b, hasText := g.appendText(b, r, g.vocabularies[g.senders.language[sender]])
	g.buffer = b

	s := string(b)
	m := message.Message{
		Source: message.SourceNative,
		ID:     s[:endID],
		From:   g.senders.number(sender),
		To:     g.recipients[g.recipientsDice.throw(r.Uint64())],
		TS:     s[endID:endTS],
		At:     at,
	}
	if hasText {
		text := s[endTS:]
		m.Text = &text
	}
	if g.o.Received {
		m.ReceivedAt = arrival
	}
	if g.o.Mixed {
		m.Source = sourceOf(sender)
	}
	return m
}

// appendID appends an identity in the form of WhatsApp's.
func appendID(b []byte, r *random) []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	b = append(b, "wamid.HBgM"...)
	for range 5 {
		u := r.Uint64()
		for range 9 {
			b = append(b, alphabet[u%64])
			u /= 64
		}
	}
	return b
}

// Sender returns one of the senders, drawn as a message's sender is.
func (g *Generator) Sender(r rand.Source) string {
	return g.senders.number(g.senders.dice.throw(r.Uint64()))
}

// Busiest returns the sender of most messages.
func (g *Generator) Busiest() string { return g.senders.number(0) }

// Recipient returns one of the recipients, drawn as a message's recipient is.
func (g *Generator) Recipient(r rand.Source) string {
	return g.recipients[g.recipientsDice.throw(r.Uint64())]
}
