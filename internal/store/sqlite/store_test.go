package sqlite

import (
	"context"
	"path/filepath"
	"testing"

	"lyftr/internal/message"
	"lyftr/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database {
		path := filepath.Join(t.TempDir(), "app.db")
		return func(ctx context.Context) (message.Store, error) {
			return Open(ctx, path, Options{})
		}
	})
}
