// Package store opens the message.Store that a DATABASE_URL names.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/postgres"
	"lyftr/internal/store/sqlite"
)

// Options tune the store. The zero value is fine.
type Options struct {
	// Logger is told of migrations, adoption and faults. Default: nothing is said.
	Logger *slog.Logger
	// ReadTimeout bounds every read. Default 5 s.
	ReadTimeout time.Duration
	// ReadOnly opens a database for reading alone, also one that another process
	// has open, and changes nothing in it.
	ReadOnly bool
	// QueueSize is how many saves may wait for the writer. Default 4096.
	QueueSize int
	// OnCommit, if set, is told of every commit: how long it took and how many
	// messages it held.
	OnCommit func(took time.Duration, messages int)
}

// ErrInUse is in the tree of the error with which Open refuses a SQLite file
// that another process has open for writing.
var ErrInUse = sqlite.ErrInUse

// Open opens the store that the URL names; the caller closes it. ParseURL says
// which URLs there are.
func Open(ctx context.Context, databaseURL string, o Options) (message.Store, error) {
	t, err := ParseURL(databaseURL)
	if err != nil {
		return nil, err
	}
	if t.Server != "" {
		s, err := postgres.Open(ctx, databaseURL, postgres.Options(o))
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := sqlite.Open(ctx, t.Path, sqlite.Options(o))
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Target is the database that a URL names: a SQLite file or a database of a
// PostgreSQL server.
type Target struct {
	// Path is the file, as the URL has it: relative to the working directory
	// unless it begins with a slash.
	Path string
	// Server is host, port and name of the database, as in db:5432/lyftr, or of
	// several hosts. It may be shown: user and password are not in it.
	Server string
}

// ignoredParameters are connection arguments of Python's SQLite drivers that
// FastAPI services put into their URL. They say nothing about the data.
var ignoredParameters = []string{"check_same_thread", "timeout", "cached_statements", "isolation_level", "detect_types"}

// ParseURL parses a DATABASE_URL in SQLAlchemy's forms: sqlite:///relative/path,
// sqlite:////absolute/path, postgresql://user:password@host:5432/database, with a
// driver as in sqlite+aiosqlite://. As there, a path is taken as it is: nothing
// in it is escaped. A server's URL may have all that libpq's may. The error never
// holds the URL, which may carry a password.
//
// Source of the form of a file's: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#connect-strings
func ParseURL(s string) (Target, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	// What is not a scheme may be anything, a password too: only a scheme is
	// repeated below.
	if !ok || scheme == "" || strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-.") != "" {
		return Target{}, errors.New("DATABASE_URL is not a URL: use sqlite:///./data/app.db for a relative or sqlite:////data/app.db for an absolute path, or postgres://user:password@host:5432/database")
	}
	dialect, _, _ := strings.Cut(scheme, "+")
	switch strings.ToLower(dialect) {
	case "sqlite":
		return parseSQLite(rest)
	case "postgres", "postgresql":
		server, err := postgres.ParseURL(s)
		if err != nil {
			return Target{}, err
		}
		return Target{Server: server}, nil
	}
	return Target{}, fmt.Errorf("DATABASE_URL has the unknown scheme %q: use sqlite:///./data/app.db or postgres://user:password@host:5432/database", printable(scheme))
}

// printable keeps a strange scheme from filling a terminal.
func printable(s string) string {
	if len(s) > 32 {
		s = s[:32] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

func parseSQLite(rest string) (Target, error) {
	if !strings.HasPrefix(rest, "/") {
		return Target{}, errors.New("DATABASE_URL needs three slashes before a relative path and four before an absolute one: sqlite:///./data/app.db")
	}
	path, query, _ := strings.Cut(rest[1:], "?")
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return Target{}, errors.New("DATABASE_URL has parameters that cannot be parsed")
	}
	for name := range parameters {
		if !slices.Contains(ignoredParameters, name) {
			return Target{}, fmt.Errorf("DATABASE_URL has the parameter %q, which lyftr does not know", printable(name))
		}
	}
	switch {
	case path == "", path == ":memory:", strings.HasPrefix(path, "file:"):
		return Target{}, errors.New("DATABASE_URL names no file: messages have to be kept on disk, use sqlite:///./data/app.db")
	case strings.ContainsRune(path, 0):
		return Target{}, errors.New("DATABASE_URL has a NUL character in its path")
	case strings.HasSuffix(path, "/"), filepath.Base(path) == ".", filepath.Base(path) == "..":
		return Target{}, errors.New("DATABASE_URL names a folder: a file name is missing")
	}
	return Target{Path: path}, nil
}
