package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"lyftr/internal/message"
)

// copyBeside makes a consistent copy of the database next to it, on disk under
// its final name only when it is whole, and returns its path.
func (s *Store) copyBeside(ctx context.Context) (string, error) {
	const unfinishedSuffix = ".tmp"
	prefix := s.path + ".before-lyftr-"
	// A start that was killed may have left part of a copy.
	entries, err := os.ReadDir(filepath.Dir(s.path))
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(s.path), e.Name())
		if rest, ok := strings.CutPrefix(name, prefix); ok && strings.Contains(rest, unfinishedSuffix) { // or its journal
			if err := os.Remove(name); err != nil {
				return "", err
			}
		}
	}
	path := prefix + time.Now().UTC().Format("20060102T150405.000000000Z")
	unfinished := path + unfinishedSuffix
	if _, err := s.writeDB.ExecContext(ctx, "VACUUM INTO ?", unfinished); err != nil {
		return "", errors.Join(err, removeIfThere(unfinished))
	}
	f, err := os.OpenFile(unfinished, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Chmod(0o600), f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err := os.Rename(unfinished, path); err != nil {
		return "", err
	}
	return path, syncDir(filepath.Dir(path))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// adoption takes over the messages of a FastAPI service.
type adoption struct {
	log      *slog.Logger
	copyPath string
	extra    []string // columns that only the copy keeps

	rows    int            // found
	left    int            // not in messages, since they have no identity of their own
	faulty  int            // in messages, but break a rule
	byFault map[string]int // rule broken → rows
}

const legacyTable = "fastapi_messages"

// migrate makes the tables of schema version 1, and moves the messages of the
// FastAPI service's table into them if that is there.
func (a *adoption) migrate(ctx context.Context, tx *sql.Tx) error {
	schema, err := schemaFiles.ReadFile("schema/" + firstSchema)
	if err != nil {
		return err
	}
	legacy, err := tableColumns(ctx, tx, "messages")
	if err != nil {
		return err
	}
	if len(legacy) > 0 {
		if _, err := tx.ExecContext(ctx, "ALTER TABLE messages RENAME TO "+legacyTable); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, string(schema)); err != nil {
		return err
	}
	if len(legacy) == 0 {
		return nil
	}
	if err := a.move(ctx, tx); err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	_, err = tx.ExecContext(ctx, "DROP TABLE "+legacyTable)
	return err
}

// reportTable holds every adopted row that broke a rule, as it was.
const reportTable = `CREATE TABLE adoption_report (
	message_id TEXT, from_msisdn TEXT, to_msisdn TEXT, ts TEXT, text TEXT, created_at TEXT,
	faults      TEXT    NOT NULL, -- the rules that the row breaks
	in_messages INTEGER NOT NULL  -- 0 if it could not be given a place there
)`

// legacyRow is a row as the FastAPI service kept it; SQLite let it keep NULL
// and any type in any column.
type legacyRow struct {
	id, from, to, ts, text, created sql.NullString
}

// adoptSQL makes a message of a row, in the table of schema version 1. The index
// messages_identity finds the conflict.
const adoptSQL = `INSERT INTO messages
	(message_id, from_msisdn, to_msisdn, ts, text, created_at, source, ts_unix, ts_nanos)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (message_id, source) DO NOTHING`

// move copies all rows in the order in which they were stored. It reads and
// writes in one transaction on one connection.
func (a *adoption) move(ctx context.Context, tx *sql.Tx) error {
	a.byFault = map[string]int{}
	if _, err := tx.ExecContext(ctx, reportTable); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, adoptSQL)
	if err != nil {
		return err
	}
	defer insert.Close()
	report, err := tx.PrepareContext(ctx, "INSERT INTO adoption_report VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer report.Close()

	// The casts keep the driver from turning a column of a declared type into
	// something else than what is stored.
	casts := make([]string, len(legacyColumns))
	for i, c := range legacyColumns {
		casts[i] = "CAST(" + c + " AS TEXT)"
	}
	query := "SELECT " + strings.Join(casts, ", ") + " FROM " + legacyTable
	rows, err := tx.QueryContext(ctx, query+" ORDER BY rowid")
	if err != nil { // a table WITHOUT ROWID
		rows, err = tx.QueryContext(ctx, query+" ORDER BY created_at, message_id")
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r legacyRow
		if err := rows.Scan(&r.id, &r.from, &r.to, &r.ts, &r.text, &r.created); err != nil {
			return err
		}
		if err := a.moveRow(ctx, insert, report, r); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (a *adoption) moveRow(ctx context.Context, insert, report *sql.Stmt, r legacyRow) error {
	a.rows++
	at, faults := r.check()
	stored := false
	if r.id.Valid {
		var text any
		if r.text.Valid {
			text = r.text.String
		}
		result, err := insert.ExecContext(ctx, r.id.String, r.from.String, r.to.String, r.ts.String, text,
			r.created.String, message.SourceNative, at.Unix(), at.Nanosecond())
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return err
		}
		if stored = changed == 1; !stored {
			faults = append(faults, "message_id repeated")
		}
	}
	if len(faults) == 0 {
		return nil
	}
	if stored {
		a.faulty++
	} else {
		a.left++
	}
	for _, f := range faults {
		a.byFault[f]++
	}
	_, err := report.ExecContext(ctx, r.id, r.from, r.to, r.ts, r.text, r.created, strings.Join(faults, ", "), stored)
	return err
}

// check returns the instant by which the row is ordered and the rules that it
// breaks.
func (r legacyRow) check() (at time.Time, faults []string) {
	switch kind, _ := message.CheckID(r.id.String); {
	case !r.id.Valid:
		faults = append(faults, "message_id missing")
	case kind != "":
		faults = append(faults, "message_id "+kind)
	}
	if !message.ValidPhone(r.from.String) {
		faults = append(faults, "from_msisdn invalid")
	}
	if !message.ValidPhone(r.to.String) {
		faults = append(faults, "to_msisdn invalid")
	}
	at, err := message.ParseTimestamp(r.ts.String)
	if err != nil {
		faults = append(faults, "ts invalid")
		var ok bool
		if at, ok = parseLenient(r.ts.String); !ok {
			at, ok = parseLenient(r.created.String)
		}
		if !ok {
			at = time.Unix(0, 0)
		}
	}
	if kind, _ := message.CheckText(r.text.String); kind != "" {
		faults = append(faults, "text "+kind)
	}
	// An invalid number or timestamp is one of those above already.
	if !utf8.ValidString(r.id.String) {
		faults = append(faults, "message_id not UTF-8")
	}
	if !utf8.ValidString(r.text.String) {
		faults = append(faults, "text not UTF-8")
	}
	return at, faults
}

// parseLenient parses the ways in which Python programs write times. A time
// without an offset is UTC.
func parseLenient(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// report says what was adopted, without any content.
func (a *adoption) report() {
	attrs := []any{"messages", a.rows - a.left, "copy", a.copyPath}
	if len(a.extra) > 0 {
		a.log.Warn("some columns of the FastAPI service's table are kept in the copy only", "columns", a.extra, "copy", a.copyPath)
	}
	if a.faulty+a.left == 0 {
		a.log.Info("adopted the FastAPI service's database", attrs...)
		return
	}
	attrs = append(attrs, "break_a_rule", a.faulty, "left_out", a.left, "see_table", "adoption_report")
	for rule, n := range a.byFault {
		attrs = append(attrs, strings.ReplaceAll(rule, " ", "_"), n)
	}
	a.log.Warn("adopted the FastAPI service's database; some rows break a rule and are kept as they are", attrs...)
}
