package message

import "time"

// MaxRejections is how many refused deliveries a Store remembers.
const MaxRejections = 1000

// Rejection is a delivery that was refused. Nothing of its body is kept, and
// nothing in it may be a secret, a text, a name or a telephone number.
type Rejection struct {
	At     time.Time // when, in UTC, in milliseconds
	Source string    // to which provider's path it came
	Status int       // HTTP status of the answer
	Result string    // what became of it, as metrics and the log call it
	// Reason says what was wrong, for whoever runs the service.
	Reason string
	// Size is the body's length in bytes as far as it is known: what arrived, or
	// what was announced of a body that was not read.
	Size int64
	// Hash is the SHA-256 of the body in hex, empty if it was not read whole.
	Hash string
	// RequestID leads to the line in the log.
	RequestID string
	// Times is how many refusals stand in this one, at least 1.
	Times int
}
