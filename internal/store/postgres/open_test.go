package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/pgserver"
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
				if _, err := first.Save(t.Context(), newMessages(fmt.Sprintf("%d-%d", saver, i)), nil); err != nil {
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
	outcomes, err := s.Save(t.Context(), newMessages("a"), nil)
	if err != nil || len(outcomes) != 1 || outcomes[0] != (message.Outcome{Duplicate: true}) {
		t.Errorf("outcomes %v, error %v", outcomes, err)
	}
}

// TestOpenTogether: ten replicas that start at once on an empty database make one
// schema.
func TestOpenTogether(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	stores := make([]*Store, 10)
	var opening sync.WaitGroup
	for i := range stores {
		opening.Go(func() {
			var err error
			if stores[i], err = Open(t.Context(), with(url, "pool_max_conns", "2"), Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	for i, s := range stores {
		if s == nil {
			continue
		}
		save(t, s, fmt.Sprint(i))
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := server.Value(t, url, "SELECT count(*) FROM messages"); n != "10" {
		t.Errorf("%s messages", n)
	}
}

// TestOpenRefused: what does not pass by waiting is said at once, without the
// password.
func TestOpenRefused(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	newer := server.NewDatabase(t)
	openStore(t, newer, Options{})
	server.Exec(t, newer, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
	password := "wrong-password-of-this-test"
	for _, tt := range []struct {
		name, url string
		o         Options
		want      string
	}{
		{"password", as(t, url, "lyftr", password), Options{}, "password authentication failed"},
		{"database", strings.Replace(url, databaseName(t, url), "nowhere", 1), Options{}, `database "nowhere" does not exist`},
		{"newer", newer, Options{}, "the database has schema version 999 and this lyftr knows 3 at most: use a newer lyftr"},
		{"newer, for reading", newer, Options{ReadOnly: true}, "use a newer lyftr"},
		{"empty, for reading", url, Options{ReadOnly: true}, "start lyftr serve once"},
		{"encoding", server.NewDatabaseLike(t, "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"), Options{}, "has the encoding LATIN1: lyftr needs UTF8"},
	} {
		began := time.Now()
		s, err := Open(t.Context(), tt.url, tt.o)
		if err == nil {
			t.Errorf("%s: opened", tt.name)
			_ = s.Close()
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %q does not say %q", tt.name, err, tt.want)
		}
		if strings.Contains(err.Error(), password) {
			t.Errorf("%s: error %q has the password", tt.name, err)
		}
		if took := time.Since(began); took > openTimeout/2 {
			t.Errorf("%s: refused after %v", tt.name, took)
		}
	}
}

// TestOpenWaits: a server that is only starting is waited for.
func TestOpenWaits(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{Durable: true})
	url := server.NewDatabase(t)
	server.Stop(t)
	log := &logLines{}
	opened := make(chan error, 1)
	go func() {
		s, err := Open(t.Context(), url, Options{Logger: log.logger()})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	await(t, "it says that it waits", func() bool { return strings.Contains(log.String(), "waiting for the database") })
	server.Restart(t)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// TestReadOnlyRole: who may only SELECT reads everything, and changes nothing.
func TestReadOnlyRole(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{})
	save(t, s, "a", "b")
	server.Exec(t, url, "CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
	reader := openStore(t, as(t, url, "reader", "reader"), Options{ReadOnly: true})
	wantIDs(t, "list", listIDs(t, reader), "a", "b")
	got, _ := feedIDs(t, reader, "")
	wantIDs(t, "feed", got, "a", "b")
	if st, err := reader.Stats(t.Context(), message.Filter{}); err != nil || st.Total != 2 {
		t.Errorf("stats %+v, %v", st, err)
	}
	if n := reader.Status().Messages; n != 2 {
		t.Errorf("status: %d messages", n)
	}
	if _, err := reader.Save(t.Context(), newMessages("c"), nil); !errors.Is(err, errReadOnly) {
		t.Errorf("save: %v", err)
	}
	if _, err := reader.Erase(t.Context(), "+14155550100"); !errors.Is(err, errReadOnly) {
		t.Errorf("erase: %v", err)
	}
	if err := reader.Ready(t.Context()); !errors.Is(err, errReadOnly) {
		t.Errorf("ready: %v", err)
	}
}

// TestParameters: those of the URL reach the server as they are.
func TestParameters(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t) + "&application_name=a+b%20c&options=-c%20work_mem%3D5MB%20-c%20statement_timeout%3D1234"
	s := openStore(t, url, Options{})
	var name, memory, timeout string
	err := s.readRow(t.Context(), []any{&name, &memory, &timeout},
		"SELECT current_setting('application_name'), current_setting('work_mem'), current_setting('statement_timeout')")
	if want := "a+b c 5MB 5s"; err != nil || name+" "+memory+" "+timeout != want {
		t.Errorf("%s %s %s (%v), want %s", name, memory, timeout, err, want)
	}
}

// TestRestoredElsewhere: on a server whose numbers are behind those of the
// messages, what is stored comes behind them in the feed.
func TestRestoredElsewhere(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t)
	s := openStore(t, url, Options{})
	save(t, s, "a", "b")
	sharedServer(t).Exec(t, url, "UPDATE messages SET tx = tx + 5000000000000")
	first := openStore(t, url, Options{})
	_, at := feedIDs(t, first, "")
	save(t, first, "c")
	second := openStore(t, url, Options{})
	save(t, second, "d")
	got, _ := feedIDs(t, second, at)
	wantIDs(t, "behind the old end", got, "c", "d")
	got, _ = feedIDs(t, first, "")
	wantIDs(t, "feed", got, "a", "b", "c", "d")
}
