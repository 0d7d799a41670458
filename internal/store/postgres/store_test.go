package postgres

import (
	"context"
	"testing"

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
