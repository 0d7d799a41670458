package pgserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// connect connects to a database. Statements go as they are, several in one
// text if there are no arguments.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	config.RuntimeParams["application_name"] = "pgserver"
	return pgx.ConnectConfig(ctx, config)
}

// NewDatabase returns the URL of an empty database that only this test has. It
// may be one that an earlier test had and that was emptied since: making one
// takes ten times as long.
func (s *Server) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := s.takeDatabase()
	if name == "" {
		name = s.createDatabase(tb, "")
	}
	tb.Cleanup(func() {
		if s.answers() {
			s.leaveDatabase(tb, name)
		}
	})
	return s.URL(name)
}

// NewDatabaseLike makes an empty database with what CREATE DATABASE takes behind
// the name, as in TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C', and returns
// its URL. It is dropped when the test ends.
func (s *Server) NewDatabaseLike(tb testing.TB, clause string) string {
	tb.Helper()
	name := s.createDatabase(tb, clause)
	tb.Cleanup(func() {
		if s.answers() {
			s.Exec(tb, s.unheld("postgres"), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		}
	})
	return s.URL(name)
}

func (s *Server) createDatabase(tb testing.TB, clause string) (name string) {
	tb.Helper()
	name = "test_" + strings.ToLower(rand.Text()[:12])
	s.Exec(tb, s.URL("postgres"), "CREATE DATABASE "+name+" "+clause)
	return name
}

// takeDatabase returns an empty database, or "" if there is none.
func (s *Server) takeDatabase() (name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.empty); n > 0 {
		name, s.empty = s.empty[n-1], s.empty[:n-1]
	}
	return name
}

// empty makes a database what it was when it was made.
const empty = `DO $$
DECLARE
	name text;
BEGIN
	EXECUTE 'ALTER DATABASE ' || current_database() || ' RESET ALL';
	FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
		EXECUTE 'DROP SCHEMA ' || quote_ident(name) || ' CASCADE';
	END LOOP;
	CREATE SCHEMA public AUTHORIZATION pg_database_owner;
	GRANT USAGE ON SCHEMA public TO PUBLIC;
END $$`

// leaveDatabase empties a database for the next test, unless the test dropped it.
func (s *Server) leaveDatabase(tb testing.TB, name string) {
	tb.Helper()
	there := s.Value(tb, s.URL("postgres"), "SELECT count(*) FROM pg_database WHERE datname = '"+name+"'")
	if there == "0" {
		return
	}
	sessions := "FROM pg_stat_activity WHERE datname = '" + name + "'"
	s.Exec(tb, s.URL("postgres"), "SELECT pg_terminate_backend(pid) "+sessions)
	s.await(tb, "SELECT count(*) = 0 "+sessions)
	s.Exec(tb, s.unheld(name), empty)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.empty = append(s.empty, name)
}

// unheld is the URL of a database whose commits wait for no standby: one that is
// away must not hold up the end of a test.
func (s *Server) unheld(database string) string {
	return s.URL(database) + "&synchronous_commit=local"
}

// Exec runs a statement at a URL, or several that have no arguments.
func (s *Server) Exec(tb testing.TB, url, sql string, args ...any) {
	tb.Helper()
	err := within(url, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// Value runs a query that has one row with one column and returns that as text,
// NULL as the empty one.
func (s *Server) Value(tb testing.TB, url, sql string) string {
	tb.Helper()
	value, err := one(url, sql)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return value
}

func one(url, sql string) (value string, err error) {
	err = within(url, func(ctx context.Context, conn *pgx.Conn) error {
		results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		if err != nil {
			return err
		}
		if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
			return fmt.Errorf("not one value: %d results", len(results))
		}
		value = string(results[0].Rows[0][0])
		return nil
	})
	return value, err
}

// within does something on a connection of its own.
func within(url string, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := connect(ctx, url)
	if err != nil {
		return err
	}
	err = do(ctx, conn)
	_ = conn.Close(ctx) // all that was asked has been answered
	return err
}
