package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"slices"

	"github.com/pressly/goose/v3"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// migrate brings the schema up to date, each version in one transaction. The
// first version is Go, since it adopts the messages of a FastAPI service's file
// in the transaction that makes the tables.
func (s *Store) migrate(ctx context.Context) error {
	legacy, err := s.inspect(ctx)
	if err != nil {
		return err
	}
	a := &adoption{log: s.log}
	if legacy {
		if a.copyPath, err = s.copyBeside(ctx); err != nil {
			return fmt.Errorf("adopt: copy the database first: %w", err)
		}
	}
	first := goose.NewGoMigration(1, &goose.GoFunc{RunTx: a.migrate}, nil)
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.writeDB, nil,
		goose.WithGoMigrations(first), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	newest := provider.ListSources()[len(provider.ListSources())-1].Version
	current, err := provider.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if current > newest {
		return fmt.Errorf("migrate: the database has schema version %d and this lyftr knows %d at most: use a newer lyftr", current, newest)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, r := range results {
		s.log.Info("schema migrated", "version", r.Source.Version, "took_ms", r.Duration.Milliseconds())
	}
	if legacy {
		a.report()
	}
	return nil
}

// legacyColumns are those of the FastAPI service's table messages.
var legacyColumns = []string{"message_id", "from_msisdn", "to_msisdn", "ts", "text", "created_at"}

// inspect reports whether the file holds the FastAPI service's table in place
// of lyftr's. It refuses a table messages that is neither.
func (s *Store) inspect(ctx context.Context) (legacy bool, err error) {
	columns, err := tableColumns(ctx, s.writeDB, "messages")
	if err != nil || len(columns) == 0 || slices.Contains(columns, "ts_unix") {
		return false, err
	}
	for _, c := range legacyColumns {
		if !slices.Contains(columns, c) {
			return false, fmt.Errorf("the file has a table messages without the column %s: it is neither lyftr's nor the FastAPI service's", c)
		}
	}
	return true, nil
}

// queryer is a pool or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func tableColumns(ctx context.Context, q queryer, table string) ([]string, error) {
	rows, err := q.QueryContext(ctx, "SELECT name FROM pragma_table_info(?)", table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}
