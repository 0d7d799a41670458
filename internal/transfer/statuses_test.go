package transfer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

// reports are n statuses, in the order of a walk, of two sources.
func reports(n int) (statuses []message.Status) {
	for i := range n {
		s := message.Status{
			Source: "whatsapp", ID: fmt.Sprintf("wamid.%06d", i/3), Status: []string{"delivered", "read", "sent"}[i%3], Recipient: "US.13491208655302741918",
			At: time.Date(2025, 1, 15, 10, 0, 0, i*1e6, time.UTC), ReceivedAt: time.Date(2025, 1, 15, 10, 0, 1, i*1e6, time.UTC),
		}
		if i%3 > 0 {
			s.Raw = fmt.Appendf(nil, `{"id":%d,"id":"\ud800"}`, i)
		}
		if i%3 == 2 {
			s.Source, s.Recipient = "x", ""
		}
		statuses = append(statuses, s)
	}
	return statuses
}

// hostileStatuses are what two databases could keep, or sort, differently.
func hostileStatuses() (statuses []message.Status) {
	for i, id := range []string{"a", "A", "ä", "Z", "a ", " a", "é", "e\u0301", "😀", "\ufffd", "_", "-", `'";--`} {
		for _, source := range []string{"a", "B", "Ω"} {
			for _, status := range []string{"read", "Read", "ß", "-"} {
				s := message.Status{
					Source: source, ID: id, Status: status, Recipient: []string{"", "+1", "US.1"}[len(statuses)%3],
					At: time.Date(1+i*700, 1, 1, 0, 0, 0, i*1e6, time.UTC), ReceivedAt: time.Date(2025-i, 2, 28, 23, 59, 59, 999e6, time.UTC),
				}
				if len(statuses)%2 == 0 {
					s.Raw = []byte(`{ "a":"\u0000", "a":"\ud800é😀"}`)
				}
				statuses = append(statuses, s)
			}
		}
	}
	return statuses
}

func saveStatuses(t *testing.T, db message.Store, statuses ...message.Status) {
	t.Helper()
	if _, err := db.Save(t.Context(), nil, statuses); err != nil {
		t.Fatal(err)
	}
}

// walked are all statuses of a store.
func walked(t *testing.T, db message.Store) (statuses []message.Status) {
	t.Helper()
	if err := db.WalkStatuses(t.Context(), func(s message.Status) error { statuses = append(statuses, s); return nil }); err != nil {
		t.Fatal(err)
	}
	return statuses
}

// wantStatuses compares the statuses of two stores as a Comparer with no more
// than its stores does.
func wantStatuses(t *testing.T, from, to message.Store, want transfer.Comparison, wantDifferences ...string) {
	t.Helper()
	var differences []string
	c := transfer.Comparer{From: from, To: to, OnStatusDifference: func(s *message.Status, members []string) {
		differences = append(differences, fmt.Sprint(s.Source, " ", s.ID, " ", s.Status, " ", members))
	}}
	got, err := c.CompareStatuses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if equal := len(wantDifferences) == 0; got.Equal() != equal || (got.From.SHA256 == got.To.SHA256) != equal {
		t.Errorf("Equal is %v, and the hashes are %x and %x", got.Equal(), got.From.SHA256, got.To.SHA256)
	}
	got.From.SHA256, got.To.SHA256 = [32]byte{}, [32]byte{}
	if got != want || !slices.Equal(differences, wantDifferences) {
		t.Errorf("compared: %+v %q, want %+v %q", got, differences, want, wantDifferences)
	}
}

func equalSums(n int64) transfer.Comparison {
	return transfer.Comparison{From: transfer.Sum{Count: n}, To: transfer.Sum{Count: n}}
}

// TestCopyStatuses: all that is known of a status is copied, behind the messages;
// copied again, it is a duplicate.
func TestCopyStatuses(t *testing.T) {
	const n = 2500
	from, to := openNew(t), openNew(t)
	statuses := reports(n)
	save(t, from, numbered(0, 3)...)
	saveStatuses(t, from, statuses...)
	saveStatuses(t, to, statuses[5:10]...)
	calls := 0
	c := &transfer.Copier{From: from, To: to}
	c.OnSaved = func() { calls++ }
	begun := time.Now()
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: 3})
	if want := (transfer.StatusCounts{Created: n - 5, Duplicates: 5}); c.Statuses != want || c.Statuses.All() != n || calls != 4 {
		t.Errorf("the statuses are %+v after %d saves, want %+v", c.Statuses, calls, want)
	}
	if c.StatusesSince.Before(begun) || c.StatusesSince.After(time.Now()) {
		t.Errorf("it began at %s, not at %s", c.StatusesSince, begun)
	}
	if diff := cmp.Diff(walked(t, from), walked(t, to)); diff != "" {
		t.Errorf("the statuses are others (-want +got):\n%s", diff)
	}
	wantStatuses(t, from, to, equalSums(n))
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (transfer.StatusCounts{Duplicates: n}); c.Statuses != want {
		t.Errorf("again: %+v, want %+v", c.Statuses, want)
	}
}

