// Package storetest is the conformance suite that every message.Store passes
// unchanged: it tries what the interface promises on a real database. A store's
// own tests call Run and add what only their database can be asked.
package storetest

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"lyftr/internal/message"
)

// Database opens the store on one database. It may be called again after the
// store that it returned was closed, and then finds what was stored.
type Database func(ctx context.Context) (message.Store, error)

// Run tries everything. Each call of fresh makes a new, empty database, which
// may be taken away when the test ends; it is not opened yet.
func Run(t *testing.T, fresh func(t *testing.T) Database) {
	tests := []struct {
		name string
		run  func(*testing.T, *db)
	}{
		{"Save/outcomes", testOutcomes},
		{"Save/mismatch keeps the first", testMismatch},
		{"Save/repeats in one call", testRepeatsInOneCall},
		{"Save/what is another message", testOtherIdentity},
		{"Save/nothing", testSaveNothing},
		{"Save/same ID at once", testSameIDAtOnce},
		{"Save/other content at once", testOtherContentAtOnce},
		{"Save/overlapping calls at once", testOverlappingCalls},
		{"Save/context ended", testSaveContextEnded},
		{"Save/raw", testRaw},
		{"Save/raw is no content", testRawIsNoContent},
		{"Save/time of arrival is no content", testArrivalIsNoContent},
		{"Save/senders without a number", testNames},
		{"Statuses/outcomes", testStatusOutcomes},
		{"Statuses/any order", testStatusAnyOrder},
		{"Statuses/content", testStatusContent},
		{"Statuses/order", testStatusesOrder},
		{"Statuses/any characters", testStatusAnyCharacters},
		{"Statuses/at once", testStatusAtOnce},
		{"Statuses/many", testStatusMany},
		{"Statuses/context ended", testStatusContextEnded},
		{"Statuses/erased", testStatusErased},
		{"Statuses/recipient erased", testStatusRecipientErased},
		{"Statuses/many erased", testStatusEraseMany},
		{"Statuses/expired", testStatusExpire},
		{"Rejected", testRejected},
		{"Rejected/many", testRejectedMany},
		{"Rejected/at once", testRejectedAtOnce},
		{"List/empty", testListEmpty},
		{"List/order", testListOrder},
		{"List/filters", testListFilters},
		{"List/text", testListText},
		{"List/total and offset", testListOffset},
		{"List/content", testContent},
		{"List/context ended", testReadContextEnded},
		{"Cursor/pages joined", testCursorPages},
		{"Cursor/rows inserted meanwhile", testCursorWhileInserting},
		{"Cursor/end", testCursorEnd},
		{"Cursor/refused", testCursorRefused},
		{"Walk/content", testWalk},
		{"Walk/rows inserted meanwhile", testWalkMeanwhile},
		{"Walk/ended", testWalkEnds},
		{"Walk/long raw", testWalkLongRaws},
		{"Get/sources", testGetSources},
		{"Get/any characters", testGetAnyCharacters},
		{"Get/received at", testReceivedAt},
		{"Stats/empty", testStatsEmpty},
		{"Stats/top senders", testStatsTop},
		{"Stats/filters", testStatsFilters},
		{"Timeline", testTimeline},
		{"Timeline/limit", testTimelineLimit},
		{"Erase", testErase},
		{"Erase/repeats", testEraseRepeats},
		{"Erase/the newest", testEraseNewest},
		{"Erase/many", testEraseMany},
		{"Erase/while saves go on", testEraseWhileSaving},
		{"Erase/context ended", testEraseContextEnded},
		{"Expire", testExpire},
		{"Expire/repeats", testExpireRepeats},
		{"Expire/many", testExpireMany},
		{"Feed/order of storing", testFeedOrder},
		{"Feed/pages joined", testFeedPages},
		{"Feed/saves meanwhile", testFeedWhileSaving},
		{"Feed/latest", testFeedLatest},
		{"Feed/opened again", testFeedReopen},
		{"Feed/long texts", testFeedLongTexts},
		{"Feed/long raw", testFeedLongRaws},
		{"Feed/refused", testFeedRefused},
		{"Feed/erased", testFeedErased},
		{"Feed/changed", testFeedChanged},
		{"Feed/many wait for changes", testFeedFollowers},
		{"Many", testMany},
		{"Many/while they are saved", testManyWhileSaving},
		{"Status", testStatus},
		{"Reopen", testReopen},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newDB(t, fresh(t))) })
	}
	t.Run("Cursor/of another database", func(t *testing.T) {
		testForeignCursor(t, newDB(t, fresh(t)), newDB(t, fresh(t)))
	})
	t.Run("Feed/of another database", func(t *testing.T) {
		testForeignPosition(t, newDB(t, fresh(t)), newDB(t, fresh(t)))
	})
	t.Run("Random", func(t *testing.T) { testRandom(t, fresh) })
}

