package sqlite

import (
	"context"
	"errors"

	"lyftr/internal/message"
)

var errNotYet = errors.New("not there yet")

// Statuses implements message.Store.
func (s *Store) Statuses(context.Context, string, string) ([]message.Status, error) {
	return nil, errNotYet
}

// WalkStatuses implements message.Store.
func (s *Store) WalkStatuses(context.Context, func(message.Status) error) error { return errNotYet }
