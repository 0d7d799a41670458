package transfer_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/store"
	"lyftr/internal/transfer"
)

// open opens a database in a file until the test ends.
func open(t *testing.T, path string, readOnly bool) message.Store {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:///"+path, store.Options{ReadOnly: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openNew(t *testing.T) message.Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "app.db"), false)
}

// numbered are messages with the ids m0, m1 and so on, in the order of a list.
func numbered(from, n int) (messages []message.Message) {
	for i := from; i < from+n; i++ {
		text := fmt.Sprint("text of ", i)
		m := message.Message{
			Source: message.SourceNative, ID: fmt.Sprintf("m%06d", i), From: "+1", To: "+2", TS: "2025-01-15T10:00:00Z", Text: &text,
			ReceivedAt: time.Date(2025, 1, 15, 10, 0, 1, i*1e6, time.UTC),
		}
		if err := m.Check(); err != nil {
			panic(err)
		}
		messages = append(messages, m)
	}
	return messages
}

func save(t *testing.T, db message.Store, messages ...message.Message) {
	t.Helper()
	if _, err := db.Save(t.Context(), messages, nil); err != nil {
		t.Fatal(err)
	}
}

// fed are all messages of a store in the order of its feed.
func fed(t *testing.T, db message.Store) (messages []message.Message) {
	t.Helper()
	for position, more := "", true; more; {
		page, err := db.Feed(t.Context(), position, message.MaxFeedLimit)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, page.Messages...)
		position, more = page.Next, page.More
	}
	return messages
}

func wantCounts(t *testing.T, c *transfer.Copier, want transfer.CopyCounts) {
	t.Helper()
	if c.Counts != want {
		t.Errorf("the counts are %+v, want %+v", c.Counts, want)
	}
}

// compare compares two stores and returns what it found, the hashes left out, and
// what differs.
func compare(t *testing.T, from, to message.Store, since string) (transfer.Comparison, []string) {
	t.Helper()
	var differences []string
	c := transfer.Comparer{From: from, To: to, Since: since, OnDifference: func(m *message.Message, members []string) {
		differences = append(differences, fmt.Sprint(m.Source, " ", m.ID, " ", members))
	}}
	result, err := c.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := result.Equal(), len(differences) == 0; got != want {
		t.Errorf("Equal is %v, and different are %q", got, differences)
	}
	if got, want := result.From.SHA256 == result.To.SHA256, len(differences) == 0; got != want {
		t.Errorf("the hashes are equal: %v, and different are %q", got, differences)
	}
	result.From.SHA256, result.To.SHA256 = [32]byte{}, [32]byte{}
	return result, differences
}

func wantComparison(t *testing.T, from, to message.Store, since string, want transfer.Comparison, wantDifferences ...string) {
	t.Helper()
	got, differences := compare(t, from, to, since)
	if got != want || !slices.Equal(differences, wantDifferences) {
		t.Errorf("compared: %+v %q, want %+v %q", got, differences, want, wantDifferences)
	}
}

