package message

import "context"

// Store keeps messages, each identity exactly once. All methods may be called
// from many goroutines at once. Every error that a later attempt may cure has
// ErrUnavailable in its tree.
type Store interface {
	// Save stores all the messages or none, and returns after the commit that
	// holds them is on disk. There is one outcome for each message, in order; a
	// duplicate is an outcome, not an error. Messages must be valid.
	//
	// When ctx ends before the commit the error is ErrUnavailable and the
	// messages are stored once or not at all; the store may still be reading
	// them, so they must not be changed afterwards.
	Save(ctx context.Context, messages []Message) ([]Outcome, error)

	// List returns one page of the messages that match, with the number of all
	// that match, both of the same moment. It returns ErrBadCursor for a cursor
	// that List did not give out for the same filter and order.
	List(ctx context.Context, q Query) (Page, error)

	// Walk calls yield for every message that matches, in the order of a list, at
	// constant memory. What was there when it began and stays comes exactly once,
	// what arrives meanwhile at most once. An error of yield ends it and is
	// returned as it is. While yield runs nothing of the store is held.
	Walk(ctx context.Context, f Filter, o Order, yield func(Message) error) error

	// Get returns one message by its ID, or ErrNotFound. With an empty source
	// it returns the first by source, in byte order, of those that share the ID.
	Get(ctx context.Context, source, id string) (Message, error)

	// Stats sums up the messages that match the filter.
	Stats(ctx context.Context, f Filter) (Stats, error)

	// Timeline counts the messages that match the filter by bucket of time. It
	// returns ErrTooManyBuckets if there would be more than MaxBuckets.
	Timeline(ctx context.Context, f Filter, b Bucket) ([]BucketCount, error)

	// Ready returns nil if a message could be saved now, else what is wrong.
	Ready(ctx context.Context) error

	// Status returns what an operator watches, cheaply enough for every scrape.
	Status() StoreStatus

	// Failed is closed when the store met a fault after which it may not go
	// on: every later Save fails, and the process has to start anew.
	Failed() <-chan struct{}

	// Close waits for the saves that were accepted, commits them and releases
	// everything. Nothing may be called after it.
	Close() error
}

// StoreStatus is a store's state at one moment.
type StoreStatus struct {
	// Identity tells this database from others. It is made with the database,
	// and no secret; a copy has the same.
	Identity string

	Messages      int64 // messages stored
	DatabaseBytes int64 // size of the database on disk, its log included
	LogBytes      int64 // size of the write-ahead log alone
	QueueDepth    int   // saves that wait for the writer
}
