package postgres

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/pgserver"
)

// waitForStandby has the commits of a server wait for a standby.
func waitForStandby(t *testing.T, server *pgserver.Server, name string) {
	t.Helper()
	url := server.URL("postgres")
	server.Exec(t, url, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'")
	server.Exec(t, url, "SELECT pg_reload_conf()")
	await(t, "the standby is synchronous", func() bool {
		return server.Value(t, url, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND application_name = '"+name+"'") == "1"
	})
}

// TestWaitEnded: a commit whose wait for the standby was cut off by somebody is
// not acknowledged, and the feed shows its message when the standby has it.
func TestWaitEnded(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{ReadTimeout: time.Second})
	save(t, s, "first")
	saveStatuses(t, s, newStatus("first", "sent"))
	_, at := feedIDs(t, s, "")
	standby := server.Standby(t, "one")
	waitForStandby(t, server, "one")
	standby.Stop(t)
	unheld := with(url, "synchronous_commit", "local")
	waiting := "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'"
	for _, tt := range []struct {
		id, end  string
		messages []message.Message
		statuses []message.Status
	}{
		{"cancelled", "pg_cancel_backend", newMessages("cancelled"), nil},
		{"terminated", "pg_terminate_backend", newMessages("terminated"), nil},
		{"a status that repeats", "pg_cancel_backend", nil, []message.Status{newStatus("first", "sent")}},
	} {
		saved := make(chan error, 1)
		go func() {
			_, err := s.Save(t.Context(), tt.messages, tt.statuses)
			saved <- err
		}()
		await(t, "the save waits", func() bool { return server.Value(t, unheld, "SELECT count(*) "+waiting) == "1" })
		server.Exec(t, unheld, "SELECT "+tt.end+"(pid) "+waiting)
		wantUnavailable(t, tt.id, <-saved)
	}
	// Both are stored, and only on this server.
	if n := len(listIDs(t, s)); n != 3 {
		t.Errorf("%d messages are listed", n)
	}
	for _, after := range []string{"", at, message.FeedLatest} {
		p, err := s.Feed(t.Context(), after, 10)
		wantUnavailable(t, "the feed", err)
		if len(p.Messages) > 0 {
			t.Errorf("the feed shows %q", idsOf(p.Messages))
		}
	}
	standby.Restart(t)
	await(t, "Ready is nil", func() bool { return readyWithin(t, s, time.Second) == nil })
	outcomes, err := s.Save(t.Context(), newMessages("cancelled", "terminated"), nil)
	if err != nil || len(outcomes) != 2 || !outcomes[0].Duplicate || !outcomes[1].Duplicate {
		t.Errorf("outcomes %v, error %v", outcomes, err)
	}
	if got, _ := feedIDs(t, s, at); len(got) != 2 {
		t.Errorf("behind the first the feed shows %q", got)
	}
}

// TestFenceAfterCrash: what waited for the standby when the server crashed is
// visible when it is back. The feed does not show it before the standby has it.
func TestFenceAfterCrash(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{Durable: true})
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{ReadTimeout: time.Second})
	save(t, s, "a")
	got, at := feedIDs(t, s, "")
	wantIDs(t, "feed", got, "a")
	standby := server.Standby(t, "one")
	waitForStandby(t, server, "one")
	standby.Stop(t)
	_, err := saveWithin(t, s, time.Second, "b")
	wantUnavailable(t, "a save", err)
	wantIDs(t, "stored while it waits", listIDs(t, s), "a")
	server.Kill(t)
	server.Restart(t)
	await(t, "it can be read", func() bool { _, err := s.List(t.Context(), message.Query{Limit: 1}); return err == nil })
	wantIDs(t, "stored after the crash", listIDs(t, s), "a", "b")
	for _, after := range []string{at, message.FeedLatest} {
		_, err := s.Feed(t.Context(), after, 10)
		wantUnavailable(t, "the feed", err)
	}
	// A store that was opened since knows no more.
	other := openStore(t, url, Options{ReadTimeout: time.Second})
	_, err = other.Feed(t.Context(), at, 10)
	wantUnavailable(t, "the feed of another store", err)
	standby.Restart(t)
	await(t, "the feed goes on", func() bool { _, err := s.Feed(t.Context(), at, 10); return err == nil })
	for _, s := range []*Store{s, other} {
		got, _ = feedIDs(t, s, at)
		wantIDs(t, "feed", got, "b")
	}
}

// TestFeedOfStandby: on a hot standby, too, nothing is shown before what may
// still come before it.
func TestFeedOfStandby(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{})
	save(t, s, "first")
	standby := server.Standby(t, "one")
	reader := openStore(t, standby.URL(databaseName(t, url)), Options{ReadOnly: true})
	conn := connection(t, url)
	beginSave(t, conn, "earlier")
	save(t, s, "later")
	await(t, "the standby has it", func() bool { return len(listIDs(t, reader)) == 2 })
	got, at := feedIDs(t, reader, "")
	wantIDs(t, "feed while it runs", got, "first")
	if p := feedPage(t, reader, message.FeedLatest); p.Next != at {
		t.Error("the latest position is not behind the last message that is shown")
	}
	exec(t, conn, "COMMIT")
	await(t, "the standby has it", func() bool { return len(listIDs(t, reader)) == 3 })
	got, _ = feedIDs(t, reader, at)
	wantIDs(t, "behind it", got, "earlier", "later")
}

// TestFailoverFromFrozen: the primary hangs, and a standby is promoted. All goes
// on there, though the old primary still takes connections and never answers.
func TestFailoverFromFrozen(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	url := server.NewDatabase(t)
	standby := server.Standby(t, "one")
	waitForStandby(t, server, "one")
	both := strings.Replace(url, fmt.Sprintf(":%d/", server.Port()), fmt.Sprintf(":%d,127.0.0.1:%d/", server.Port(), standby.Port()), 1)
	s := openStore(t, both, Options{})
	summed := func(at string) string { return server.Value(t, at, summedSQL) }
	save(t, s, "a")
	_, at := feedIDs(t, s, "")
	changed := s.Changed()
	server.Pause(t) // before a is summed up
	_, err := saveWithin(t, s, 100*time.Millisecond, "b")
	wantUnavailable(t, "a save", err)
	standby.Promote(t)
	await(t, "Ready is nil", func() bool { return readyWithin(t, s, 5*time.Second) == nil })
	promoted := standby.URL(databaseName(t, url))
	before := summed(promoted)
	if _, err := s.Save(t.Context(), newMessages("b", "c"), nil); err != nil {
		t.Fatal(err)
	}
	await(t, "it can be read", func() bool { _, err := s.List(t.Context(), message.Query{Limit: 1}); return err == nil })
	wantIDs(t, "stored", listIDs(t, s), "a", "b", "c")
	receive(t, "those who wait are woken", changed)
	got, _ := feedIDs(t, s, at)
	wantIDs(t, "feed", got, "b", "c")
	await(t, "they are summed up", func() bool { return summed(promoted) != before })
}
