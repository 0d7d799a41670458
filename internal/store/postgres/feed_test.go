package postgres

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"lyftr/internal/message"
)

const insertSQL = `INSERT INTO messages (tx, n, source, message_id, from_msisdn, to_msisdn, ts, ts_unix, ts_nanos)
	VALUES (pg_current_xact_id()::text::bigint, 1, 'native', $1, '+14155550100', '+14155550101', '2026-01-02T03:04:05Z', 1767323045, 0)`

// beginSave begins a transaction as another replica would, and stores a message
// in it.
func beginSave(t *testing.T, conn *pgx.Conn, id string) {
	t.Helper()
	exec(t, conn, "BEGIN")
	exec(t, conn, lockSharedSQL)
	exec(t, conn, insertSQL, id)
}

// TestFeedWaitsForEarlier: what was stored later is not shown while a
// transaction with a lower number may still commit.
func TestFeedWaitsForEarlier(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		end  string
		want []string
	}{
		{"COMMIT", []string{"first", "earlier", "later", "latest"}},
		{"ROLLBACK", []string{"first", "later", "latest"}},
	} {
		t.Run(tt.end, func(t *testing.T) {
			t.Parallel()
			url := sharedServer(t).NewDatabase(t)
			s, other := openStore(t, url, Options{}), openStore(t, url, Options{})
			save(t, s, "first")
			got, at := feedIDs(t, s, "")
			wantIDs(t, "feed", got, "first")

			conn := connection(t, url)
			beginSave(t, conn, "earlier")
			save(t, s, "later")
			save(t, other, "latest")
			var waits []<-chan struct{}
			for _, s := range []*Store{s, other} {
				waits = append(waits, s.Changed())
				got, next := feedIDs(t, s, "")
				wantIDs(t, "feed while it runs", got, "first")
				if next != at {
					t.Error("the end of the feed moved")
				}
				if p := feedPage(t, s, message.FeedLatest); p.Next != at || len(p.Messages) != 0 {
					t.Error("the latest position is not behind the last message that is shown")
				}
				p, err := s.Feed(t.Context(), at, 0)
				if err != nil || p.Next != at || !p.More {
					t.Errorf("position asked for: %+v, %v", p, err)
				}
			}
			wantIDs(t, "list while it runs", listIDs(t, s), "first", "later", "latest")
			exec(t, conn, tt.end)
			for i, s := range []*Store{s, other} {
				receive(t, "those who wait are woken", waits[i])
				got, _ := feedIDs(t, s, "")
				wantIDs(t, "feed", got, tt.want...)
				got, next := feedIDs(t, s, at)
				wantIDs(t, "feed behind the position", got, tt.want[1:]...)
				if p := feedPage(t, s, message.FeedLatest); p.Next != next {
					t.Error("the latest position is not the end")
				}
			}
		})
	}
}

// TestFeedPageBeforeUnsettled: a page ends before what is not settled, though a
// settled message stands before it.
func TestFeedPageBeforeUnsettled(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t)
	s := openStore(t, url, Options{})
	conn, foreigner := connection(t, url), connection(t, url)
	exec(t, foreigner, "BEGIN")
	exec(t, foreigner, "SELECT pg_current_xact_id()")
	save(t, s, "a") // behind the foreigner, before the save in progress
	beginSave(t, conn, "b")
	save(t, s, "c")
	got, at := feedIDs(t, s, "")
	wantIDs(t, "feed while it runs", got, "a")
	if p := feedPage(t, s, message.FeedLatest); p.Next != at {
		t.Error("the latest position is not behind a")
	}
	exec(t, conn, "COMMIT")
	got, _ = feedIDs(t, s, at)
	wantIDs(t, "behind it", got, "b", "c")
}

