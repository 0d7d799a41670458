package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// copiesOf are the copies that adoption made beside the file, unfinished ones
// included.
func copiesOf(t testing.TB, path string) []string {
	t.Helper()
	copies, err := filepath.Glob(path + ".before-lyftr-*")
	if err != nil {
		t.Fatal(err)
	}
	return copies
}

// The tables of services before lyftr.
const (
	sqlAlchemy = `CREATE TABLE messages (
	message_id VARCHAR NOT NULL, 
	from_msisdn VARCHAR NOT NULL, 
	to_msisdn VARCHAR NOT NULL, 
	ts VARCHAR NOT NULL, 
	text VARCHAR, 
	created_at VARCHAR NOT NULL, 
	PRIMARY KEY (message_id)
);
CREATE INDEX ix_messages_ts ON messages (ts);
CREATE INDEX ix_messages_from_msisdn ON messages (from_msisdn)`
	sqlAlchemyDates = `CREATE TABLE messages (
	message_id VARCHAR(255) NOT NULL, 
	from_msisdn VARCHAR(16) NOT NULL, 
	to_msisdn VARCHAR(16) NOT NULL, 
	ts DATETIME NOT NULL, 
	text TEXT, 
	created_at DATETIME DEFAULT (CURRENT_TIMESTAMP) NOT NULL, 
	PRIMARY KEY (message_id)
)`
	sqlite3Style = `CREATE TABLE IF NOT EXISTS messages (
	message_id TEXT PRIMARY KEY,
	from_msisdn TEXT NOT NULL,
	to_msisdn TEXT NOT NULL,
	ts TEXT NOT NULL,
	text TEXT,
	created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_messages_ts ON messages(ts, message_id)`
	withoutNotNull = `CREATE TABLE messages (message_id TEXT PRIMARY KEY, from_msisdn TEXT, to_msisdn TEXT, ts TEXT, text TEXT, created_at TEXT)`
	withoutRowID   = `CREATE TABLE messages (message_id TEXT PRIMARY KEY, from_msisdn TEXT, to_msisdn TEXT, ts TEXT, text TEXT, created_at TEXT) WITHOUT ROWID`
	withoutKey     = `CREATE TABLE messages (message_id TEXT, from_msisdn TEXT, to_msisdn TEXT, ts TEXT, text TEXT, created_at TEXT)`
	withoutTypes   = `CREATE TABLE messages (message_id, from_msisdn, to_msisdn, ts, text, created_at)`
	// Other order, more columns, a key of its own.
	ownKey = `CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, created_at TIMESTAMP, text TEXT, ts TIMESTAMP,
	to_msisdn TEXT, from_msisdn TEXT, message_id TEXT UNIQUE, raw JSON DEFAULT '{}')`
)

// legacyRowValues are the values of a row, in the order of legacyColumns.
type legacyRowValues [6]any

// goodRows break no rule. Their order is not that of their instants.
var goodRows = []legacyRowValues{
	{"b", "+919876543210", "+14155550100", "2025-01-15T10:00:00Z", "Hello", "2025-01-15T10:00:01.123456Z"},
	{"z", "+919876543210", "+14155550100", "2025-01-15T10:00:00.25Z", nil, "2025-01-15T10:00:01.123456+00:00"},
	{"B", "+1", "+14155550100", "2025-01-15T10:00:00.0Z", "", "2025-01-15 10:00:01.123456"},
	{"é/😀%'\"", "+0", "+14155550100", "2024-02-29T23:59:59Z", "ÉCOLE 100% 'x'", "2025-01-15T10:00:01"},
	{"0042", "+1", "+14155550100", "1969-12-31T23:59:59.999999999Z", "0042", "2025-01-15 10:00:01"},
	{strings.Repeat("é", message.MaxIDLength), "+2", "+3", "9999-12-31T23:59:59Z", strings.Repeat("😀", message.MaxTextLength), "2025-01-15T15:30:01+05:30"},
	{"1e3", "+2", "+3", "0001-01-01T00:00:00Z", "line\nline\t\x1b", "2025-01-15T10:00:01Z"},
}