// hostileMessages are what two databases could keep differently.
func hostileMessages(t *testing.T) (messages []message.Message) {
	t.Helper()
	texts := []string{
		"", " ", "null", "NULL", `\N`, `\`, `\u0000`, "'", `"`, "{}", "{a,b}", "a\nb\r\nc\td", "\x01\x1b[31m\x7f", "\ufeff", "\u202e", "\ufffd", "\uffff",
		"\u0085\u2028\u2029", "e\u0301", "é", "😀", "\U0010ffff", "ß", "SS", "İ", "ı", strings.Repeat("x", 4096), strings.Repeat("😀", 4096),
	}
	instants := []string{
		"2025-01-15T10:00:00Z", "2025-01-15T10:00:00.0Z", "2025-01-15T10:00:00.000000001Z", "2025-01-15T10:00:00.999999999Z",
		"2025-01-15T10:00:00.123456Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2024-02-29T00:00:00.5Z", "1969-12-31T23:59:59.999Z",
	}
	ids := []string{"a", "A", "a ", " a", "é", "e\u0301", "😀", "\ufffd", "a/b?c#d%00", `'";--`, strings.Repeat("😀", 255), "ä", "z", "_", "-"}
	add := func(source, id, ts string, text *string) {
		m := message.Message{Source: source, ID: id, From: "+0", To: "+999999999999999", TS: ts, Text: text}
		if len(messages)%3 > 0 {
			m.ReceivedAt = time.Date(1, 1, 1, 0, 0, 0, len(messages)*1e6, time.UTC).AddDate(len(messages)*60, 0, 0)
		} else {
			m.ReceivedAt = time.Date(2025, 1, 15, 10, 0, 0, 999e6, time.UTC)
		}
		if err := m.Check(); err != nil {
			t.Fatalf("%q %q %q: %v", source, id, ts, err)
		}
		messages = append(messages, m)
	}
	for i := range texts {
		add("native", fmt.Sprint("text ", i), instants[i%len(instants)], &texts[i])
	}
	for _, id := range ids {
		add("native", id, instants[0], nil)
		add("other", id, instants[0], &texts[0])
		add("Ω", id, instants[1], nil)
	}
	for i, ts := range instants {
		add("native", fmt.Sprint("instant ", i), ts, nil)
	}
	// What only a provider sends.
	long := strings.Repeat("😀", 3*message.MaxTextLength)
	for i, raw := range []string{
		`{}`, `{"a":1,"a":"\ud800"}`, `{ "a" : "\u0000" }`, "{\n\t\"é\u2028\": []\r\n}", strings.Repeat(`{"a":`, 1000) + `null` + strings.Repeat(`}`, 1000),
		`{"a":"` + strings.Repeat("x", 20_000) + `"}`,
	} {
		add("whatsapp", fmt.Sprint("raw ", i), instants[i], &long)
		m := &messages[len(messages)-1]
		m.From, m.To, m.Raw = "US.13491208655302741918", []string{"", "MyBrand", "32665"}[i%3], []byte(raw)
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	}
	return messages
}

// TestCopyHostile: what could be kept differently arrives as it was, in the same
// order of the feed, and back.
func TestCopyHostile(t *testing.T) {
	from, to, back := openNew(t), openNew(t), openNew(t)
	messages := hostileMessages(t)
	n := int64(len(messages))
	save(t, from, messages...)
	for _, way := range []struct{ from, to message.Store }{{from, to}, {to, back}} {
		c := &transfer.Copier{From: way.from, To: way.to}
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCounts(t, c, transfer.CopyCounts{Created: n})
		wantComparison(t, way.from, way.to, c.Position, transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n}})
		if diff := cmp.Diff(messages, fed(t, way.to)); diff != "" {
			t.Errorf("the feed is another (-want +got):\n%s", diff)
		}
	}
	wantComparison(t, from, back, "", transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n}})
}

// TestCopyGoesOn: a copy that is broken off goes on from its position, in the
// same and in another Copier; what it repeats does no harm.
func TestCopyGoesOn(t *testing.T) {
	const n = 5500
	from, to := openNew(t), openNew(t)
	save(t, from, numbered(0, n)...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	saves := 0
	c := &transfer.Copier{From: from, To: to}
	c.OnSaved = func() {
		if saves++; saves == 2 {
			stop()
		}
	}
	if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the end of the context", err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: 2000})
	if got := to.Status().Messages; got != 2000 {
		t.Errorf("%d messages are stored, want 2000", got)
	}
	position := c.Position
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: n})
	again := &transfer.Copier{From: from, To: to, Position: position}
	if err := again.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, again, transfer.CopyCounts{Duplicates: n - 2000})
	if again.Position != c.Position {
		t.Error("the ends are two positions")
	}
	if diff := cmp.Diff(fed(t, from), fed(t, to)); diff != "" {
		t.Errorf("the feeds differ (-want +got):\n%s", diff)
	}
	// At the end nothing is left to do, until something arrives.
	again.OnSaved = func() { t.Error("it saved something") }
	if err := again.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	again.OnSaved = nil
	save(t, from, numbered(n, 1)...)
	if err := again.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, again, transfer.CopyCounts{Created: 1, Duplicates: n - 2000})
}

// faulty is a store whose saves and pages fail when they are told to.
type faulty struct {
	message.Store
	save func(messages []message.Message) error
	feed func() error
}

func (f faulty) Save(ctx context.Context, messages []message.Message, statuses []message.Status) ([]message.Outcome, error) {
	if err := f.save(messages); err != nil {
		return nil, err
	}
	return f.Store.Save(ctx, messages, statuses)
}

func (f faulty) Feed(ctx context.Context, after string, limit int) (message.FeedPage, error) {
	if err := f.feed(); err != nil {
		return message.FeedPage{}, err
	}
	return f.Store.Feed(ctx, after, limit)
}

var errBroken = errors.New("broken")

