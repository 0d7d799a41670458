package transfer_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/store"
	"lyftr/internal/store/pgserver"
	"lyftr/internal/transfer"
)

// openPostgres opens a database of a server until the test ends.
func openPostgres(t *testing.T, url string, readOnly bool) message.Store {
	t.Helper()
	db, err := store.Open(t.Context(), url, store.Options{ReadOnly: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// TestCopyPostgres: the messages and statuses that two databases could keep
// differently go from SQLite to PostgreSQL, on to another database there, and back, and stay
// what they are, in one order of the feed.
func TestCopyPostgres(t *testing.T) {
	server := pgserver.Start(t, pgserver.Options{})
	stores := []message.Store{
		openNew(t), openPostgres(t, server.NewDatabase(t), false),
		// A database that sorts as people do has to compare bytes all the same.
		openPostgres(t, server.NewDatabaseLike(t, "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"), false),
		openNew(t),
	}
	messages := hostileMessages(t)
	n := int64(len(messages))
	save(t, stores[0], messages...)
	statuses := hostileStatuses()
	saveStatuses(t, stores[0], statuses...)
	reported := int64(len(statuses))
	for i := range len(stores) - 1 {
		from, to := stores[i], stores[i+1]
		c := &transfer.Copier{From: from, To: to}
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCounts(t, c, transfer.CopyCounts{Created: n})
		wantComparison(t, from, to, c.Position, transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n}})
		if diff := cmp.Diff(messages, fed(t, to)); diff != "" {
			t.Errorf("the feed of %d is another (-want +got):\n%s", i+1, diff)
		}
		if want := (transfer.StatusCounts{Created: reported}); c.Statuses != want {
			t.Errorf("the statuses of %d: %+v, want %+v", i+1, c.Statuses, want)
		}
		wantStatuses(t, from, to, equalSums(reported))
	}
	if diff := cmp.Diff(walked(t, stores[0]), walked(t, stores[3])); diff != "" {
		t.Errorf("the statuses are others (-want +got):\n%s", diff)
	}
	wantComparison(t, stores[0], stores[3], "", transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n}})
}

// TestCopyPostgresRefuses: of what breaks a rule PostgreSQL takes what it can
// hold, and the rest is told, one by one.
func TestCopyPostgresRefuses(t *testing.T) {
	const n = 1500
	path := filepath.Join(t.TempDir(), "app.db")
	from := open(t, path, false)
	save(t, from, numbered(0, n)...)
	for _, statement := range []string{
		`UPDATE messages SET text = char(120, 0, 121) WHERE message_id IN ('m000003', 'm000500', 'm001499')`,
		`UPDATE messages SET text = CAST(x'ff00fe' AS TEXT) WHERE message_id = 'm000007'`,
		`UPDATE messages SET text = CAST(x'eda080' AS TEXT) WHERE message_id = 'm000008'`, // half of a surrogate pair
		`UPDATE messages SET ts = 'yesterday', created_at = 'long ago' WHERE message_id = 'm000004'`,
		`UPDATE messages SET from_msisdn = '', to_msisdn = 'x' WHERE message_id = 'm000006'`,
	} {
		change(t, path, statement)
	}
	to := openPostgres(t, pgserver.Start(t, pgserver.Options{}).NewDatabase(t), false)
	var refused []string
	c := &transfer.Copier{From: from, To: to, OnFault: func(m *message.Message, err error) {
		if err == nil {
			t.Errorf("%s is a mismatch", m.ID)
		}
		refused = append(refused, m.ID)
	}}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: n - 5, Refused: 5})
	want := []string{"m000003", "m000007", "m000008", "m000500", "m001499"}
	if !slices.Equal(refused, want) {
		t.Errorf("refused are %q, want %q", refused, want)
	}
	var missing []string
	for _, id := range want {
		missing = append(missing, fmt.Sprintf("native %s []", id))
	}
	wantComparison(t, from, to, "", transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n - 5}, Missing: 5, Undated: 1}, missing...)
}

// TestComparePostgresMeanwhile: what arrives at a server after the copy is not
// missing.
func TestComparePostgresMeanwhile(t *testing.T) {
	url := pgserver.Start(t, pgserver.Options{}).NewDatabase(t)
	writer := openPostgres(t, url, false)
	save(t, writer, numbered(0, 100)...)
	from, to := openPostgres(t, url, true), openNew(t)
	c := &transfer.Copier{From: from, To: to}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	later := numbered(100, 3000)
	save(t, writer, later[:2000]...)
	comparer := transfer.Comparer{From: from, To: to, Since: c.Position, OnMessage: func(done int64) {
		if done == 50 {
			save(t, writer, later[2000:]...)
		}
	}}
	got, err := comparer.Compare(t.Context())
	if err != nil || !got.Equal() || got.From.Count != 100 || got.Arrived < 2000 || got.Arrived > 3000 {
		t.Errorf("got %+v, %v", got, err)
	}
}
