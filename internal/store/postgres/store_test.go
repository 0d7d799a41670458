package postgres

import (
	"context"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/pgserver"
	"lyftr/internal/store/storetest"
)

func TestStore(t *testing.T) {
	server := pgserver.Start(t, pgserver.Options{})
	storetest.Run(t, func(t *testing.T) storetest.Database {
		url := server.NewDatabase(t)
		return func(ctx context.Context) (message.Store, error) {
			return Open(ctx, url, Options{})
		}
	})
}

// summing is a Store that sums up a little before every question that the sums
// may answer, so that these have some of the messages, and others not.
type summing struct{ *Store }

func (s summing) sum(ctx context.Context) error {
	_, err := s.watcher.sumOnce(ctx, 1)
	return err
}

func (s summing) List(ctx context.Context, q message.Query) (message.Page, error) {
	if err := s.sum(ctx); err != nil {
		return message.Page{}, readError(ctx, "sum", err)
	}
	return s.Store.List(ctx, q)
}

func (s summing) Stats(ctx context.Context, f message.Filter) (message.Stats, error) {
	if err := s.sum(ctx); err != nil {
		return message.Stats{}, readError(ctx, "sum", err)
	}
	return s.Store.Stats(ctx, f)
}

func (s summing) Timeline(ctx context.Context, f message.Filter, b message.Bucket) ([]message.BucketCount, error) {
	if err := s.sum(ctx); err != nil {
		return nil, readError(ctx, "sum", err)
	}
	return s.Store.Timeline(ctx, f, b)
}

func (s summing) Expire(ctx context.Context, before time.Time) (int64, error) {
	if err := s.sum(ctx); err != nil {
		return 0, readError(ctx, "sum", err)
	}
	return s.Store.Expire(ctx, before)
}

func TestStoreSummed(t *testing.T) {
	server := pgserver.Start(t, pgserver.Options{})
	storetest.Run(t, func(t *testing.T) storetest.Database {
		url := server.NewDatabase(t)
		return func(ctx context.Context) (message.Store, error) {
			s, err := Open(ctx, url, Options{})
			if err != nil {
				return nil, err
			}
			return summing{s}, nil
		}
	})
}