// TestCopyFaults: an error of either store ends a run, nothing is counted twice,
// and the next run goes on.
func TestCopyFaults(t *testing.T) {
	const n = 3500
	from, to := openNew(t), openNew(t)
	save(t, from, numbered(0, n)...)
	unavailable := fmt.Errorf("%w: %w", message.ErrUnavailable, errBroken)
	saves, pages := 0, 0
	c := &transfer.Copier{
		From: faulty{Store: from, feed: func() error {
			if pages++; pages == 6 {
				return unavailable
			}
			return nil
		}},
		To: faulty{Store: to, save: func([]message.Message) error {
			if saves++; saves == 2 {
				return unavailable
			}
			return nil
		}},
	}
	err := c.Run(t.Context())
	if !errors.Is(err, errBroken) || errors.Is(err, transfer.ErrCopyRead) {
		t.Errorf("a save that failed: got %v", err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: 1000})
	pages = 4 // the second page of the next run fails
	if err := c.Run(t.Context()); !errors.Is(err, errBroken) || !errors.Is(err, transfer.ErrCopyRead) {
		t.Errorf("a page that failed: got %v", err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: 2000})
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: n})
}

// TestCopyMismatch: what is in the destination with other content stays, and is
// told.
func TestCopyMismatch(t *testing.T) {
	from, to := openNew(t), openNew(t)
	messages := numbered(0, 5)
	save(t, from, messages...)
	other := slices.Clone(messages[1:4])
	text := "other"
	other[0].Text = &text
	other[1].ReceivedAt = other[1].ReceivedAt.Add(time.Millisecond) // is no mismatch, and different
	other[2].TS = "2025-01-15T10:00:00.0Z"
	save(t, to, other...)
	save(t, to, numbered(100, 3)...)
	var told []string
	c := &transfer.Copier{From: from, To: to, OnFault: func(m *message.Message, refused error) {
		told = append(told, fmt.Sprint(m.ID, " ", refused))
	}}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: 2, Duplicates: 3, Mismatches: 2})
	if want := []string{"m000001 <nil>", "m000003 <nil>"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
	wantComparison(t, from, to, "", transfer.Comparison{From: transfer.Sum{Count: 5}, To: transfer.Sum{Count: 5}, Different: 3, More: 3},
		"native m000001 [text]", "native m000002 [received_at]", "native m000003 [ts]")
}

// TestCopyRefused: messages that break a rule, as an adopted file may hold, are
// copied if the destination takes them; else each of them is told, and all others
// are copied.
func TestCopyRefused(t *testing.T) {
	const n = 1500
	path := filepath.Join(t.TempDir(), "app.db")
	from := open(t, path, false)
	save(t, from, numbered(0, n)...)
	change(t, path, `UPDATE messages SET text = char(120, 0, 121) WHERE message_id IN ('m000003', 'm000500', 'm001499')`)
	change(t, path, `UPDATE messages SET ts = 'yesterday', created_at = 'long ago' WHERE message_id = 'm000004'`)
	same := openNew(t)
	c := &transfer.Copier{From: from, To: same}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: n})
	wantComparison(t, from, same, "", transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n}, Undated: 1})

	refusing := openNew(t)
	var told []string
	c = &transfer.Copier{
		From: from,
		To: faulty{Store: refusing, save: func(messages []message.Message) error {
			for _, m := range messages {
				if m.Text != nil && strings.Contains(*m.Text, "\x00") {
					return errBroken
				}
			}
			return nil
		}},
		OnFault: func(m *message.Message, refused error) { told = append(told, fmt.Sprint(m.ID, " ", refused)) },
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: n - 3, Refused: 3})
	if want := []string{"m000003 broken", "m000500 broken", "m001499 broken"}; !slices.Equal(told, want) {
		t.Errorf("told of %q, want %q", told, want)
	}
	wantComparison(t, from, refusing, "", transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n - 3}, Missing: 3, Undated: 1},
		"native m000003 []", "native m000500 []", "native m001499 []")

	// A destination that refuses what breaks no rule is broken itself.
	tries := 0
	c = &transfer.Copier{From: from, To: faulty{Store: openNew(t), save: func([]message.Message) error { tries++; return errBroken }}}
	if err := c.Run(t.Context()); !errors.Is(err, errBroken) || tries > 15 {
		t.Errorf("got %v after %d saves", err, tries)
	}
	wantCounts(t, c, transfer.CopyCounts{})
}

