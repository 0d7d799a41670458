package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/pressly/goose/v3"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// migrate brings the schema up to date, each version in one transaction. The
// first version is Go, since it adopts the messages of a FastAPI service's file
// in the transaction that makes the tables.
func (s *Store) migrate(ctx context.Context) error {
	legacy, extra, err := s.inspect(ctx)
	if err != nil {
		return err
	}
	a := &adoption{log: s.log, extra: extra}
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
	results, err := s.migrateUp(ctx, provider)
	if err != nil {
		if legacy { // the old table is as it was, so the copy is of no use
			err = errors.Join(err, os.Remove(a.copyPath))
		}
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

// migrateUp runs the migrations with the settings under which a table can take
// the place of another: what refers to it by name, such as a view or a foreign
// key, then refers to the new one. Neither can be set within a transaction.
func (s *Store) migrateUp(ctx context.Context, provider *goose.Provider) (results []*goose.MigrationResult, err error) {
	set := func(foreignKeys, legacyRename string) error {
		_, err := s.writeDB.ExecContext(ctx, "PRAGMA foreign_keys = "+foreignKeys+"; PRAGMA legacy_alter_table = "+legacyRename)
		return err
	}
	if err := set("OFF", "ON"); err != nil {
		return nil, err
	}
	results, err = provider.Up(ctx)
	return results, errors.Join(err, set("ON", "OFF"))
}

// legacyColumns are those of the FastAPI service's table messages.
var legacyColumns = []string{"message_id", "from_msisdn", "to_msisdn", "ts", "text", "created_at"}

// inspect reports whether the file holds the FastAPI service's table in place
// of lyftr's, and the columns of it for which lyftr's table has no place. It
// refuses a table messages that is neither.
func (s *Store) inspect(ctx context.Context) (legacy bool, extra []string, err error) {
	const neither = "it is neither lyftr's nor the FastAPI service's"
	columns, err := tableColumns(ctx, s.writeDB, "messages")
	if err != nil || len(columns) == 0 {
		return false, nil, err
	}
	meta, err := tableColumns(ctx, s.writeDB, "meta")
	if err != nil {
		return false, nil, err
	}
	if slices.Contains(columns, "ts_unix") {
		if !slices.Equal(meta, []string{"key", "value"}) {
			return false, nil, errors.New("the file has a table messages with the column ts_unix and no table meta: " + neither)
		}
		return false, nil, nil
	}
	for _, c := range legacyColumns {
		if !slices.Contains(columns, c) {
			return false, nil, fmt.Errorf("the file has a table messages without the column %s: %s", c, neither)
		}
	}
	for _, c := range columns {
		// A number of its own is no loss: rows keep their order.
		if !slices.Contains(legacyColumns, c) && c != "id" {
			extra = append(extra, c)
		}
	}
	return true, extra, nil
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
