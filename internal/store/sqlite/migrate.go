package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/pressly/goose/v3"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

const firstSchema = "00001_messages.sql"

// migrate brings the schema up to date, each version in one transaction. The
// first version is Go, since it adopts the messages of a FastAPI service's file
// in the transaction that makes the tables.
func (s *Store) migrate(ctx context.Context, found contents) (err error) {
	a := &adoption{log: s.log, extra: found.extra}
	if found.legacy {
		s.log.Info("adopting the FastAPI service's database: copying it first")
		if a.copyPath, err = s.copyBeside(ctx); err != nil {
			return fmt.Errorf("adopt: copy the database first: %w", err)
		}
	}
	first := goose.NewGoMigration(1, &goose.GoFunc{RunTx: a.migrate}, nil)
	// The first version's file is without goose's annotations: Go runs it.
	later, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, s.writeDB, later,
		goose.WithExcludeNames([]string{firstSchema}),
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
		// If the old table is as it was, the copy is of no use. An error may also
		// come after the commit, and after a fatal one nothing is known.
		if now, again := s.inspect(context.WithoutCancel(ctx)); found.legacy && again == nil && now.legacy && classify(err) != classFatal {
			err = errors.Join(err, os.Remove(a.copyPath))
		}
		return fmt.Errorf("migrate: %w", err)
	}
	for _, r := range results {
		s.log.Info("schema migrated", "version", r.Source.Version, "took_ms", r.Duration.Milliseconds())
	}
	if found.legacy {
		a.report()
	}
	return nil
}

// migrateUp runs the migrations with the setting under which a table can take
// the place of another: what refers to it by name, such as a view or a foreign
// key, then refers to the new one. It cannot be set within a transaction.
func (s *Store) migrateUp(ctx context.Context, provider *goose.Provider) (results []*goose.MigrationResult, err error) {
	set := func(legacyRename string) error {
		_, err := s.writeDB.ExecContext(ctx, "PRAGMA legacy_alter_table = "+legacyRename)
		return err
	}
	if err := set("ON"); err != nil {
		return nil, err
	}
	results, err = provider.Up(ctx)
	return results, errors.Join(err, set("OFF"))
}

// legacyColumns are those of the FastAPI service's table messages.
var legacyColumns = []string{"message_id", "from_msisdn", "to_msisdn", "ts", "text", "created_at"}

// contents is what a file held before lyftr opened it for writing.
type contents struct {
	lyftr  bool     // lyftr's table messages
	legacy bool     // the FastAPI service's
	extra  []string // columns of it for which lyftr's table has no place
}

// inspect looks at what the file holds, with a connection of its own, before
// anything in it is changed.
func (s *Store) inspect(ctx context.Context) (found contents, err error) {
	db := openDB(fileDSN(s.path, guards()), nil)
	defer func() { err = errors.Join(err, db.Close()) }()
	return inspect(ctx, db)
}

// inspect looks at what a database holds. It refuses a table messages that is
// neither lyftr's nor the FastAPI service's.
func inspect(ctx context.Context, q queryer) (found contents, err error) {
	const neither = "it is neither lyftr's nor the FastAPI service's"
	columns, err := tableColumns(ctx, q, "messages")
	if err != nil || len(columns) == 0 {
		return contents{}, err
	}
	meta, err := tableColumns(ctx, q, "meta")
	if err != nil {
		return contents{}, err
	}
	if slices.Contains(columns, "ts_unix") {
		if !slices.Equal(meta, []string{"key", "value"}) {
			return contents{}, errors.New("the file has a table messages with the column ts_unix and no table meta: " + neither)
		}
		return contents{lyftr: true}, nil
	}
	for _, c := range legacyColumns {
		if !slices.Contains(columns, c) {
			return contents{}, fmt.Errorf("the file has a table messages without the column %s: %s", c, neither)
		}
	}
	found.legacy = true
	for _, c := range columns {
		// A number of its own is no loss: rows keep their order.
		if !slices.Contains(legacyColumns, c) && c != "id" {
			found.extra = append(found.extra, c)
		}
	}
	return found, nil
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
