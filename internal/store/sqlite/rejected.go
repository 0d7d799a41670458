package sqlite

import (
	"context"

	"lyftr/internal/message"
)

// Reject implements message.Store.
func (s *Store) Reject(context.Context, []message.Rejection) error { return errNotYet }

// Rejected implements message.Store.
func (s *Store) Rejected(context.Context, int) ([]message.Rejection, error) { return nil, errNotYet }
