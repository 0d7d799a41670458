// Package message is lyftr's domain: what a message is, how one is decoded and
// validated, how stored messages are asked for, and the Store that keeps them.
//
// It imports the standard library only; everything else in lyftr imports it.
package message

import (
	"errors"
	"time"
)

// SourceNative is the source of messages that arrive at POST /webhook in
// lyftr's own format.
const SourceNative = "native"

// Limits of a message in lyftr's own format. Lengths are in characters
// (Unicode code points), not bytes.
const (
	MaxIDLength    = 255
	MaxTextLength  = 4096
	MaxPhoneDigits = 15
	// MaxDepth is how deep arrays and objects may nest in a body.
	MaxDepth = 64
)

// Message is one message as a sender delivered it. Source and ID together are
// its identity; a Store keeps at most one message for each identity.
type Message struct {
	Source string // which provider delivered it, SourceNative for lyftr's own format
	ID     string // message_id; opaque, compared byte for byte
	// From and To are sender and recipient: E.164-like in lyftr's own format; of
	// a provider also what it knows somebody by who has no number, empty if it
	// named nobody.
	From, To string
	TS       string // the sender's timestamp, exactly as it was received
	// TSIsArrival says that the sender gave no time that can be read, so that TS
	// is when the message arrived: a repeat has another one. It is not stored.
	TSIsArrival bool
	// At is the instant that TS names, in UTC. Order and time filters use it.
	At time.Time
	// Text is nil when the message has none; an empty text is not nil.
	Text *string
	// ReceivedAt is when the message was accepted, in UTC, in milliseconds. In a
	// call of Store.Save zero means now. Of a stored message it is zero if that
	// is not known, since an earlier service accepted it.
	ReceivedAt time.Time
	// Raw is the message as its provider sent it, a JSON object with all that has
	// no place above; nil if there is nothing more to be known. By convention it
	// is compact: line breaks and what stands around the object do not survive an
	// export. List leaves it out.
	Raw []byte
}

// SameContent reports whether two messages of one identity say the same. TS is
// compared as text: a sender that repeats itself repeats its bytes. Raw is not
// compared: a provider may add to it what it learnt meanwhile.
func (m *Message) SameContent(o *Message) bool {
	if m.From != o.From || m.To != o.To || (m.Text == nil) != (o.Text == nil) {
		return false
	}
	if m.TS != o.TS && !m.TSIsArrival && !o.TSIsArrival {
		return false
	}
	return m.Text == nil || *m.Text == *o.Text
}

// Outcome says what became of one message or status given to Store.Save.
type Outcome struct {
	// Duplicate is true if the identity was stored before, by an earlier call,
	// an earlier message of the same call, or a call that ran at the same time.
	Duplicate bool
	// Mismatch is true for a message that is a duplicate whose content differs
	// from what is stored. The stored content stays.
	Mismatch bool
}

// ErrNotFound is what Store.Get returns for a message that is not stored.
var ErrNotFound = errors.New("message not found")

// ErrUnavailable is in the tree of every error that means: not now, send
// again. After a Save that returned it the messages are stored once or not at
// all, and saving them again is safe.
var ErrUnavailable = errors.New("store unavailable")

// ErrBadCursor is what Store.List returns for a cursor that this store did not
// make, or made for another filter or order, and Store.Feed for a position that
// it did not make.
var ErrBadCursor = errors.New("cursor is not one of this store for this query")
