package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"lyftr/internal/message"
)

// Sizes of the connections. A page is 4096 bytes in new files.
const (
	// writerCacheKiB is small on purpose: a commit after a B-tree split scans
	// the hash table of the page cache, and the system's cache serves reads.
	writerCacheKiB = 16_000
	readerCacheKiB = 4_000
	// logSizeLimit is what the log file shrinks to when it is begun anew after
	// a burst, in bytes: more than it has under load, since shrinking it and
	// letting it grow again hold up commits.
	logSizeLimit = 128 << 20
	// busyTimeoutMS is how long a statement waits for another process's lock.
	busyTimeoutMS = 5000
)

// connector opens connections of a driver of its own: functions are registered
// on it and not on the process-wide driver.
type connector struct {
	driver *sqlite.Driver
	dsn    string
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.driver.Open(c.dsn)
}

func (c connector) Driver() driver.Driver { return c.driver }

// openDB opens a pool; register may add functions to its connections.
func openDB(dsn string, register func(*sqlite.Driver)) *sql.DB {
	d := &sqlite.Driver{}
	if register != nil {
		register(d)
	}
	return sql.OpenDB(connector{driver: d, dsn: dsn})
}

// containsFold adds the SQL function contains_fold(text, needle), which is
// message.ContainsFold.
func containsFold(d *sqlite.Driver) {
	err := d.RegisterFunction("contains_fold", &sqlite.FunctionImpl{
		NArgs:         2,
		Deterministic: true,
		VolatileArgs:  true, // nothing of the arguments is kept
		Scalar: func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			text, ok := args[0].(string)
			needle, ok2 := args[1].(string)
			if !ok || !ok2 || !message.ContainsFold(text, needle) {
				return int64(0), nil
			}
			return int64(1), nil
		},
	})
	if err != nil {
		panic("sqlite: register contains_fold: " + err.Error()) // only for a repeated name
	}
}

// fileDSN names the file in the file: form, without which the driver drops
// SQLite's own parameters such as mode.
func fileDSN(path string, params []string) string {
	u := url.URL{Scheme: "file", Path: path}
	return u.String() + "?" + strings.Join(params, "&")
}

func pragma(name, value string) string {
	return "_pragma=" + url.QueryEscape(name+"("+value+")")
}

// guards are the settings of every connection. busy_timeout comes first, since
// what follows may already meet a lock.
func guards() []string {
	return []string{
		pragma("busy_timeout", strconv.Itoa(busyTimeoutMS)),
		// lyftr's tables have none. In an adopted file another table's may refer
		// to messages, and must not keep a message from being removed.
		pragma("foreign_keys", "OFF"),
		pragma("trusted_schema", "OFF"),
		pragma("cell_size_check", "ON"),
		pragma("mmap_size", "0"), // an I/O error in a mapping is a signal, not an error
		pragma("temp_store", "MEMORY"),
		"_dqs=0",
		"_defensive=1",
	}
}

func writerDSN(path string) string {
	return fileDSN(path, append(guards(),
		"_txlock=immediate",
		pragma("journal_mode", "WAL"),
		pragma("synchronous", "FULL"),
		pragma("wal_autocheckpoint", "0"), // see checkpointer
		pragma("journal_size_limit", strconv.Itoa(logSizeLimit)),
		pragma("cache_size", strconv.Itoa(-writerCacheKiB)),
		// Pages that are written anyway keep nothing of what was moved away from
		// them; what removes messages asks for more, see securely.
		pragma("secure_delete", "FAST"),
	))
}

func readerDSN(path string) string {
	return fileDSN(path, append(guards(),
		"mode=ro",
		pragma("query_only", "ON"),
		pragma("cache_size", strconv.Itoa(-readerCacheKiB)),
	))
}

// checkWriter reads back what durability rests on.
func checkWriter(ctx context.Context, db *sql.DB) error {
	var version, journal string
	var synchronous int
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return err
	}
	if !versionOK(version) {
		return fmt.Errorf("SQLite %s can lose commits in WAL mode: 3.51.3 or later is needed, and not 3.52.0", version)
	}
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return err
	}
	const full = 2
	if journal != "wal" || synchronous != full {
		return fmt.Errorf("journal_mode is %s and synchronous is %d, where wal and %d are needed", journal, synchronous, full)
	}
	return nil
}

// versionOK reports whether SQLite is free of the WAL-reset bug
// (https://sqlite.org/wal.html#walresetbug) and was not withdrawn.
func versionOK(version string) bool {
	var major, minor, patch int
	if n, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n < 3 || err != nil {
		return false
	}
	number := major*1_000_000 + minor*1_000 + patch
	return number >= 3_051_003 && number != 3_052_000
}

// errorClass is what an error of SQLite means for those who wait.
type errorClass int

const (
	// classRow: the statement's own values are at fault.
	classRow errorClass = iota
	// classUnavailable: a later attempt may succeed on the same connection.
	classUnavailable
	// classFatal: what is on disk is unknown; the connection must not go on.
	classFatal
)

func classify(err error) errorClass {
	var e *sqlite.Error
	switch {
	case errors.As(err, new(fatalFault)):
		return classFatal
	case !errors.As(err, &e):
		return classUnavailable // a context's end, or the driver's own error
	}
	switch e.Code() {
	case sqlite3.SQLITE_IOERR_SHMSIZE: // no room to grow the index of the log
		return classUnavailable
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return classFatal
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE:
		return classRow
	}
	return classUnavailable
}
