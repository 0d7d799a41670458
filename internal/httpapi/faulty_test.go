package httpapi_test

import (
	"context"

	"lyftr/internal/message"
)

// faulty is a store some of whose methods are replaced.
type faulty struct {
	message.Store // the real one
	save          func(context.Context, []message.Message) ([]message.Outcome, error)
	list          func(context.Context, message.Query) (message.Page, error)
	get           func(context.Context, string, string) (message.Message, error)
	stats         func(context.Context, message.Filter) (message.Stats, error)
	timeline      func(context.Context, message.Filter, message.Bucket) ([]message.BucketCount, error)
	erase         func(context.Context, string) (int64, error)
	feed          func(context.Context, string, int) (message.FeedPage, error)
	walk          func(context.Context, message.Filter, message.Order, func(message.Message) error) error
	ready         func(context.Context) error
	statuses      func(context.Context, string, string) ([]message.Status, error)
	reject        func(context.Context, []message.Rejection) error
	rejected      func(context.Context, int) ([]message.Rejection, error)
}

func (f *faulty) Save(ctx context.Context, m []message.Message, statuses []message.Status) ([]message.Outcome, error) {
	if f.save != nil {
		return f.save(ctx, m)
	}
	return f.Store.Save(ctx, m, statuses)
}

func (f *faulty) List(ctx context.Context, q message.Query) (message.Page, error) {
	if f.list != nil {
		return f.list(ctx, q)
	}
	return f.Store.List(ctx, q)
}

func (f *faulty) Get(ctx context.Context, source, id string) (message.Message, error) {
	if f.get != nil {
		return f.get(ctx, source, id)
	}
	return f.Store.Get(ctx, source, id)
}

func (f *faulty) Stats(ctx context.Context, filter message.Filter) (message.Stats, error) {
	if f.stats != nil {
		return f.stats(ctx, filter)
	}
	return f.Store.Stats(ctx, filter)
}

func (f *faulty) Timeline(ctx context.Context, filter message.Filter, b message.Bucket) ([]message.BucketCount, error) {
	if f.timeline != nil {
		return f.timeline(ctx, filter, b)
	}
	return f.Store.Timeline(ctx, filter, b)
}

func (f *faulty) Erase(ctx context.Context, from string) (int64, error) {
	if f.erase != nil {
		return f.erase(ctx, from)
	}
	return f.Store.Erase(ctx, from)
}

func (f *faulty) Feed(ctx context.Context, after string, limit int) (message.FeedPage, error) {
	if f.feed != nil {
		return f.feed(ctx, after, limit)
	}
	return f.Store.Feed(ctx, after, limit)
}

func (f *faulty) Walk(ctx context.Context, filter message.Filter, o message.Order, yield func(message.Message) error) error {
	if f.walk != nil {
		return f.walk(ctx, filter, o, yield)
	}
	return f.Store.Walk(ctx, filter, o, yield)
}

func (f *faulty) Statuses(ctx context.Context, source, id string) ([]message.Status, error) {
	if f.statuses != nil {
		return f.statuses(ctx, source, id)
	}
	return f.Store.Statuses(ctx, source, id)
}

func (f *faulty) Reject(ctx context.Context, rejections []message.Rejection) error {
	if f.reject != nil {
		return f.reject(ctx, rejections)
	}
	return f.Store.Reject(ctx, rejections)
}

func (f *faulty) Rejected(ctx context.Context, limit int) ([]message.Rejection, error) {
	if f.rejected != nil {
		return f.rejected(ctx, limit)
	}
	return f.Store.Rejected(ctx, limit)
}

func (f *faulty) Ready(ctx context.Context) error {
	if f.ready != nil {
		return f.ready(ctx)
	}
	return f.Store.Ready(ctx)
}

// withFault puts a faulty store before the real one.
func withFault(f *faulty) func(*config) {
	return func(c *config) {
		c.fault = func(real message.Store) message.Store {
			f.Store = real
			return f
		}
	}
}

// withStore makes every method that can fail, and that a request waits for, call
// fail.
func withStore(fail func() error) func(*config) {
	return withFault(&faulty{
		save:  func(context.Context, []message.Message) ([]message.Outcome, error) { return nil, fail() },
		list:  func(context.Context, message.Query) (message.Page, error) { return message.Page{}, fail() },
		get:   func(context.Context, string, string) (message.Message, error) { return message.Message{}, fail() },
		stats: func(context.Context, message.Filter) (message.Stats, error) { return message.Stats{}, fail() },
		timeline: func(context.Context, message.Filter, message.Bucket) ([]message.BucketCount, error) {
			return nil, fail()
		},
		erase: func(context.Context, string) (int64, error) { return 0, fail() },
		feed:  func(context.Context, string, int) (message.FeedPage, error) { return message.FeedPage{}, fail() },
		walk: func(context.Context, message.Filter, message.Order, func(message.Message) error) error {
			return fail()
		},
		ready:    func(context.Context) error { return fail() },
		statuses: func(context.Context, string, string) ([]message.Status, error) { return nil, fail() },
		rejected: func(context.Context, int) ([]message.Rejection, error) { return nil, fail() },
	})
}
