package postgres

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"lyftr/internal/message"
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

// TestReadOnlyOffset: who only reads adds the same number as those who write.
func TestReadOnlyOffset(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	first := openStore(t, url, Options{})
	save(t, first, "old")
	server.Exec(t, url, "UPDATE messages SET tx = tx + 1000000000000")
	second := openStore(t, url, Options{})
	save(t, second, "new")
	reader := openStore(t, url, Options{ReadOnly: true})
	got, next := feedIDs(t, reader, "")
	wantIDs(t, "feed", got, "old", "new")
	got, next = feedIDs(t, reader, next)
	wantIDs(t, "behind it", got)
	save(t, second, "newer")
	got, _ = feedIDs(t, reader, next)
	wantIDs(t, "behind it", got, "newer")
}

// TestWarningAtConnecting: a warning that every connection begins with says
// nothing about a commit.
func TestWarningAtConnecting(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabaseLike(t, "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
	server.Exec(t, server.URL("postgres"), "UPDATE pg_database SET datcollversion = '1' WHERE datname = $1", databaseName(t, url))
	s := openStore(t, url, Options{})
	save(t, s, "a")
	got, _ := feedIDs(t, s, "")
	wantIDs(t, "feed", got, "a")
	outcomes, err := s.Save(t.Context(), newMessages("a"))
	if err != nil || len(outcomes) != 1 || outcomes[0] != (message.Outcome{Duplicate: true}) {
		t.Errorf("outcomes %v, error %v", outcomes, err)
	}
}
