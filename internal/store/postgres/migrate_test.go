package postgres

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"lyftr/internal/message"
)

// makeVersion makes the schema of a former version.
func makeVersion(t *testing.T, url string, version int64) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true))
	if err == nil {
		_, err = provider.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMigrateInUse: the schema of the first version is brought up to date while
// replicas of that version save and read, and a dump has the table open: it gives
// way to them.
func TestMigrateInUse(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	makeVersion(t, url, 1)
	conn := connection(t, url)
	saved, read := 0, 0
	use := func(id string) {
		t.Helper()
		saved++
		exec(t, conn, insertSQL, id)
		exec(t, conn, "UPDATE counts SET messages = messages + 1 WHERE slot = 1")
		err := conn.QueryRow(t.Context(), "SELECT count(message_id) FROM (SELECT *, 1 AS more FROM messages) AS page").Scan(&read)
		if err != nil || read != saved {
			t.Errorf("%d of %d messages, %v", read, saved, err)
		}
	}
	use("a")
	dump := connection(t, url)
	exec(t, dump, "BEGIN")
	exec(t, dump, "LOCK TABLE messages IN ACCESS SHARE MODE")
	log := &logLines{}
	type opened struct {
		s   *Store
		err error
	}
	opening := make(chan opened, 1)
	go func() {
		s, err := Open(t.Context(), url, Options{Logger: log.logger()})
		opening <- opened{s, err}
	}()
	await(t, "it says that it waits", func() bool { return strings.Contains(log.String(), "the schema waits for a table") })
	use("b")
	exec(t, dump, "COMMIT")
	o := <-opening
	if o.err != nil {
		t.Fatal(o.err)
	}
	defer o.s.Close()
	use("c") // as a replica that goes on
	with := newMessage("d")
	with.Raw = []byte(`{"a": 1}`)
	saveMessages(t, o.s, with)
	saveStatuses(t, o.s, newStatus("a", "sent"))
	saved++
	use("e")
	got, _ := feedIDs(t, o.s, "")
	wantIDs(t, "feed", got, "a", "b", "c", "d", "e")
	for id, raw := range map[string]string{"a": "", "d": `{"a": 1}`} {
		if m, err := o.s.Get(t.Context(), message.SourceNative, id); err != nil || string(m.Raw) != raw {
			t.Errorf("%s: %q, %v", id, m.Raw, err)
		}
	}
	if n := o.s.Status().Messages; n != 5 {
		t.Errorf("status: %d messages", n)
	}
}