// TestFeedWithForeigners: a transaction that is none of lyftr's holds nothing up,
// although it has a lower number.
func TestFeedWithForeigners(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	for name, begin := range map[string]func(t *testing.T, url string){
		"in another database": func(t *testing.T, _ string) {
			conn := connection(t, server.NewDatabase(t))
			exec(t, conn, "CREATE TABLE numbers (n int)")
			exec(t, conn, "BEGIN")
			exec(t, conn, "INSERT INTO numbers VALUES (1)")
		},
		"without the lock": func(t *testing.T, url string) {
			conn := connection(t, url)
			exec(t, conn, "BEGIN")
			exec(t, conn, "CREATE TABLE numbers (n int)")
		},
		"with the lock in another database": func(t *testing.T, _ string) {
			conn := connection(t, server.NewDatabase(t))
			exec(t, conn, "BEGIN")
			exec(t, conn, lockSharedSQL)
			exec(t, conn, "SELECT pg_current_xact_id()")
		},
		"with another lock": func(t *testing.T, url string) {
			conn := connection(t, url)
			exec(t, conn, "BEGIN")
			exec(t, conn, "SELECT pg_advisory_xact_lock(1819895412, 115), pg_advisory_xact_lock(7816438866275041394)")
			exec(t, conn, "SELECT pg_current_xact_id()")
		},
		"in a savepoint": func(t *testing.T, url string) {
			conn := connection(t, url)
			exec(t, conn, "BEGIN")
			exec(t, conn, "SAVEPOINT a")
			exec(t, conn, "CREATE TABLE numbers (n int)")
			exec(t, conn, "SAVEPOINT b")
			exec(t, conn, "INSERT INTO numbers VALUES (1)")
		},
		"prepared": func(t *testing.T, url string) {
			conn := connection(t, url)
			name := "'" + databaseName(t, url) + "'"
			exec(t, conn, "BEGIN")
			exec(t, conn, "CREATE TABLE numbers (n int)")
			exec(t, conn, "PREPARE TRANSACTION "+name)
			t.Cleanup(func() { server.Exec(t, url, "ROLLBACK PREPARED "+name) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := server.NewDatabase(t)
			s, other := openStore(t, url, Options{}), openStore(t, url, Options{})
			begin(t, url)
			changed := other.Changed()
			save(t, s, "a", "b")
			receive(t, "those who wait are woken", changed)
			got, at := feedIDs(t, other, "")
			wantIDs(t, "feed", got, "a", "b")
			if p := feedPage(t, s, message.FeedLatest); p.Next != at {
				t.Error("the latest position is not the end")
			}
		})
	}
}

// TestChangedWithoutNotice: what nobody told of is found by looking, and on a
// server that went back to lower numbers as well.
func TestChangedWithoutNotice(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t)
	s := openStore(t, url, Options{})
	conn := connection(t, url)
	changed := s.Changed()
	exec(t, conn, insertSQL, "a")
	receive(t, "it is found", changed)
	got, _ := feedIDs(t, s, "")
	wantIDs(t, "feed", got, "a")

	// As after a failover to a standby that never had a.
	exec(t, conn, "DELETE FROM messages")
	changed = s.Changed()
	exec(t, conn, `INSERT INTO messages (tx, n, source, message_id, from_msisdn, to_msisdn, ts, ts_unix, ts_nanos)
		VALUES (3, 1, 'native', 'b', '+14155550100', '+14155550101', '2026-01-02T03:04:05Z', 1767323045, 0)`)
	receive(t, "it is found", changed)
}

// TestFeedOrderIgnoresClocks: the feed is in the order of storing, whatever the
// clocks of those who store say.
func TestFeedOrderIgnoresClocks(t *testing.T) {
	t.Parallel()
	replicas := openReplicas(t, sharedServer(t).NewDatabase(t), 2)
	var want []string
	for i := range 6 {
		m := newMessage(string(rune('f' - i)))
		m.ReceivedAt = epoch().AddDate(0, 0, -i*(i%2*2-1)) // earlier and later
		m.At = m.At.AddDate(0, 0, -i)
		m.TS = m.At.Format(time.RFC3339)
		saveMessages(t, replicas[i%2], m)
		want = append(want, m.ID)
	}
	got, _ := feedIDs(t, replicas[0], "")
	wantIDs(t, "feed", got, want...)
}

// TestFenceBelowUnsettled: what a fence vouches for ends before a transaction that
// may still turn up, though a later message is visible already.
func TestFenceBelowUnsettled(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t)
	s := openStore(t, url, Options{})
	save(t, s, "first")
	conn := connection(t, url)
	beginSave(t, conn, "earlier")
	save(t, s, "later")
	fence := func() (vouched int64) {
		t.Helper()
		err := s.readers.AcquireFunc(t.Context(), func(c *pgxpool.Conn) error {
			return (&feedReader{store: s, conn: c}).fence(t.Context())
		})
		if err != nil {
			t.Fatal(err)
		}
		return s.fenced.Load()
	}
	number := func(id string) (tx int64) {
		t.Helper()
		if err := s.readRow(t.Context(), []any{&tx}, "SELECT tx FROM messages WHERE message_id = $1", id); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	if got, want := fence(), number("first"); got != want {
		t.Errorf("it vouches for transactions up to %d, want %d", got, want)
	}
	exec(t, conn, "COMMIT")
	if got, want := fence(), number("later"); got != want {
		t.Errorf("afterwards for transactions up to %d, want %d", got, want)
	}
}
