package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// newestSchema is the version that this lyftr reads and writes.
func newestSchema() (int64, error) {
	files, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return 0, err
	}
	return goose.NumericComponent(files[len(files)-1])
}

// prepare brings the schema up to date, each version in one transaction. Of many
// processes that start at once one migrates, and the others wait for it. A store
// that only reads refuses any schema but the newest.
func (s *Store) prepare(ctx context.Context, conn *pgx.Conn) error {
	newest, err := newestSchema()
	if err != nil {
		return err
	}
	current, err := schemaVersion(ctx, conn)
	switch {
	case err != nil:
		return fmt.Errorf("read the schema's version: %w", err)
	case current > newest:
		return fmt.Errorf("the database has schema version %d and this lyftr knows %d at most: use a newer lyftr", current, newest)
	case current < newest && s.readOnly:
		return fmt.Errorf("the database has schema version %d and this lyftr reads %d: start lyftr serve once, which brings it up to date", current, newest)
	case current < newest:
		if err := s.migrate(ctx); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	if s.readOnly {
		return nil
	}
	if err := s.indexTexts(ctx, conn); err != nil {
		return fmt.Errorf("index for searching: %w", err)
	}
	return nil
}

// schemaVersion returns the version of the database, 0 if it has none.
func schemaVersion(ctx context.Context, conn *pgx.Conn) (version int64, err error) {
	var there bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", goose.DefaultTablename).Scan(&there); err != nil || !there {
		return 0, err
	}
	// A scan: there are few versions.
	err = conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+goose.DefaultTablename).Scan(&version)
	return version, err
}

// Others are waited for so many seconds, asked for every one of them.
const (
	migrationPoll = 1
	migrationWait = 300
)

// Bounds of a lock on a table that is in use. Whoever waits for it holds up all
// who come behind, so it is given up soon, and tried again after a pause.
const (
	tableLockTimeout = 500 * time.Millisecond
	tableLockPause   = 2 * time.Second
)

// migrate brings the schema up to date beside replicas that save and dumps that
// read.
func (s *Store) migrate(ctx context.Context) error {
	for deadline := time.Now().Add(migrationWait * time.Second); ; {
		err := s.migrateOnce(ctx)
		if code(err) != lockNotAvailable || time.Now().After(deadline) {
			return err
		}
		s.log.Warn("the schema waits for a table that somebody reads or changes for long", "error", err.Error())
		if !sleep(ctx, jitter(tableLockPause)) {
			return err
		}
	}
}

func (s *Store) migrateOnce(ctx context.Context) (err error) {
	config := s.target.config.ConnConfig.Copy()
	withParams(config, map[string]string{
		"statement_timeout": "0", "lock_timeout": milliseconds(tableLockTimeout), "idle_in_transaction_session_timeout": "0",
	})
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	files, err := fs.Sub(schemaFiles, "schema")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(migrationPoll, migrationWait))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return err
	}
	for _, r := range results {
		s.log.Info("schema migrated", "version", r.Source.Version, "took_ms", r.Duration.Milliseconds())
	}
	return nil
}

// indexLock is held by the process that builds the index, so that the others
// leave it to it.
const indexLock = int64(0x6c7966747278) // "lyftrx"

// indexTexts builds the index behind searches, if it is not there and the
// extension pg_trgm may be used. Without it a search reads every text, and finds
// the same.
//
// The lock lasts as long as the connection.
func (s *Store) indexTexts(ctx context.Context, conn *pgx.Conn) (err error) {
	var there, locked bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('messages_search') AND indisvalid)`).Scan(&there)
	if err != nil || there {
		return err
	}
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", indexLock).Scan(&locked)
	if err != nil || !locked {
		return err
	}
	if _, err := conn.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS pg_trgm"); err != nil {
		if _, ok := pgError(err); !ok {
			return err
		}
		s.log.Warn("without pg_trgm a search reads every text: have the server's administrator run CREATE EXTENSION pg_trgm", "error", err.Error())
		return nil
	}
	var schema string
	var rows int64
	err = conn.QueryRow(ctx, `SELECT quote_ident(nspname), (SELECT sum(messages)::bigint FROM counts)
		FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_trgm'`).Scan(&schema, &rows)
	if err != nil {
		return err
	}
	s.log.Info("building the index for searching", "messages", rows)
	// One that was interrupted is left behind, and of no use.
	_, err = conn.Exec(ctx, "DROP INDEX CONCURRENTLY IF EXISTS messages_search")
	if err == nil {
		_, err = conn.Exec(ctx, "CREATE INDEX CONCURRENTLY messages_search ON messages USING gin (folded "+schema+
			".gin_trgm_ops) WITH (gin_pending_list_limit = "+strconv.Itoa(pendingKiB)+")")
	}
	if e, ok := pgError(err); ok && !fatal(e) {
		s.log.Warn("without its index a search reads every text: the next start tries to build it again", "error", err.Error())
		return nil
	}
	return err
}

// pendingKiB is how much the index gathers before the writer sorts it in; see
// watcher.tidy.
const pendingKiB = 64 << 10
