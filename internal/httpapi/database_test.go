package httpapi_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/store/pgserver"
)

// database is where the services of a run store.
type database interface {
	// String is what it is called.
	String() string
	// create makes an empty one and returns its URL.
	create(t testing.TB) (url string)
	// lock lets nobody write, as another program would, until unlock is called.
	lock(t testing.TB, url string) (unlock func())
	// destroy takes the data away under the hands of who uses it.
	destroy(t testing.TB, url string)
	// checkFree fails if somebody holds a read transaction.
	checkFree(t testing.TB, url string)
}

// base is the database of this run. Only TestMain sets it.
var base database

// TestMain runs every test with each database: what HTTP shows must not depend
// on it.
func TestMain(m *testing.M) {
	flag.Parse()
	base = sqliteFile{}
	code := m.Run()
	// Whoever lists or fuzzes wants each only once.
	for _, name := range []string{"list", "fuzz", "fuzzworker"} {
		if v := flag.Lookup("test." + name).Value.String(); v != "" && v != "false" {
			os.Exit(code)
		}
	}
	server, err := pgserver.StartShared(pgserver.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	base = postgresServer{server}
	code = max(code, m.Run())
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// sqliteFile is a file for each service.
type sqliteFile struct{}

func (sqliteFile) String() string { return "SQLite" }

func (sqliteFile) create(t testing.TB) string {
	return "sqlite:///" + filepath.Join(t.TempDir(), "app.db")
}

func (sqliteFile) path(url string) string { return strings.TrimPrefix(url, "sqlite:///") }

func (f sqliteFile) lock(t testing.TB, url string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", f.path(url))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(context.Background(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	unlock = sync.OnceFunc(func() {
		_, err := conn.ExecContext(context.Background(), "ROLLBACK")
		if err := errors.Join(err, conn.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unlock)
	return unlock
}

func (f sqliteFile) destroy(t testing.TB, url string) {
	t.Helper()
	if err := os.Remove(f.path(url)); err != nil {
		t.Fatal(err)
	}
}

// checkFree: a log that is read cannot be emptied. What is indexed behind the
// saves comes and goes, so there has to be a moment when it can.
func (f sqliteFile) checkFree(t testing.TB, url string) {
	t.Helper()
	db, err := sql.Open("sqlite", f.path(url))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	deadline := time.Now().Add(patience)
	for busy := 1; busy != 0; {
		var frames, copied int
		if err := db.QueryRowContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &copied); err != nil {
			t.Fatal(err)
		}
		if busy != 0 && time.Now().After(deadline) {
			t.Fatal("the log cannot be emptied")
		}
	}
}

// postgresServer is a server with a database for each service.
type postgresServer struct{ server *pgserver.Server }

func (postgresServer) String() string { return "PostgreSQL" }

func (p postgresServer) create(t testing.TB) string { return p.server.NewDatabase(t) }

func (p postgresServer) lock(t testing.TB, url string) (unlock func()) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	unlock = sync.OnceFunc(func() {
		if err := conn.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unlock)
	tables := p.server.Value(t, url, "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public'")
	for _, statement := range []string{"BEGIN", "LOCK TABLE " + tables + " IN EXCLUSIVE MODE"} {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return unlock
}

func (p postgresServer) destroy(t testing.TB, url string) {
	t.Helper()
	name := p.server.Value(t, url, "SELECT current_database()")
	p.server.Exec(t, p.server.URL("postgres"), "DROP DATABASE "+name+" WITH (FORCE)")
}

// checkFree: what is read keeps VACUUM from removing anything. Short transactions
// come and go, so there has to be a moment without one.
func (p postgresServer) checkFree(t testing.TB, url string) {
	t.Helper()
	const transactions = `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL`
	// After twice that time lyftr's own bound ends what is held.
	deadline := time.Now().Add(5 * time.Second)
	for n := ""; n != "0"; {
		if n = p.server.Value(t, url, transactions); n != "0" && time.Now().After(deadline) {
			t.Fatalf("%s transactions are held", n)
		}
	}
}
