package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// TestOpenWhileSaving: a store that is opened while others save takes none of
// what they store meanwhile for something restored.
func TestOpenWhileSaving(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t)
	first := openStore(t, url, Options{})
	ctx, end := context.WithCancel(t.Context())
	var savers sync.WaitGroup
	defer savers.Wait()
	defer end()
	for saver := range 4 {
		savers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := first.Save(t.Context(), newMessages(fmt.Sprintf("%d-%d", saver, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 30 {
		s, err := Open(t.Context(), url, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.txOffset != 0 {
			t.Errorf("the transaction offset became %d", s.txOffset)
		}
		s.Close()
	}
}