// change changes a database by the hand of another program.
func change(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(20000)") // the store writes its index
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// TestCompareMembers: every member counts.
func TestCompareMembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	from, to := openNew(t), open(t, path, false)
	messages := numbered(0, 10)
	save(t, from, messages...)
	save(t, to, messages...)
	first := messages[0]
	for _, tt := range []struct{ set, want string }{
		{"from_msisdn = '+2'", "[from]"},
		{"to_msisdn = '+3'", "[to]"},
		{"ts = '2025-01-15T10:00:00.0Z'", "[ts]"},
		{"text = NULL", "[text]"},
		{"text = ''", "[text]"},
		{"text = 'Text of 0'", "[text]"},
		{"created_at = '2025-01-15T10:00:01.001Z'", "[received_at]"},
		{"created_at = ''", "[received_at]"},
	} {
		change(t, path, "UPDATE messages SET "+tt.set+" WHERE message_id = 'm000000'")
		wantComparison(t, from, to, "", transfer.Comparison{From: transfer.Sum{Count: 10}, To: transfer.Sum{Count: 10}, Different: 1}, "native m000000 "+tt.want)
		change(t, path, fmt.Sprintf("UPDATE messages SET from_msisdn = '+1', to_msisdn = '+2', ts = '%s', text = '%s', created_at = '2025-01-15T10:00:01.000Z' WHERE message_id = 'm000000'",
			first.TS, *first.Text))
		wantComparison(t, from, to, "", transfer.Comparison{From: transfer.Sum{Count: 10}, To: transfer.Sum{Count: 10}})
	}
	for _, set := range []string{"message_id = 'm00000'", "source = 'other'", "ts_unix = 1", "ts_nanos = 1"} {
		change(t, path, "UPDATE messages SET "+set+" WHERE message_id = 'm000000'")
		wantComparison(t, from, to, "", transfer.Comparison{From: transfer.Sum{Count: 10}, To: transfer.Sum{Count: 9}, Missing: 1, More: 1}, "native m000000 []")
		change(t, path, "UPDATE messages SET message_id = 'm000000', source = 'native', ts_unix = 1736935200, ts_nanos = 0 WHERE text = 'text of 0'")
		wantComparison(t, from, to, "", transfer.Comparison{From: transfer.Sum{Count: 10}, To: transfer.Sum{Count: 10}})
	}
}

// TestCompareMeanwhile: what arrives at the source after the copy is not missing
// in the destination, and what is there is compared.
func TestCompareMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	writer := open(t, path, false)
	save(t, writer, numbered(0, 100)...)
	from, to := open(t, path, true), openNew(t)
	c := &transfer.Copier{From: from, To: to}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	later := numbered(100, 3000)
	save(t, writer, later[:2000]...)
	save(t, to, later[1]) // received by both
	save(t, to, numbered(5000, 4)...)
	comparer := transfer.Comparer{From: from, To: to, Since: c.Position}
	comparer.OnMessage = func(done int64) {
		if done == 101 { // all that it was given before: more arrives while it compares
			save(t, writer, later[2000:]...)
		}
	}
	got, err := comparer.Compare(t.Context())
	if err != nil || !got.Equal() {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got.From.Count != 101 || got.More != 4 || got.Arrived != 2999 {
		t.Errorf("got %+v", got)
	}
	// Without a position all of that is missing.
	if got, _ := compare(t, from, to, ""); got.Missing != 2999 || got.Arrived != 0 {
		t.Errorf("behind the end: %+v", got)
	}
}

// disordered is a store that lists in another order.
type disordered struct{ message.Store }

func (d disordered) Walk(ctx context.Context, f message.Filter, _ message.Order, yield func(message.Message) error) error {
	return d.Store.Walk(ctx, f, message.Descending, yield)
}

type broken struct{ message.Store }

func (broken) Walk(context.Context, message.Filter, message.Order, func(message.Message) error) error {
	return errBroken
}

// TestCompareFails: what cannot be compared is an error, not a difference.
func TestCompareFails(t *testing.T) {
	a, b := openNew(t), openNew(t)
	save(t, a, numbered(0, 1000)...)
	save(t, b, numbered(0, 1000)...)
	for name, stores := range map[string][2]message.Store{
		"the source lists its messages out of order":      {disordered{a}, b},
		"the destination lists its messages out of order": {a, disordered{b}},
		"read the source: broken":                         {broken{a}, b},
		"read the destination: broken":                    {a, broken{b}},
	} {
		c := transfer.Comparer{From: stores[0], To: stores[1]}
		if _, err := c.Compare(t.Context()); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	c := transfer.Comparer{From: a, To: b, OnMessage: func(done int64) {
		if done == 100 {
			stop()
		}
	}}
	if _, err := c.Compare(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}