// reporter is a store whose saves and walks of statuses are watched, and fail
// when they are told to.
type reporter struct {
	message.Store
	save func(statuses []message.Status) error
	walk func(s *message.Status) error
}

func (r reporter) Save(ctx context.Context, messages []message.Message, statuses []message.Status) ([]message.Outcome, error) {
	if r.save != nil && len(statuses) > 0 {
		if err := r.save(statuses); err != nil {
			return nil, err
		}
	}
	return r.Store.Save(ctx, messages, statuses)
}

func (r reporter) WalkStatuses(ctx context.Context, yield func(message.Status) error) error {
	return r.Store.WalkStatuses(ctx, func(s message.Status) error {
		if r.walk != nil {
			if err := r.walk(&s); err != nil {
				return err
			}
		}
		return yield(s)
	})
}

// TestCopyStatusesFaults: an error of either store, or the end of the context,
// ends a run; the next one copies all statuses.
func TestCopyStatusesFaults(t *testing.T) {
	const n = 2500
	from, to := openNew(t), openNew(t)
	saveStatuses(t, from, reports(n)...)
	ctx, stop := context.WithCancel(t.Context())
	walks, saves := 0, 0
	c := &transfer.Copier{
		From: reporter{Store: from, walk: func(*message.Status) error {
			if walks++; walks == 1500 {
				return errBroken
			}
			return nil
		}},
		To: reporter{Store: to, save: func([]message.Status) error {
			switch saves++; saves {
			case 3:
				return errBroken
			case 4:
				stop()
			}
			return nil
		}},
	}
	for _, want := range []struct {
		err    error
		read   bool
		counts transfer.StatusCounts
	}{
		{errBroken, true, transfer.StatusCounts{Created: 1000}},
		{errBroken, false, transfer.StatusCounts{Duplicates: 1000}},
		{context.Canceled, false, transfer.StatusCounts{Duplicates: 1000}},
		{nil, false, transfer.StatusCounts{Created: n - 1000, Duplicates: 1000}},
	} {
		err := c.Run(ctx)
		if !errors.Is(err, want.err) || errors.Is(err, transfer.ErrCopyRead) != want.read || c.Statuses != want.counts {
			t.Errorf("got %v and %+v, want %+v", err, c.Statuses, want)
		}
		if ctx.Err() != nil {
			ctx = t.Context()
		}
	}
	wantStatuses(t, from, to, equalSums(n))
}

// TestCopyBounded: what is saved at one time is bounded by its bytes, raw too.
func TestCopyBounded(t *testing.T) {
	const n, size, bound = 24, 400_000, 2 << 20
	raw := []byte(`{"a":"` + strings.Repeat("x", size) + `"}`)
	from, to := openNew(t), openNew(t)
	messages, statuses := numbered(0, n), reports(n)
	for i := range n {
		messages[i].Source, messages[i].Raw, statuses[i].Raw = "whatsapp", raw, raw
		save(t, from, messages[i])
		saveStatuses(t, from, statuses[i])
	}
	c := &transfer.Copier{From: from, To: reporter{
		Store: faulty{Store: to, save: func(m []message.Message) error {
			if len(m)*size > bound {
				t.Errorf("%d messages at one time", len(m))
			}
			return nil
		}},
		save: func(s []message.Status) error {
			if len(s)*size > bound {
				t.Errorf("%d statuses at one time", len(s))
			}
			return nil
		},
	}}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c, transfer.CopyCounts{Created: n})
	wantComparison(t, from, to, "", equalSums(n))
	wantStatuses(t, from, to, equalSums(n))
}

