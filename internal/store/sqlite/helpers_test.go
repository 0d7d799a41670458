package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
)

// open opens the store. shut closes it, once; the test's end does so anyway.
func open(t *testing.T, path string, o Options) (s *Store, shut func()) {
	t.Helper()
	s, err := Open(t.Context(), path, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	shut = sync.OnceFunc(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if s.fatalError() != nil {
			// Left to the end of the process, which here goes on.
			_ = errors.Join(s.writer.close(), s.writeDB.Close())
		}
	})
	t.Cleanup(shut)
	return s, shut
}

// newPath is where a database may be made.
func newPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "app.db")
}

// plain opens the file as any other program does, with one connection that does
// not wait for locks.
func plain(t testing.TB, path string) *sql.DB {
	t.Helper()
	u := url.URL{Scheme: "file", Path: path}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// rows returns what a query finds, each row's columns as SQL literals, which
// tell the types apart.
func rows(t testing.TB, db *sql.DB, query string, args ...any) [][]string {
	t.Helper()
	r, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer r.Close()
	columns, err := r.Columns()
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	var all [][]string
	for r.Next() {
		row := make([]any, len(columns))
		to := make([]any, len(columns))
		for i := range row {
			to[i] = &row[i]
		}
		if err := r.Scan(to...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		literals := make([]string, len(columns))
		for i, v := range row {
			switch v := v.(type) {
			case nil:
				literals[i] = "NULL"
			case string:
				literals[i] = fmt.Sprintf("%q", v)
			case []byte:
				literals[i] = fmt.Sprintf("x'%x'", v)
			default:
				literals[i] = fmt.Sprint(v)
			}
		}
		all = append(all, literals)
	}
	if err := r.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return all
}

// one is the only value that a query finds.
func one(t testing.TB, db *sql.DB, query string, args ...any) string {
	t.Helper()
	all := rows(t, db, query, args...)
	if len(all) != 1 || len(all[0]) != 1 {
		t.Fatalf("%s: got %v, want one value", query, all)
	}
	return all[0][0]
}

func wantEqual[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(message.Message{}, "ReceivedAt")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// messages returns one valid message for each ID, all of one instant.
func messages(ids ...string) []message.Message {
	m := make([]message.Message, len(ids))
	for i, id := range ids {
		m[i] = message.Message{
			Source: message.SourceNative, ID: id, From: "+1", To: "+2",
			TS: "2025-01-15T10:00:00Z", At: time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC),
		}
	}
	return m
}

func save(t *testing.T, s *Store, ids ...string) {
	t.Helper()
	if _, err := s.Save(t.Context(), messages(ids...), nil); err != nil {
		t.Fatalf("Save(%q): %v", ids, err)
	}
}

// saved is what a Save returned.
type saved struct {
	outcomes []message.Outcome
	err      error
}

// begin begins a Save; its answer can be received.
func begin(t *testing.T, s *Store, ids ...string) <-chan saved {
	c := make(chan saved, 1)
	go func() {
		outcomes, err := s.Save(t.Context(), messages(ids...), nil)
		c <- saved{outcomes, err}
	}()
	return c
}

// listedIDs are the IDs of the first messages in order.
func listedIDs(t *testing.T, s *Store) []string {
	t.Helper()
	page, err := s.List(t.Context(), message.Query{Limit: message.MaxLimit})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	var ids []string
	for _, m := range page.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// waitFor waits until the condition holds.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// gate stands before the store's writer and tells of every commit that begins;
// the commit goes on when it is told to.
type gate struct {
	*writer
	begun chan []*groupcommit.Call
	goOn  chan struct{}
}

func (g *gate) Commit(ctx context.Context, calls []*groupcommit.Call) error {
	g.begun <- calls
	<-g.goOn
	return g.writer.Commit(ctx, calls)
}

// gated puts a gate before the store's writer.
func gated(s *Store) *gate {
	g := &gate{writer: s.writer, begun: make(chan []*groupcommit.Call), goOn: make(chan struct{})}
	s.queue.Close()
	s.queue = groupcommit.New(g, groupcommit.Options{})
	return g
}

// share has all calls share one batch and returns their answers.
func share(t *testing.T, s *Store, calls ...[]string) []saved {
	t.Helper()
	g := gated(s)
	first := begin(t, s, "before the batch")
	<-g.begun
	answers := make([]<-chan saved, len(calls))
	for i, ids := range calls {
		answers[i] = begin(t, s, ids...)
		waitFor(t, "the call is in the queue", func() bool { return s.queue.Depth() == i+1 })
	}
	g.goOn <- struct{}{}
	if a := <-first; a.err != nil {
		t.Fatalf("Save before the batch: %v", a.err)
	}
	if batch := <-g.begun; len(batch) != len(calls) {
		t.Fatalf("%d calls share the batch, want %d", len(batch), len(calls))
	}
	g.goOn <- struct{}{}
	got := make([]saved, len(calls))
	for i := range got {
		got[i] = <-answers[i]
	}
	s.queue.Close()
	s.queue = groupcommit.New(s.writer, groupcommit.Options{})
	return got
}

// onWriter runs a statement on the writer's connection, while nobody writes.
// It returns the statement's one value, if it has one.
func onWriter(t *testing.T, s *Store, query string) (value any) {
	t.Helper()
	s.queue.Close()
	defer func() { s.queue = groupcommit.New(s.writer, groupcommit.Options{}) }()
	if err := s.writer.conn.QueryRowContext(t.Context(), query).Scan(&value); err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func isFailed(s *Store) bool {
	select {
	case <-s.Failed():
		return true
	default:
		return false
	}
}

// copyFile copies a file as it is at the moment.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// copyDatabase copies a database that may be in use to a folder of its own, as
// a power cut would leave it: the log first, so that what a checkpoint moves
// meanwhile is in one of the two.
func copyDatabase(t testing.TB, from string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "copy.db")
	for _, suffix := range []string{"-wal", "-journal", ""} {
		if _, err := os.Stat(from + suffix); errors.Is(err, os.ErrNotExist) && suffix != "" {
			continue
		}
		copyFile(t, from+suffix, path+suffix)
	}
	return path
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	f, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Size()
}

// logLines collects what a logger is told.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// lines are the lines so far.
func (l *logLines) lines(t testing.TB) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []map[string]any
	d := json.NewDecoder(bytes.NewReader(l.b.Bytes()))
	for {
		var line map[string]any
		if err := d.Decode(&line); err != nil {
			if errors.Is(err, io.EOF) {
				return lines
			}
			t.Fatalf("log line: %v", err)
		}
		lines = append(lines, line)
	}
}
