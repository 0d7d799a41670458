package postgres

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
	"lyftr/internal/store/pgserver"
)

// patience bounds every wait: far more than anything here takes.
const patience = 60 * time.Second

// shared is the server of all tests that leave it as it is.
var shared = sync.OnceValues(func() (*pgserver.Server, error) {
	return pgserver.StartShared(pgserver.Options{Settings: map[string]string{"max_prepared_transactions": "5"}})
})

// TestMain has the conformance suite try fewer histories than usual, unless it is
// told how many: each takes a database and several openings of the store.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "40"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse()
	status := m.Run()
	if server, err := shared(); err == nil {
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

func sharedServer(t testing.TB) *pgserver.Server {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// openStore opens a store that is closed when the test ends.
func openStore(t testing.TB, url string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// with adds a parameter to a URL.
func with(databaseURL, name, value string) string {
	return databaseURL + "&" + url.PathEscape(name) + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// as is the URL for another user.
func as(t testing.TB, databaseURL, user, password string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// databaseName is the name of the database that a URL names.
func databaseName(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// connection opens a connection of its own, which is closed when the test ends.
func connection(t testing.TB, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ptr(s string) *string { return &s }

// epoch is the time of the first message of newMessage.
func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func newMessage(id string) message.Message {
	at := epoch()
	return message.Message{
		Source: message.SourceNative, ID: id, From: "+14155550100", To: "+14155550101",
		TS: at.Format(time.RFC3339), At: at, Text: ptr("text of " + id),
	}
}

func newMessages(ids ...string) (messages []message.Message) {
	for _, id := range ids {
		messages = append(messages, newMessage(id))
	}
	return messages
}

// save saves messages that must be new.
func save(t testing.TB, s *Store, ids ...string) {
	t.Helper()
	saveMessages(t, s, newMessages(ids...)...)
}

func saveMessages(t testing.TB, s *Store, messages ...message.Message) {
	t.Helper()
	outcomes, err := s.Save(t.Context(), messages, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := make([]message.Outcome, len(messages)); !slices.Equal(outcomes, want) {
		t.Fatalf("outcomes %v, want all created", outcomes)
	}
}

func newStatus(id, status string) message.Status {
	return message.Status{
		Source: "whatsapp", ID: id, Status: status, Recipient: "+14155550102", At: epoch(), Raw: []byte(`{"status":"` + status + `"}`),
	}
}

// saveStatuses saves statuses that must be new.
func saveStatuses(t testing.TB, s *Store, statuses ...message.Status) {
	t.Helper()
	outcomes, err := s.Save(t.Context(), nil, statuses)
	if err != nil {
		t.Fatal(err)
	}
	if want := make([]message.Outcome, len(statuses)); !slices.Equal(outcomes, want) {
		t.Fatalf("outcomes %v, want all created", outcomes)
	}
}

// saveWithin saves one message and gives up after a while.
func saveWithin(t testing.TB, s *Store, d time.Duration, id string) ([]message.Outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return s.Save(ctx, newMessages(id), nil)
}

func readyWithin(t testing.TB, s *Store, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return s.Ready(ctx)
}

func idsOf(messages []message.Message) []string {
	ids := []string{}
	for i := range messages {
		ids = append(ids, messages[i].ID)
	}
	return ids
}

// feedPage reads one page of the feed.
func feedPage(t testing.TB, s *Store, after string) message.FeedPage {
	t.Helper()
	p, err := s.Feed(t.Context(), after, message.MaxFeedLimit)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// feedIDs reads the feed behind a position to its end.
func feedIDs(t testing.TB, s *Store, after string) (ids []string, next string) {
	t.Helper()
	ids, next = []string{}, after
	for {
		p := feedPage(t, s, next)
		ids, next = append(ids, idsOf(p.Messages)...), p.Next
		if !p.More {
			return ids, next
		}
	}
}

func listIDs(t testing.TB, s *Store) []string {
	t.Helper()
	ids := []string{}
	err := s.Walk(t.Context(), message.Filter{}, message.Ascending, func(m message.Message) error {
		ids = append(ids, m.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func wantIDs(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func wantUnavailable(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("%s: error %v, want %v", what, err, message.ErrUnavailable)
	}
}

// receive waits until a channel is closed.
func receive(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain until %s", what)
	}
}

func await(t testing.TB, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// logLines is a log that can be looked at.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