// TestCompareRaw: raw counts, and none is another than an empty object.
func TestCompareRaw(t *testing.T) {
	messages := numbered(0, 3)
	for i := range messages {
		messages[i].Source, messages[i].Raw = "whatsapp", []byte(`{"a":1}`)
	}
	from := openNew(t)
	save(t, from, messages...)
	for _, raw := range []string{"", `{}`, `{"a": 1}`} {
		to := openNew(t)
		others := slices.Clone(messages)
		if others[1].Raw = []byte(raw); raw == "" {
			others[1].Raw = nil
		}
		save(t, to, others...)
		want := equalSums(3)
		want.Different = 1
		wantComparison(t, from, to, "", want, "whatsapp m000001 [raw]")
	}
}

// TestCompareStatuses: every member of a status counts.
func TestCompareStatuses(t *testing.T) {
	statuses := reports(10)
	from := openNew(t)
	saveStatuses(t, from, statuses...)
	other := func(change func(*message.Status)) message.Store {
		to := openNew(t)
		others := slices.Clone(statuses)
		change(&others[4])
		saveStatuses(t, to, others...)
		return to
	}
	for _, tt := range []struct {
		change func(*message.Status)
		want   string
	}{
		{func(s *message.Status) { s.Recipient = "" }, "[recipient]"},
		{func(s *message.Status) { s.At = s.At.Add(time.Millisecond) }, "[at]"},
		{func(s *message.Status) { s.ReceivedAt = s.ReceivedAt.Add(-time.Millisecond) }, "[received_at]"},
		{func(s *message.Status) { s.Raw = nil }, "[raw]"},
		{func(s *message.Status) { s.Raw, s.Recipient = []byte(`{}`), "+1" }, "[recipient raw]"},
	} {
		want := equalSums(10)
		want.Different = 1
		wantStatuses(t, from, other(tt.change), want, "whatsapp wamid.000001 read "+tt.want)
	}
	for _, change := range []func(*message.Status){
		func(s *message.Status) { s.Source = "a" },
		func(s *message.Status) { s.ID = "x" },
		func(s *message.Status) { s.Status = "Read" },
	} {
		want := transfer.Comparison{From: transfer.Sum{Count: 10}, To: transfer.Sum{Count: 9}, Missing: 1, More: 1}
		wantStatuses(t, from, other(change), want, "whatsapp wamid.000001 read []")
	}
}

// TestCompareStatusesMeanwhile: what was reported to the source since the copy
// began to read is not missing; what was reported before is.
func TestCompareStatusesMeanwhile(t *testing.T) {
	from, to := openNew(t), openNew(t)
	statuses := reports(100)
	saveStatuses(t, from, statuses[:50]...)
	c := &transfer.Copier{From: from, To: to}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range statuses[50:60] {
		statuses[50+i].ReceivedAt = time.Time{} // now
	}
	saveStatuses(t, from, statuses[50:61]...)
	comparer := transfer.Comparer{From: from, To: to, StatusesSince: c.StatusesSince}
	told := int64(0)
	comparer.OnStatus = func(done int64) { told = done }
	got, err := comparer.CompareStatuses(t.Context())
	if err != nil || got.From.Count != 51 || got.To.Count != 50 || got.Arrived != 10 || got.Missing != 1 || got.Equal() || told != 51 {
		t.Errorf("got %+v, %v, told of %d", got, err, told)
	}
	// One that was accepted before, and is stored only now, waited too long.
	comparer.StatusesSince = time.Now().Add(time.Hour)
	if got, err := comparer.CompareStatuses(t.Context()); err != nil || got.Arrived != 0 || got.Missing != 11 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestCompareStatusesFails: what cannot be compared is an error.
func TestCompareStatusesFails(t *testing.T) {
	a, b := openNew(t), openNew(t)
	saveStatuses(t, a, reports(10)...)
	saveStatuses(t, b, reports(10)...)
	fails := func(*message.Status) error { return errBroken }
	disorders := func(s *message.Status) error {
		s.Status = "z" // twice of one message
		return nil
	}
	for name, stores := range map[string][2]message.Store{
		"the source lists its statuses out of order":      {reporter{Store: a, walk: disorders}, b},
		"the destination lists its statuses out of order": {a, reporter{Store: b, walk: disorders}},
		"read the source: broken":                         {reporter{Store: a, walk: fails}, b},
		"read the destination: broken":                    {a, reporter{Store: b, walk: fails}},
	} {
		c := transfer.Comparer{From: stores[0], To: stores[1]}
		if _, err := c.CompareStatuses(t.Context()); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}