// db is a database under test, with its store open.
type db struct {
	message.Store
	open Database
}

func newDB(t *testing.T, open Database) *db {
	t.Helper()
	s, err := open(t.Context())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	d := &db{Store: s, open: open}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return d
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func (d *db) reopen(t failer) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	s, err := d.open(t.Context())
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	d.Store = s
}

// newMessage returns a valid message; the edits change it.
func newMessage(id, ts string, edits ...func(*message.Message)) message.Message {
	m := message.Message{Source: message.SourceNative, ID: id, From: "+100", To: "+200"}
	setTS(ts)(&m)
	for _, edit := range edits {
		edit(&m)
	}
	return m
}

func setTS(ts string) func(*message.Message) {
	return func(m *message.Message) { m.TS, m.At = ts, instant(ts) }
}

func setFrom(s string) func(*message.Message)   { return func(m *message.Message) { m.From = s } }
func setTo(s string) func(*message.Message)     { return func(m *message.Message) { m.To = s } }
func setSource(s string) func(*message.Message) { return func(m *message.Message) { m.Source = s } }
func setText(s string) func(*message.Message)   { return func(m *message.Message) { m.Text = &s } }

// noon is a timestamp where it does not matter.
const noon = "2025-01-15T12:00:00Z"

// instant parses a timestamp of the suite's own.
func instant(ts string) time.Time {
	at, err := message.ParseTimestamp(ts)
	if err != nil {
		panic("storetest: " + ts + ": " + err.Error())
	}
	return at
}

func save(t failer, s message.Store, messages ...message.Message) []message.Outcome {
	t.Helper()
	outcomes, err := s.Save(t.Context(), messages, nil)
	if err != nil {
		t.Fatalf("Save: %v", err)
	}
	return outcomes
}

func list(t failer, s message.Store, q message.Query) message.Page {
	t.Helper()
	page, err := s.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List(%+v): %v", q, err)
	}
	return page
}

// all lists every message that matches, by cursors, in pages of the limit.
func all(t failer, s message.Store, q message.Query) []message.Message {
	t.Helper()
	var joined []message.Message
	for {
		page := list(t, s, q)
		joined = append(joined, page.Messages...)
		if page.NextCursor == "" {
			return joined
		}
		if len(page.Messages) == 0 {
			t.Fatalf("List(%+v): an empty page has a next one", q)
		}
		q.Cursor = page.NextCursor
	}
}

// everything is all messages in list order.
func everything(t failer, s message.Store) []message.Message {
	t.Helper()
	return all(t, s, message.Query{Limit: message.MaxLimit})
}

func ids(messages []message.Message) []string {
	var ids []string
	for i := range messages {
		ids = append(ids, messages[i].ID)
	}
	return ids
}

// bytesAsWhole compares what a provider sent at once: byte by byte, as is done
// without it, a long one takes a second. EquateEmpty has the empty ones.
var bytesAsWhole = cmp.FilterValues(
	func(want, got []byte) bool { return len(want)+len(got) > 0 },
	cmp.Comparer(bytes.Equal),
)

// wantEqual compares all but the time of arrival, which has tests of its own.
func wantEqual[T any](t failer, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), bytesAsWhole,
		cmpopts.IgnoreFields(message.Message{}, "ReceivedAt"), cmpopts.IgnoreFields(message.Status{}, "ReceivedAt")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Outcomes, by short names.
var (
	created   = message.Outcome{}
	duplicate = message.Outcome{Duplicate: true}
	mismatch  = message.Outcome{Duplicate: true, Mismatch: true}
)

func outcomes(o ...message.Outcome) []message.Outcome { return o }