// goodIDs are their IDs in list order.
var goodIDs = []string{"1e3", "0042", "é/😀%'\"", "B", "b", "z", strings.Repeat("é", message.MaxIDLength)}

// fill makes a legacy table and stores the rows.
func fill(t testing.TB, db *sql.DB, schema string, values []legacyRowValues) {
	t.Helper()
	mustExec(t, db, schema)
	for _, v := range values {
		mustExec(t, db, "INSERT INTO messages ("+strings.Join(legacyColumns, ", ")+") VALUES (?, ?, ?, ?, ?, ?)", v[:]...)
	}
}

// legacyFile makes a closed file in rollback-journal mode.
func legacyFile(t testing.TB, schema string, values []legacyRowValues) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.db")
	db := plain(t, path)
	fill(t, db, schema, values)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// exact returns all rows of a table, each value as its type and its bytes.
func exact(t testing.TB, db *sql.DB, table string) [][]string {
	t.Helper()
	return dump(t, db, table, "CASE WHEN # IS NULL THEN 'NULL' ELSE typeof(#) || ' ' || hex(CAST(# AS BLOB)) END")
}

// content returns all rows of a table, each value as the bytes of its text.
func content(t testing.TB, db *sql.DB, table string) [][]string {
	t.Helper()
	return dump(t, db, table, "CASE WHEN # IS NULL THEN 'NULL' ELSE hex(CAST(# AS BLOB)) END")
}

func dump(t testing.TB, db *sql.DB, table, expression string) [][]string {
	t.Helper()
	var expressions []string
	for _, c := range legacyColumns {
		expressions = append(expressions, strings.ReplaceAll(expression, "#", c))
	}
	all := rows(t, db, "SELECT "+strings.Join(expressions, ", ")+" FROM "+table)
	slices.SortFunc(all, slices.Compare[[]string])
	return all
}

