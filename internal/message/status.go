package message

import (
	"cmp"
	"strings"
	"time"
)

// Status is what a provider reported of a message that was sent: that it was
// sent, delivered, read and so on. Source, ID and Status together are its
// identity; a Store keeps at most one for each. The message itself may be stored
// before, after or never.
type Status struct {
	Source string // of the message
	ID     string // of the message
	Status string // as the provider calls it
	// Recipient is to whom the message went, empty if that is not known.
	Recipient string
	// At is when it happened, by the provider's clock, in UTC, in milliseconds.
	At time.Time
	// ReceivedAt is when the report was accepted, in UTC, in milliseconds. In a
	// call of Store.Save zero means now.
	ReceivedAt time.Time
	// Raw is the report as the provider sent it, a JSON object; nil if there is
	// nothing more to be known.
	Raw []byte
}

// Ranks of statuses on the way to the reader.
const (
	rankUnknown = iota
	rankQueued
	rankSending
	rankSent
	rankDelivered
	rankRead
	rankPlayed
	rankFailed // ends the way, unless it turns out to go on
)

// rank places the words of WhatsApp and Twilio.
//
// Sources: the status of WhatsApp Cloud API's webhooks, and
// https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
func rank(status string) int {
	switch status {
	case "accepted", "scheduled", "queued":
		return rankQueued
	case "sending":
		return rankSending
	case "sent":
		return rankSent
	case "delivered", "partially_delivered":
		return rankDelivered
	case "read":
		return rankRead
	case "played":
		return rankPlayed
	case "failed", "undelivered", "canceled":
		return rankFailed
	}
	return rankUnknown
}

// CurrentStatus returns the status that a message has come to, by what was
// reported of it in any order: the one that is farthest on the way, since
// reports arrive late and out of order and nobody unreads a message. A failure
// is the end, unless a delivery is of a later time. Statuses that have no place
// on the way count only if there is no other. It is empty if there is none.
func CurrentStatus(statuses []Status) string {
	var farthest, failure *Status
	var arrived time.Time // the last time at which it was surely not lost
	for i := range statuses {
		s := &statuses[i]
		switch r := rank(s.Status); {
		case r == rankFailed:
			if failure == nil || s.later(failure) {
				failure = s
			}
			continue
		case r >= rankDelivered && s.At.After(arrived):
			arrived = s.At
		}
		if farthest == nil || rank(s.Status) > rank(farthest.Status) || rank(s.Status) == rank(farthest.Status) && s.later(farthest) {
			farthest = s
		}
	}
	switch {
	case failure != nil && !arrived.After(failure.At):
		return failure.Status
	case farthest != nil:
		return farthest.Status
	}
	return ""
}

// later orders statuses of one rank.
func (s *Status) later(o *Status) bool {
	return cmp.Or(s.At.Compare(o.At), strings.Compare(s.Status, o.Status)) > 0
}
