package storetest

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lyftr/internal/message"
)

// testRandom holds the store against the model under random commands. The
// values come from small pools, so that repeats, mismatches and ties are
// frequent. Every check has a database of its own.
func testRandom(t *testing.T, fresh func(*testing.T) Database) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &random{db: &db{open: fresh(t)}}
		s, err := r.open(t.Context())
		if err != nil {
			rt.Fatalf("open: %v", err)
		}
		r.Store = s
		// Not rt.Cleanup: a failed check has to close its store too, before
		// the next one is tried.
		defer func() {
			if err := r.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"":         r.check,
			"save":     r.save,
			"save 2":   r.save, // more of it than of the others
			"save 3":   r.save,
			"list":     r.list,
			"walk":     r.walk,
			"feed":     r.feed,
			"walk all": r.walkAll,
			"get":      r.get,
			"statuses": r.statuses,
			"stats":    r.stats,
			"timeline": r.timeline,
			"erase":    r.erase,
			"expire":   r.expire,
			"reopen":   r.reopenAndCompare,
		})
	})
}

// random is a store and what it should hold.
type random struct {
	*db
	model model
}

// The pools.
var (
	someIDs = rapid.SampledFrom([]string{"a", "B", "é", "a/b", "%", "😀", "1", "01", `'"\`, "c", "d", "e", "f", "g"})
	// Ahead of native, and behind it.
	someSources = rapid.SampledFrom([]string{message.SourceNative, message.SourceNative, "Twilio", "whatsapp"})
	somePhones  = rapid.SampledFrom([]string{"+1", "+01", "+12", "+2"})
	manyPhones  = rapid.SampledFrom([]string{"+1", "+2", "+3", "+4", "+5", "+6", "+7", "+8", "+9", "+10", "+11", "+12"})
	someTimes   = rapid.SampledFrom([]string{
		"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000001Z",
		"1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z",
		"2025-01-15T09:59:59.999999999Z", "2025-01-15T10:00:00Z", "2025-01-15T10:00:00.0Z", "2025-01-15T10:00:00.5Z", "2025-01-15T10:00:00.50Z",
		"2025-01-15T10:01:00Z", "2025-01-15T12:00:00Z", "2025-01-18T00:00:00Z",
		"9999-12-31T23:59:59.999999999Z",
	})
	someTexts   = rapid.SampledFrom([]string{"", "Hello", "hello world", "100% É_\\", "ÉCOLE", "e\u0301cole", "ΣΑΣ", "\U0010ffff"})
	someNeedles = rapid.SampledFrom([]string{"hello", "É", "é", "%", "_", `\`, "σας", "o", "\U0010ffff", "nothing"})
	someOrders  = rapid.SampledFrom([]message.Order{"", message.Ascending, message.Descending})
	someBuckets = rapid.SampledFrom([]message.Bucket{message.Minute, message.Hour, message.Day})
)

var someMessages = rapid.Custom(func(t *rapid.T) message.Message {
	m := newMessage(someIDs.Draw(t, "id"), someTimes.Draw(t, "ts"),
		setSource(someSources.Draw(t, "source")), setFrom(manyPhones.Draw(t, "from")), setTo(somePhones.Draw(t, "to")))
	if ts := sometimes(t, someTimes, "received"); ts != "" {
		m.ReceivedAt = instant(ts).Truncate(time.Millisecond)
	}
	if rapid.Bool().Draw(t, "has text") {
		setText(someTexts.Draw(t, "text"))(&m)
	}
	return m
})

var someStatuses = rapid.Custom(func(t *rapid.T) message.Status {
	s := message.Status{
		Source: someSources.Draw(t, "source"), ID: someIDs.Draw(t, "id"), Status: rapid.SampledFrom([]string{"sent", "read", "failed"}).Draw(t, "status"),
		Recipient: sometimes(t, manyPhones, "recipient"), At: instant(someTimes.Draw(t, "at")).Truncate(time.Millisecond),
	}
	if ts := sometimes(t, someTimes, "received"); ts != "" {
		s.ReceivedAt = instant(ts).Truncate(time.Millisecond)
	}
	return s
})

// sometimes draws one time in three, else it returns the zero value.
func sometimes[T any](t *rapid.T, g *rapid.Generator[T], label string) (v T) {
	if rapid.IntRange(0, 2).Draw(t, label+"?") == 2 {
		v = g.Draw(t, label)
	}
	return v
}

var someFilters = rapid.Custom(func(t *rapid.T) message.Filter {
	f := message.Filter{
		From:   sometimes(t, manyPhones, "from"),
		To:     sometimes(t, somePhones, "to"),
		Text:   sometimes(t, someNeedles, "text"),
		Source: sometimes(t, someSources, "source"),
	}
	if ts := sometimes(t, someTimes, "since"); ts != "" {
		f.Since = instant(ts)
	}
	if ts := sometimes(t, someTimes, "until"); ts != "" {
		f.Until = instant(ts).In(time.FixedZone("", -3600))
	}
	return f
})

func (r *random) check(t *rapid.T) {
	wantEqual(t, "Status().Messages", int64(len(r.model.rows)), r.Status().Messages)
}

func (r *random) save(t *rapid.T) {
	messages := rapid.SliceOfN(someMessages, 1, 5).Draw(t, "messages")
	if known := len(r.model.rows); known > 0 && rapid.Bool().Draw(t, "repeat") {
		// As it is stored, so that it is no mismatch.
		messages = append(messages, r.model.rows[rapid.IntRange(0, known-1).Draw(t, "which")])
	}
	r.model.saveAllBoth(t, r.db, messages, sometimes(t, rapid.SliceOfN(someStatuses, 1, 3), "statuses"))
}

func (r *random) statuses(t *rapid.T) {
	source, id := sometimes(t, someSources, "source"), someIDs.Draw(t, "id")
	wantEqual(t, "Statuses", r.model.statusesOf(source, id), statuses(t, r, source, id))
	if rapid.Bool().Draw(t, "all") {
		wantEqual(t, "WalkStatuses", r.model.allStatuses(), walkedStatuses(t, r))
	}
}

// list compares one page by offset.
func (r *random) feed(t *rapid.T) {
	got, _ := follow(t, r.Store, rapid.SampledFrom([]int{1, 2, 3, 7, message.MaxFeedLimit}).Draw(t, "limit"))
	wantEqual(t, "the feed", r.model.rows, got)
}

func (r *random) list(t *rapid.T) {
	q := message.Query{
		Filter: someFilters.Draw(t, "filter"), Order: someOrders.Draw(t, "order"),
		Limit: rapid.SampledFrom([]int{1, 2, 3, 7, message.MaxLimit}).Draw(t, "limit"), NoTotal: rapid.Bool().Draw(t, "no total"),
	}
	whole := r.model.matching(q.Filter, q.Order)
	q.Offset = rapid.OneOf(rapid.Int64Range(0, int64(len(whole))+1), rapid.Just(int64(math.MaxInt64))).Draw(t, "offset")
	got := list(t, r, q)
	start := min(q.Offset, int64(len(whole)))
	end := min(start+int64(q.Limit), int64(len(whole)))
	wantEqual(t, "messages", whole[start:end], got.Messages)
	wantEqual(t, "total", totalOf(q, whole), got.Total)
	wantEqual(t, "whether there is a next page", end < int64(len(whole)), got.NextCursor != "")
}

// totalOf is the total of a page, of all messages that match.
func totalOf(q message.Query, all []message.Message) int64 {
	if q.NoTotal {
		return -1
	}
	return int64(len(all))
}

// walk follows the cursors from a random offset, and may store, or open the
// database again, on the way. What was there at the start comes once and in
// order, and what was stored meanwhile at most once.
func (r *random) walk(t *rapid.T) {
	q := message.Query{
		Filter: someFilters.Draw(t, "filter"), Order: someOrders.Draw(t, "order"), Limit: rapid.IntRange(1, 4).Draw(t, "limit"),
	}
	want := r.model.matching(q.Filter, q.Order)
	q.Offset = rapid.Int64Range(0, int64(len(want))).Draw(t, "offset")
	want = want[q.Offset:]
	type identity struct{ source, id string }
	wanted, seen := map[identity]bool{}, map[identity]bool{}
	for _, m := range want {
		wanted[identity{m.Source, m.ID}] = true
	}
	var got []message.Message
	for {
		page := list(t, r, q)
		for _, m := range page.Messages {
			i := identity{m.Source, m.ID}
			if seen[i] {
				t.Fatalf("message %v is on two pages", i)
			}
			seen[i] = true
			if wanted[i] {
				got = append(got, m)
			}
		}
		wantEqual(t, "total on the way", int64(len(r.model.matching(q.Filter, q.Order))), page.Total)
		if page.NextCursor == "" {
			break
		}
		q.Cursor = page.NextCursor
		switch rapid.IntRange(0, 59).Draw(t, "on the way") {
		case 0:
			r.reopen(t)
		case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12:
			r.save(t)
		}
	}
	wantEqual(t, "messages of all pages that were there at the start", want, got)
}

func (r *random) get(t *rapid.T) {
	source, id := sometimes(t, someSources, "source"), someIDs.Draw(t, "id")
	got, err := r.Get(t.Context(), source, id)
	want := r.model.get(source, id)
	switch {
	case want == nil && !errors.Is(err, message.ErrNotFound):
		t.Fatalf("Get(%q, %q): got %+v, error %v, want ErrNotFound", source, id, got, err)
	case want == nil:
	case err != nil:
		t.Fatalf("Get(%q, %q): %v", source, id, err)
	default:
		wantEqual(t, "Get", *want, got)
	}
}

func (r *random) stats(t *rapid.T) {
	f := someFilters.Draw(t, "filter")
	wantEqual(t, "Stats", r.model.stats(f), stats(t, r, f))
}

func (r *random) timeline(t *rapid.T) {
	f, b := someFilters.Draw(t, "filter"), someBuckets.Draw(t, "bucket")
	want, ok := r.model.timeline(f, b)
	got, err := r.Timeline(t.Context(), f, b)
	switch {
	case !ok && !errors.Is(err, message.ErrTooManyBuckets):
		t.Fatalf("Timeline: got %d buckets, error %v, want ErrTooManyBuckets", len(got), err)
	case ok && err != nil:
		t.Fatalf("Timeline: %v", err)
	default:
		wantEqual(t, "Timeline", want, got)
	}
}

// erase and expire leave most of what there is: what is removed does not come
// back.
func (r *random) erase(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "erase") != 0 {
		return
	}
	from := manyPhones.Draw(t, "from")
	wantEqual(t, "erased", r.model.erase(from), erase(t, r, from))
}

func (r *random) expire(t *rapid.T) {
	if rapid.IntRange(0, 5).Draw(t, "expire") != 0 {
		return
	}
	before := instant(someTimes.Draw(t, "before"))
	wantEqual(t, "expired", r.model.expire(before), expire(t, r, before))
}

func (r *random) reopenAndCompare(t *rapid.T) {
	if rapid.IntRange(0, 5).Draw(t, "reopen") != 0 {
		return // it takes as long as ten of the others
	}
	r.reopen(t)
	wantEqual(t, "all messages", r.model.matching(message.Filter{}, message.Ascending), everything(t, r))
}