// readFile runs f on the closed file as another program.
func readFile[T any](t testing.TB, path string, f func(db *sql.DB) T) T {
	t.Helper()
	db := plain(t, path)
	v := f(db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return v
}

// wantWholeCopy checks that there is one copy, closed to others, and that it is
// a sound database with the rows as they were.
func wantWholeCopy(t *testing.T, path string, before [][]string) {
	t.Helper()
	copies := copiesOf(t, path)
	if len(copies) != 1 || strings.HasSuffix(copies[0], ".tmp") {
		t.Fatalf("copies beside the file: got %q, want one that is finished", copies)
	}
	f, err := os.Stat(copies[0])
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "mode of the copy", fs.FileMode(0o600), f.Mode().Perm())
	db := plain(t, copies[0])
	wantEqual(t, "integrity of the copy", `"ok"`, one(t, db, "PRAGMA integrity_check"))
	wantEqual(t, "rows of the copy", before, exact(t, db, "messages"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// adoptionLine returns the one log line about the adoption.
func adoptionLine(t *testing.T, lines *logLines) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, line := range lines.lines(t) {
		if msg, _ := line["msg"].(string); strings.HasPrefix(msg, "adopted") {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		t.Fatalf("log lines about the adoption: got %v, want one", found)
	}
	return found[0]
}

// number is a figure of a log line, 0 if it is not there.
func number(line map[string]any, name string) int {
	n, _ := line[name].(float64)
	return int(n)
}

func TestAdopt(t *testing.T) {
	schemas := map[string]string{
		"SQLAlchemy":                   sqlAlchemy,
		"SQLAlchemy, DATETIME columns": sqlAlchemyDates,
		"sqlite3":                      sqlite3Style,
		"without NOT NULL":             withoutNotNull,
		"without rowid":                withoutRowID,
		"without a key":                withoutKey,
		"without types":                withoutTypes,
		"own key and more columns":     ownKey,
	}
	states := map[string]func(t *testing.T, schema string) (path string){
		"rollback journal": func(t *testing.T, schema string) string { return legacyFile(t, schema, goodRows) },
		"WAL": func(t *testing.T, schema string) string {
			path := newPath(t)
			db := plain(t, path)
			mustExec(t, db, "PRAGMA journal_mode = WAL")
			fill(t, db, schema, goodRows)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			return path
		},
		"WAL, left by a kill": func(t *testing.T, schema string) string {
			path := newPath(t)
			db := plain(t, path)
			mustExec(t, db, "PRAGMA journal_mode = WAL")
			fill(t, db, schema, goodRows)
			killed := copyDatabase(t, path)
			if size(t, killed+"-wal") == 0 {
				t.Fatal("there is no log")
			}
			return killed
		},
		"rollback journal, left by a kill": func(t *testing.T, schema string) string {
			path := newPath(t)
			db := plain(t, path)
			mustExec(t, db, "PRAGMA cache_size = 1") // so that the file is written before the commit
			fill(t, db, schema, goodRows)
			mustExec(t, db, "BEGIN")
			for i := range 50 {
				mustExec(t, db, "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at) VALUES (?, '', '', '', ?, '')",
					fmt.Sprint("never committed ", i), strings.Repeat("x", 1000))
			}
			killed := copyDatabase(t, path)
			if size(t, killed+"-journal") == 0 || size(t, killed) < 10*pageSize {
				t.Fatal("there is no hot journal")
			}
			return killed
		},
	}
	for schemaName, schema := range schemas {
		for stateName, state := range states {
			if strings.Contains(stateName, "kill") && schema != sqlAlchemy && schema != withoutRowID {
				continue // what SQLite recovers does not depend on the columns
			}
			t.Run(schemaName+"/"+stateName, func(t *testing.T) {
				path := state(t, schema)
				// Read from a copy, so that what Open finds is as it was left.
				looked := copyDatabase(t, path)
				before := readFile(t, looked, func(db *sql.DB) [][]string { return exact(t, db, "messages") })
				want := readFile(t, looked, func(db *sql.DB) [][]string { return content(t, db, "messages") })
				testAdopted(t, path, before, want)
			})
		}
	}
}

// testAdopted opens a legacy file with goodRows and checks everything there is
// to check.
func testAdopted(t *testing.T, path string, before, want [][]string) {
	lines := &logLines{}
	s, shut := open(t, path, Options{Logger: lines.logger()})
	wantEqual(t, "IDs in order", goodIDs, listedIDs(t, s))
	wantEqual(t, "Status().Messages", int64(len(goodRows)), s.Status().Messages)
	wantEqual(t, "values, while the store is open", want, readFile(t, path, func(db *sql.DB) [][]string { return content(t, db, "messages") }))
	wantWholeCopy(t, path, before)
	line := adoptionLine(t, lines)
	wantEqual(t, "level of the log line", any("INFO"), line["level"])
	wantEqual(t, "messages in the log line", len(goodRows), number(line, "messages"))
	wantEqual(t, "copy in the log line", any(copiesOf(t, path)[0]), line["copy"])

	received := time.Date(2025, 1, 15, 10, 0, 1, 0, time.UTC)
	for _, row := range goodRows {
		id := row[0].(string)
		got, err := s.Get(t.Context(), "", id)
		if err != nil {
			t.Fatalf("Get(%q): %v", id, err)
		}
		wantEqual(t, "source of "+id, message.SourceNative, got.Source)
		wantEqual(t, "ts of "+id, row[3], any(got.TS))
		at, err := message.ParseTimestamp(got.TS)
		if err != nil || !at.Equal(got.At) {
			t.Errorf("At of %q: got %v, want %v (%v)", id, got.At, at, err)
		}
		wantEqual(t, "when "+id+" was received", received, got.ReceivedAt.Truncate(time.Second))

		// The sender that repeats itself is answered as ever.
		m := got
		if m.Text != nil {
			text := row[4].(string)
			m.Text = &text
		}
		outcomes, err := s.Save(t.Context(), []message.Message{m}, nil)
		wantOutcomes(t, "the repeat of "+id, saved{outcomes, err}, message.Outcome{Duplicate: true})
	}
	save(t, s, "new")
	shut()

	// Once adopted, it is lyftr's own.
	again := &logLines{}
	s, shut = open(t, path, Options{Logger: again.logger()})
	wantEqual(t, "Status().Messages", int64(len(goodRows))+1, s.Status().Messages)
	shut()
	if got := again.lines(t); len(got) > 0 {
		t.Errorf("the second Open logged %v, want nothing", got)
	}
	wantWholeCopy(t, path, before)
	db := plain(t, path)
	wantEqual(t, "rows in adoption_report", "0", one(t, db, "SELECT count(*) FROM adoption_report"))
	wantEqual(t, "old rows, by plain SQL", "7", one(t, db, "SELECT count(*) FROM messages WHERE message_id <> 'new'"))
	wantEqual(t, "tables left over", "0", one(t, db, "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%fastapi%'"))
	wantEqual(t, "integrity", `"ok"`, one(t, db, "PRAGMA integrity_check"))
}

// TestAdoptNothing: the service was started and never used.
func TestAdoptNothing(t *testing.T) {
	path := legacyFile(t, sqlAlchemy, nil)
	lines := &logLines{}
	s, shut := open(t, path, Options{Logger: lines.logger()})
	save(t, s, "a")
	shut()
	wantWholeCopy(t, path, nil)
	wantEqual(t, "messages in the log line", 0, number(adoptionLine(t, lines), "messages"))
}

// TestAdoptLeavesOthersAlone: tables that are not messages stay as they are,
// and what refers to messages goes on working.
func TestAdoptLeavesOthersAlone(t *testing.T) {
	for name, tt := range map[string]struct{ schema, use string }{
		"table":       {"CREATE TABLE alembic_version (v); INSERT INTO alembic_version VALUES ('abc')", "SELECT v = 'abc' FROM alembic_version"},
		"view":        {"CREATE VIEW senders AS SELECT DISTINCT from_msisdn FROM messages", "SELECT count(*) = 4 FROM senders"},
		"trigger":     {"CREATE TABLE seen (id); CREATE TRIGGER see AFTER INSERT ON seen BEGIN UPDATE seen SET id = (SELECT count(*) FROM messages); END", "INSERT INTO seen VALUES (0) RETURNING 1"},
		"foreign key": {"CREATE TABLE replies (message_id VARCHAR REFERENCES messages (message_id)); INSERT INTO replies VALUES ('b')", "SELECT count(*) = 1 FROM replies JOIN messages USING (message_id)"},
	} {
		t.Run(name, func(t *testing.T) {
			path := legacyFile(t, sqlAlchemy, goodRows)
			db := plain(t, path)
			mustExec(t, db, tt.schema)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			s, shut := open(t, path, Options{})
			wantEqual(t, "IDs", goodIDs, listedIDs(t, s))
			shut()
			wantEqual(t, tt.use, "1", one(t, plain(t, path), tt.use))
		})
	}
}

// faultyRow is a row that breaks a rule of section 1 of the contract.
type faultyRow struct {
	values legacyRowValues
	faults string // as adoption_report has them
	left   bool   // it has no identity of its own, so it is not in messages
	at     string // the instant by which it is ordered
}

const (
	goodTS      = "2025-01-15T10:00:00Z"
	goodCreated = "2025-02-01T00:00:00Z"
)

var faultyRows = []faultyRow{
	{values: legacyRowValues{"no sender", nil, "+2", goodTS, nil, goodCreated}, faults: "from_msisdn invalid", at: goodTS},
	{values: legacyRowValues{"number as sender", int64(919876543210), "+2", goodTS, nil, goodCreated}, faults: "from_msisdn invalid", at: goodTS},
	{values: legacyRowValues{"recipient without plus", "+1", "14155550100", goodTS, nil, goodCreated}, faults: "to_msisdn invalid", at: goodTS},
	{values: legacyRowValues{"recipient with a space", "+1", "+1 415", goodTS, nil, goodCreated}, faults: "to_msisdn invalid", at: goodTS},
	{values: legacyRowValues{"no ts", "+1", "+2", nil, nil, goodCreated}, faults: "ts invalid", at: goodCreated},
	{values: legacyRowValues{"ts with an offset", "+1", "+2", "2025-01-15T10:00:00+05:30", nil, goodCreated}, faults: "ts invalid", at: "2025-01-15T04:30:00Z"},
	{values: legacyRowValues{"ts of SQLAlchemy", "+1", "+2", "2025-01-15 11:00:00.500000", nil, goodCreated}, faults: "ts invalid", at: "2025-01-15T11:00:00.5Z"},
	{values: legacyRowValues{"ts without a zone", "+1", "+2", "2025-01-15T12:00:00", nil, goodCreated}, faults: "ts invalid", at: "2025-01-15T12:00:00Z"},
	{values: legacyRowValues{"ts is a date", "+1", "+2", "2025-01-16", nil, goodCreated}, faults: "ts invalid", at: "2025-01-16T00:00:00Z"},
	{values: legacyRowValues{"ts is a number", "+1", "+2", int64(1736935200), nil, goodCreated}, faults: "ts invalid", at: goodCreated},
	{values: legacyRowValues{"ts is no time", "+1", "+2", "yesterday", nil, goodCreated}, faults: "ts invalid", at: goodCreated},
	{values: legacyRowValues{"ts of a wrong date", "+1", "+2", "2025-02-30T10:00:00Z", nil, nil}, faults: "ts invalid", at: "1970-01-01T00:00:00Z"},
	{values: legacyRowValues{"text too long", "+1", "+2", goodTS, strings.Repeat("x", message.MaxTextLength+1), goodCreated}, faults: "text string_too_long", at: goodTS},
	{values: legacyRowValues{"text with NUL", "+1", "+2", goodTS, "a\x00b", goodCreated}, faults: "text value_error", at: goodTS},
	{values: legacyRowValues{"blob with NUL", "+1", "+2", goodTS, []byte("a\x00b"), goodCreated}, faults: "text value_error", at: goodTS},
	{values: legacyRowValues{"", "+1", "+2", goodTS, "empty ID", goodCreated}, faults: "message_id string_too_short", at: goodTS},
	{values: legacyRowValues{strings.Repeat("x", message.MaxIDLength+1), "+1", "+2", goodTS, nil, goodCreated}, faults: "message_id string_too_long", at: goodTS},
	{values: legacyRowValues{"line\nbreak", "+1", "+2", goodTS, nil, goodCreated}, faults: "message_id value_error", at: goodTS},
	{values: legacyRowValues{"nothing right", nil, "", "", strings.Repeat("x", message.MaxTextLength+1), nil}, faults: "from_msisdn invalid, to_msisdn invalid, ts invalid, text string_too_long", at: "1970-01-01T00:00:00Z"},
	{values: legacyRowValues{nil, "+1", "+2", goodTS, "no ID", goodCreated}, faults: "message_id missing", left: true},
	{values: legacyRowValues{nil, "+1", "+2", goodTS, "no ID", goodCreated}, faults: "message_id missing", left: true},
	{values: legacyRowValues{nil, nil, nil, nil, nil, nil}, faults: "message_id missing, from_msisdn invalid, to_msisdn invalid, ts invalid", left: true},
	{values: legacyRowValues{"b", "+1", "+2", goodTS, "the ID of a row before", goodCreated}, faults: "message_id repeated", left: true},
	{values: goodRows[0], faults: "message_id repeated", left: true}, // word for word
	{values: legacyRowValues{int64(42), "+1", "+2", goodTS, "42 is there as a text", goodCreated}, faults: "message_id repeated", left: true},
	{values: legacyRowValues{"no sender", "x", "+2", goodTS, nil, goodCreated}, faults: "from_msisdn invalid, message_id repeated", left: true},
}

// oddRows break no rule, but are not of the types that one expects.
var oddRows = []legacyRowValues{
	{"42", "+1", "+2", goodTS, nil, goodCreated},
	{int64(43), "+1", "+2", goodTS, int64(7), goodCreated},
	{[]byte("blob"), []byte("+1"), []byte("+2"), []byte(goodTS), []byte("text as a blob"), []byte(goodCreated)},
	{4.5, "+1", "+2", goodTS, 0.25, int64(1736935200)},
	{"no created_at", "+1", "+2", goodTS, "x", nil},
}

// TestAdoptFaultyRows: rows that break a rule are kept, listed and counted.
// Whatever has an identity is in messages, and nothing is dropped.
func TestAdoptFaultyRows(t *testing.T) {
	values := slices.Concat(goodRows, oddRows)
	for _, f := range faultyRows {
		values = append(values, f.values)
	}
	path := legacyFile(t, withoutTypes, values)
	before := readFile(t, path, func(db *sql.DB) [][]string { return exact(t, db, "messages") })
	lines := &logLines{}
	s, shut := open(t, path, Options{Logger: lines.logger()})

	// The report has what breaks a rule, as it was, with all that is broken.
	asText := func(v any) string {
		switch v := v.(type) {
		case nil:
			return "NULL"
		case []byte:
			return fmt.Sprintf("%X", v)
		default:
			return fmt.Sprintf("%X", fmt.Sprint(v))
		}
	}
	var wantReport [][]string
	wantFaulty, wantLeft := 0, 0
	for _, f := range faultyRows {
		row := make([]string, 0, 8)
		for _, v := range f.values {
			row = append(row, fmt.Sprintf("%q", asText(v)))
		}
		kept := "1"
		if f.left {
			kept = "0"
			wantLeft++
		} else {
			wantFaulty++
		}
		wantReport = append(wantReport, append(row, fmt.Sprintf("%q", f.faults), kept))
	}
	report := readFile(t, path, func(db *sql.DB) [][]string {
		var hexes []string
		for _, c := range legacyColumns {
			hexes = append(hexes, strings.ReplaceAll("CASE WHEN # IS NULL THEN 'NULL' ELSE hex(CAST(# AS BLOB)) END", "#", c))
		}
		return rows(t, db, "SELECT "+strings.Join(hexes, ", ")+", faults, in_messages FROM adoption_report ORDER BY rowid")
	})
	wantEqual(t, "adoption_report", wantReport, report)
	line := adoptionLine(t, lines)
	wantEqual(t, "level of the log line", any("WARN"), line["level"])
	wantEqual(t, "break_a_rule in the log line", wantFaulty, number(line, "break_a_rule"))
	wantEqual(t, "left_out in the log line", wantLeft, number(line, "left_out"))
	wantEqual(t, "messages in the log line", len(values)-wantLeft, number(line, "messages"))
	wantEqual(t, "Status().Messages", int64(len(values)-wantLeft), s.Status().Messages)
	for _, text := range lines.lines(t) {
		if said := fmt.Sprint(text); strings.Contains(said, "919876543210") || strings.Contains(said, "no ID") {
			t.Errorf("a log line has a telephone number or a text: %s", said)
		}
	}

	// What is in messages has the values of its row.
	or := func(v any, none string) string {
		switch v := v.(type) {
		case nil:
			return none
		case []byte:
			return string(v)
		default:
			return fmt.Sprint(v)
		}
	}
	wantRow := func(v legacyRowValues, at string) {
		t.Helper()
		id := or(v[0], "")
		got, err := s.Get(t.Context(), "", id)
		if err != nil {
			t.Errorf("Get(%q): %v", id, err)
			return
		}
		want := message.Message{
			Source: message.SourceNative, ID: id, From: or(v[1], ""), To: or(v[2], ""), TS: or(v[3], ""), At: got.At,
		}
		if v[4] != nil {
			text := or(v[4], "")
			want.Text = &text
		}
		if at != "" {
			var err error
			if want.At, err = message.ParseTimestamp(at); err != nil {
				t.Fatal(err)
			}
		}
		wantEqual(t, "message "+id, want, got)
	}
	for _, v := range slices.Concat(goodRows, oddRows) {
		wantRow(v, or(v[3], ""))
	}
	for _, f := range faultyRows {
		if !f.left {
			wantRow(f.values, f.at)
		}
	}
	shut()
	wantWholeCopy(t, path, before)
}

// TestAdoptInvalidUTF8: what is not UTF-8 breaks a rule as well (section 1,
// step 3).
func TestAdoptInvalidUTF8(t *testing.T) {
	path := legacyFile(t, withoutTypes, nil)
	db := plain(t, path)
	for _, v := range []string{
		"'text', '+1', '+2', '2025-01-15T10:00:00Z', CAST(x'41ff' AS TEXT), ''",
		"'surrogate', '+1', '+2', '2025-01-15T10:00:00Z', CAST(x'eda080' AS TEXT), ''",
		"CAST(x'ff69' AS TEXT), '+1', '+2', '2025-01-15T10:00:00Z', 'id', ''",
		"x'ff6a', '+1', '+2', '2025-01-15T10:00:00Z', 'id as a blob', ''",
	} {
		mustExec(t, db, "INSERT INTO messages VALUES ("+v+")")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, shut := open(t, path, Options{})
	wantEqual(t, "Status().Messages", 4, s.Status().Messages)
	shut()
	wantEqual(t, "rows in adoption_report", "4", one(t, plain(t, path), "SELECT count(*) FROM adoption_report WHERE in_messages"))
}

// TestAdoptKeepsTheFirst: of rows that share an ID the one stored first is the
// message, in a table without a key as in every other.
func TestAdoptKeepsTheFirst(t *testing.T) {
	path := legacyFile(t, withoutKey, []legacyRowValues{
		{"x", "+9", "+2", goodTS, nil, goodCreated},
		{"a", "+1", "+2", "2025-01-15T12:00:00Z", "first", "2025-01-15T12:00:00Z"},
		{"a", "+1", "+2", "2025-01-15T10:00:00Z", "second, of an earlier ts", "2025-01-15T10:00:00Z"},
		{"a", "+1", "+2", "2025-01-15T12:00:00Z", "first", "2025-01-15T12:00:00Z"},
	})
	s, shut := open(t, path, Options{})
	got, err := s.Get(t.Context(), "", "a")
	if err != nil || got.Text == nil || *got.Text != "first" {
		t.Errorf("Get: got %+v, %v, want the first row", got, err)
	}
	shut()
	wantEqual(t, "rows in adoption_report that are left out", "2", one(t, plain(t, path), "SELECT count(*) FROM adoption_report WHERE NOT in_messages"))
}

// TestAdoptWhileTheServiceRuns: the old service still has the file open and
// writes. Adoption waits for its lock or fails; the file is the old or the new.
func TestAdoptWhileTheServiceRuns(t *testing.T) {
	path := legacyFile(t, sqlAlchemy, goodRows)
	before := readFile(t, path, func(db *sql.DB) [][]string { return exact(t, db, "messages") })
	service := plain(t, path)
	mustExec(t, service, "BEGIN IMMEDIATE")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if s, err := Open(ctx, path, Options{}); err == nil {
		_ = s.Close()
		t.Fatal("Open adopted a file that another program was writing to")
	}
	mustExec(t, service, "ROLLBACK")
	wantEqual(t, "rows", before, exact(t, service, "messages"))
	s, _ := open(t, path, Options{})
	wantEqual(t, "IDs", goodIDs, listedIDs(t, s))
}
