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

// NewDatabase makes an empty database with a name of its own, which is dropped
// when the test ends, and returns its URL.
func (s *Server) NewDatabase(tb testing.TB) string {
	tb.Helper()
	return s.NewDatabaseLike(tb, "")
}

// NewDatabaseLike is NewDatabase with what CREATE DATABASE takes behind the name,
// as in TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C'.
func (s *Server) NewDatabaseLike(tb testing.TB, clause string) string {
	tb.Helper()
	name := "test_" + strings.ToLower(rand.Text()[:12])
	s.Exec(tb, s.URL("postgres"), "CREATE DATABASE "+name+" "+clause)
	tb.Cleanup(func() {
		if s.answers() {
			// A standby that is away must not hold it up.
			s.Exec(tb, s.URL("postgres")+"&synchronous_commit=local", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		}
	})
	return s.URL(name)
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
