package message

import (
	"context"
	"time"
)

// Store keeps messages, each identity exactly once. All methods may be called
// from many goroutines at once. Every error that a later attempt may cure has
// ErrUnavailable in its tree.
type Store interface {
	// Save stores all the messages and statuses or none, and returns after the
	// commit that holds them is on disk. There is one outcome for each message, in
	// order, then one for each status; a duplicate is an outcome, not an error.
	// Messages must be valid.
	//
	// When ctx ends before the commit the error is ErrUnavailable and they are
	// stored once or not at all; the store may still be reading them, so they must
	// not be changed afterwards.
	Save(ctx context.Context, messages []Message, statuses []Status) ([]Outcome, error)

	// List returns one page of the messages that match, with the number of all
	// that match unless the query says NoTotal, both of the same moment. It
	// returns ErrBadCursor for a cursor that List did not give out for the same
	// filter and order.
	List(ctx context.Context, q Query) (Page, error)

	// Walk calls yield for every message that matches, in the order of a list, at
	// constant memory. What was there when it began and stays comes exactly once,
	// what arrives meanwhile at most once. An error of yield ends it and is
	// returned as it is. While yield runs nothing of the store is held.
	Walk(ctx context.Context, f Filter, o Order, yield func(Message) error) error

	// Get returns one message by its ID, or ErrNotFound. With an empty source
	// it returns the first by source, in byte order, of those that share the ID.
	Get(ctx context.Context, source, id string) (Message, error)

	// Statuses returns what was reported of one message, by At, then Status, also
	// if the message is not stored; none if nothing was. With an empty source it
	// takes the first source, in byte order, that reported anything of that ID.
	Statuses(ctx context.Context, source, id string) ([]Status, error)

	// WalkStatuses calls yield for every status, ordered by ID, Source and Status
	// in byte order, with the promises of Walk.
	WalkStatuses(ctx context.Context, yield func(Status) error) error

	// Stats sums up the messages that match the filter.
	Stats(ctx context.Context, f Filter) (Stats, error)

	// Timeline counts the messages that match the filter by bucket of time. It
	// returns ErrTooManyBuckets if there would be more than MaxBuckets.
	Timeline(ctx context.Context, f Filter, b Bucket) ([]BucketCount, error)

	// Erase removes every message of the sender, of all sources, that was saved
	// before the call, and returns how many it removed. It removes them a few at
	// a time, so that saves go on. When ctx ends it returns what it has removed so
	// far and ErrUnavailable; calling it again goes on.
	//
	// A removed message stays known by a hash of its identity: saving it again
	// is a duplicate, never a mismatch, and does not bring it back. With it go its
	// statuses, and those that are reported of it later are duplicates. Erase also
	// removes every status whose Recipient is the sender. If its message is not
	// stored, that is known from then on as if it had been removed, so that no
	// later report brings the number back; one that is stored, of somebody else,
	// stays, and statuses of it are stored as before.
	Erase(ctx context.Context, from string) (removed int64, err error)

	// Expire removes, in the same way, the messages whose At and whose ReceivedAt
	// are both before the time; of one whose ReceivedAt is not known At alone
	// counts. Statuses go by their ReceivedAt, and with their message.
	Expire(ctx context.Context, before time.Time) (removed int64, err error)

	// Feed returns the messages behind a position in the order in which they
	// were stored, at most limit and about MaxFeedBytes of text and Raw. An empty
	// position is before the first message, FeedLatest behind the last. A reader
	// who goes on from the position that he was given sees every message once,
	// less those that were removed before he came to them. With limit 0 the page
	// is empty: it only tells whether the position is good, and has it in Next.
	// Feed returns ErrBadCursor for a position that the database did not give
	// out, or that is ahead of it since it was replaced by an older copy.
	Feed(ctx context.Context, after string, limit int) (FeedPage, error)

	// Changed returns a channel that is closed soon after a message is stored
	// that Feed did not show when Changed was called. It may be closed for
	// nothing, but not by duplicates. It is meant to be taken before Feed and
	// waited for when Feed finds nothing.
	Changed() <-chan struct{}

	// Reject remembers refused deliveries, the oldest first, and forgets all but
	// about the last MaxRejections. It never waits for long.
	Reject(ctx context.Context, rejections []Rejection) error

	// Rejected returns the refused deliveries that are remembered, the newest
	// first, at most limit of them.
	Rejected(ctx context.Context, limit int) ([]Rejection, error)

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
	QueueCapacity int   // how many may; one beyond is refused
	// Unindexed is how many messages the index behind searches does not have
	// yet: questions look at them one by one.
	Unindexed int64

	// DiskFreeBytes is how much can still be written where the database lies,
	// if DiskKnown: a server's disk is not this machine's.
	DiskFreeBytes int64
	DiskKnown     bool
}
