package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lyftr/internal/message"
)

// Many is thousands of messages that meet each other in everything a question
// can be about, and what a store that holds them has to answer: a store may
// keep few and many of them in different ways, and every answer is the same.
type Many struct {
	model  model
	random *rand.Rand
	made   int
	clock  time.Time // of the next message, roughly
	run    int       // how many more are of one instant
	known  map[identity]bool
}

// NewMany begins without a message. The same seed gives the same messages.
func NewMany(seed uint64) *Many {
	return &Many{
		random: rand.New(rand.NewPCG(seed, 0)), clock: instant("2025-01-15T09:59:00Z"), known: map[identity]bool{},
	}
}

// Save makes so many more messages and saves them.
func (m *Many) Save(t testing.TB, s message.Store, n int) {
	t.Helper()
	const atOnce = 500
	for n > 0 {
		var messages []message.Message
		var want []message.Outcome
		for range min(n, atOnce) {
			messages, want = append(messages, m.next()), append(want, created)
		}
		n -= len(messages)
		wantEqual(t, "outcomes", want, save(t, s, messages...))
		for i := range messages {
			if messages[i].ReceivedAt.IsZero() {
				messages[i].ReceivedAt = time.Now()
			}
		}
		m.model.rows, m.model.ordered = append(m.model.rows, messages...), nil
	}
}

// Repeat saves some of the messages again, also of those that were removed.
func (m *Many) Repeat(t testing.TB, s message.Store) {
	t.Helper()
	var messages []message.Message
	for _, i := range m.random.Perm(len(m.model.rows))[:min(20, len(m.model.rows))] {
		messages = append(messages, m.model.rows[i])
	}
	for i := range m.model.removed {
		if messages = append(messages, newMessage(i.id, noon, setSource(i.source))); len(messages) == 40 {
			break
		}
	}
	for i, o := range save(t, s, messages...) {
		wantEqual(t, fmt.Sprintf("outcome of the repeat of %+v", messages[i]), duplicate, o)
	}
}

// EraseSome erases so many senders, of whom the first is one with many messages.
func (m *Many) EraseSome(t testing.TB, s message.Store, senders int) {
	t.Helper()
	from := heavySenders[m.random.IntN(len(heavySenders))]
	for range senders {
		n, err := s.Erase(t.Context(), from)
		if err != nil {
			t.Fatalf("Erase: %v", err)
		}
		wantEqual(t, "erased of "+from, m.model.erase(from), n)
		from = m.model.rows[m.random.IntN(len(m.model.rows))].From
	}
}

// ExpireSome removes about that share of the messages, by their age.
func (m *Many) ExpireSome(t testing.TB, s message.Store, share float64) {
	t.Helper()
	m.model.order()
	before := m.model.ordered[int(share*float64(len(m.model.ordered)))].At.Add(1)
	n, err := s.Expire(t.Context(), before)
	if err != nil {
		t.Fatalf("Expire: %v", err)
	}
	wantEqual(t, "expired", m.model.expire(before), n)
}

// Remove takes away from what is expected the messages for which gone is true.
func (m *Many) Remove(gone func(message.Message) bool) { m.model.remove(gone) }

// Clone returns the messages as they are now; what happens to one of the two
// happens to it alone.
func (m *Many) Clone() *Many {
	c := NewMany(uint64(m.made))
	c.model = model{rows: slices.Clone(m.model.rows), removed: maps.Clone(m.model.removed)}
	c.made, c.clock, c.run, c.known = m.made, m.clock, m.run, maps.Clone(m.known)
	return c
}

// Len is how many messages the store has to hold.
func (m *Many) Len() int { return len(m.model.rows) }

var (
	heavySenders = []string{"+1", "+12", "+919876543210", "+2", "+01"}
	outliers     = []string{
		"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000001Z", "1969-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z",
		"1969-12-31T23:00:00Z", "2025-01-14T23:59:59.5Z", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59Z",
	}
	// Of providers that know somebody by another name, or by none.
	otherNames = []string{"US.13491208655302741918", "MyBrand", "mybrand", "IN.1", "", "Café 😀"}
	fractions  = []string{"", "", "", ".0", ".5", ".50", ".000000001", ".999999999", ".123"}
	// Words of many scripts, of which some are parts of others.
	words = []string{
		"hello", "hell", "he", "shell", "o", "Hello", "world", "wor", "ÉCOLE", "école", "e\u0301cole", "straße", "ΣΑΣ", "σας", "K", "\u212a", "İi",
		"नमस्ते", "नम", "سلام", "привет", "ПРИ", "日本語", "日本", "本語", "語日", "ไทย", "ภาษาไทย", "カタカナ", "ｶﾅ", "한국어", "한국",
		"😀", "👍🏽", "👨\u200d👩\u200d👧", "12345", "45", "1", "abcxbcd", "hellos", "lohel", "100%", "_", `\`, "a_b", "don't", "x@y.example", "\U0010ffff",
		strings.Repeat("abcdefgh", 5), strings.Repeat("x", 33), strings.Repeat("y", 32), "日" + strings.Repeat("語", 40), strings.Repeat("ab", 17) + "c",
	}
	separators = []string{" ", " ", " ", "  ", ", ", "", "-", "\n", "。", "، "}
	// Beside parts of the texts themselves.
	someMoreNeedles = []string{
		"o", "h", "l", "1", " ", "  ", "e", "É", "k", "lo", "he", "el", "45", "日", "本", "語日", "日本", "ไ", "한", "न", "😀", "\u200d", "\U0010ffff",
		"hello world", "lo wor", "o w", " hello", "hello ", "日本語日本語", "語語", "ภาษา", "xx", "yy", "abcdefgh", "habc", "rare1", "are2", "rare12 ",
		"abcd", "xbc", "helo", "llo ", "ello ", "are1 ", "2341", "lohello",
		strings.Repeat("x", 33), strings.Repeat("x", 32), strings.Repeat("x", 34), strings.Repeat("Y", 32), strings.Repeat("y", 31),
		strings.Repeat("abcdefgh", 4), strings.Repeat("語", 39), "abc", "bac", "%", "_", `\`, "'", "@", "nothing of the kind",
	}
)

// next makes a message that is not there yet.
func (m *Many) next() message.Message {
	r := m.random
	m.made++
	var n message.Message
	for {
		// Few letters, so that the order of IDs has nothing to do with that of
		// arrival, and sources share IDs.
		n = newMessage(fmt.Sprintf("%c%d", "aBé"[r.IntN(2)], r.IntN(2*m.made+10)), m.ts())
		switch phase := m.made % 9000; {
		case phase < 3000:
			if r.IntN(4) == 0 {
				n.Source = []string{"Twilio", "whatsapp"}[r.IntN(2)]
			}
		case phase < 6000: // of one source, as most are
		default:
			n.Source = "whatsapp"
		}
		if i := (identity{n.Source, n.ID}); !m.known[i] {
			m.known[i] = true
			break
		}
	}
	if n.From = heavySenders[r.IntN(len(heavySenders))]; r.IntN(4) == 0 {
		n.From = fmt.Sprintf("+49%d", r.IntN(4000))
	}
	if r.IntN(20) == 0 {
		n.From = otherNames[r.IntN(len(otherNames))]
	}
	if n.To = []string{"+7", "+77", "+1", "+200"}[r.IntN(4)]; r.IntN(20) == 0 {
		n.To = fmt.Sprintf("+49%d", r.IntN(4000))
	}
	if r.IntN(30) == 0 {
		n.To = otherNames[r.IntN(len(otherNames))]
	}
	if n.Source != message.SourceNative {
		n.Raw = fmt.Appendf(nil, `{"n":%d}`, m.made)
	}
	if (m.calm() || r.IntN(2) == 0) && n.At.Year() > 1 && n.At.Year() < 9000 {
		n.ReceivedAt = n.At.Truncate(time.Millisecond)
	}
	switch r.IntN(10) {
	case 0:
	case 1:
		setText("")(&n)
	default:
		var b strings.Builder
		for i := range 1 + r.IntN(6) {
			if i > 0 {
				b.WriteString(separators[r.IntN(len(separators))])
			}
			if r.IntN(3) == 0 {
				fmt.Fprintf(&b, "rare%d", r.IntN(3000))
			} else {
				b.WriteString(words[r.IntN(len(words))])
			}
		}
		setText(b.String())(&n)
	}
	return n
}

// calm says that nothing is far from its neighbours, so that many of them can
// expire altogether.
func (m *Many) calm() bool { return m.made/2500%2 == 1 }

// ts mostly rises, a few messages a second, and now and then hundreds are of one
// instant. There are times in which some come late, or are far from all others,
// and times in which they do not.
func (m *Many) ts() string {
	r := m.random
	if m.made%3000 == 700 {
		m.run = 600
	}
	late := 7200
	if m.calm() {
		late = 20
	}
	switch {
	case m.run > 0:
		m.run--
		return m.clock.Format("2006-01-02T15:04:05") + ".5Z"
	case !m.calm() && r.IntN(100) == 0:
		return outliers[r.IntN(len(outliers))]
	}
	at := m.clock
	switch r.IntN(10) {
	case 0, 1:
		m.clock = m.clock.Add(time.Second)
	case 2:
		m.clock = m.clock.Add(time.Duration(r.IntN(4)) * time.Second)
	case 3:
		at = at.Add(-time.Duration(r.IntN(late)) * time.Second)
	}
	return at.Format("2006-01-02T15:04:05") + fractions[r.IntN(len(fractions))] + "Z"
}

// filter draws what to ask for. Most of the filters match something.
func (m *Many) filter(t *rapid.T) message.Filter {
	row := func(label string) message.Message {
		if len(m.model.rows) == 0 {
			return newMessage("none", noon)
		}
		return m.model.rows[rapid.IntRange(0, len(m.model.rows)-1).Draw(t, label)]
	}
	half := func(label string) bool { return rapid.Bool().Draw(t, label) }
	switch rapid.IntRange(0, 15).Draw(t, "again") {
	case 13:
		return message.Filter{Source: row("source of row").Source}
	case 14, 15:
		// A search that may have been made before, when there were others.
		return message.Filter{Text: rapid.SampledFrom(someMoreNeedles).Draw(t, "needle")}
	}
	var f message.Filter
	if half("from?") {
		if f.From = rapid.SampledFrom(append(heavySenders, "", "+999", "MyBrand", otherNames[0])).Draw(t, "from"); f.From == "" {
			f.From = row("from of row").From
		}
	}
	if half("to?") {
		f.To = rapid.SampledFrom([]string{"+7", "+77", row("to of row").To, "+999"}).Draw(t, "to")
	}
	at := func(label string) time.Time {
		near := row(label).At
		if half(label + " far") {
			near = instant(rapid.SampledFrom(outliers).Draw(t, label))
		}
		switch rapid.IntRange(0, 6).Draw(t, label+" beside") {
		case 1:
			near = near.Truncate(time.Second)
		case 2:
			near = near.Add(1)
		case 3:
			near = near.Add(-1)
		case 4:
			near = near.Truncate(time.Second).Add(500 * time.Millisecond)
		case 5:
			near = near.Truncate(time.Minute)
		case 6:
			near = near.Add(time.Duration(rapid.IntRange(-7200, 7200).Draw(t, label+" seconds")) * time.Second)
		}
		return near.In(time.FixedZone("", 3600))
	}
	if half("source?") {
		f.Source = rapid.SampledFrom([]string{message.SourceNative, "Twilio", "whatsapp", "Native"}).Draw(t, "source")
	}
	if half("since?") {
		f.Since = at("since")
	}
	if half("until?") {
		f.Until = at("until")
	}
	if half("text?") {
		text := row("text").Text
		if text == nil || *text == "" || half("another text") {
			f.Text = rapid.SampledFrom(someMoreNeedles).Draw(t, "needle")
		} else {
			runes := []rune(*text)
			begin := rapid.IntRange(0, len(runes)-1).Draw(t, "begin")
			most := rapid.SampledFrom([]int{1, 2, 3, 8, len(runes)}).Draw(t, "length")
			f.Text = string(runes[begin:min(len(runes), begin+most)])
		}
		if half("capitals") {
			f.Text = strings.ToUpper(f.Text)
		}
	}
	return f
}

// Check asks random questions, and for everything in list order and in that of
// storing.
func (m *Many) Check(t *testing.T, s message.Store) {
	t.Helper()
	wantEqual(t, "Status().Messages", int64(len(m.model.rows)), s.Status().Messages)
	wantEqual(t, "Stats", m.model.stats(message.Filter{}), stats(t, s, message.Filter{}))
	wantEqual(t, "everything", listed(m.model.matching(message.Filter{}, message.Ascending)), everything(t, s))
	var fed []message.Message
	for after, more := "", true; more; {
		page := feed(t, s, after, message.MaxFeedLimit)
		fed, after, more = append(fed, page.Messages...), page.Next, page.More
	}
	wantEqual(t, "all in the order of storing", m.model.rows, fed)
	m.CheckSome(t, s)
}

// CheckSome asks random questions.
func (m *Many) CheckSome(t *testing.T, s message.Store) {
	t.Helper()
	if t.Failed() {
		return // rapid does not begin then
	}
	rapid.Check(t, func(rt *rapid.T) {
		f := m.filter(rt)
		switch rapid.IntRange(0, 5).Draw(rt, "question") {
		case 0, 1:
			m.page(rt, s, f)
		case 2:
			m.walk(rt, s, f)
		case 3:
			wantEqual(rt, fmt.Sprintf("Stats(%+v)", f), m.model.stats(f), stats(rt, s, f))
		case 4:
			m.timeline(rt, s, f)
		case 5:
			m.walkAll(rt, s, f)
		}
	})
}

var someLimits = rapid.SampledFrom([]int{1, 2, 3, 10, 50, message.MaxLimit})

// offset draws one from everywhere within and behind the list.
func offset(t *rapid.T, length int) int64 {
	n := int64(length)
	return max(0, rapid.OneOf(
		rapid.SampledFrom([]int64{0, 1, 2, 10, 998, 999, 1000, 1001, 1002, 1023, 1024, 1025, n - 101, n - 2, n - 1, n, n + 1, n + 1000, math.MaxInt64}),
		rapid.Int64Range(0, n),
	).Draw(t, "offset"))
}

func (m *Many) query(t *rapid.T, f message.Filter) message.Query {
	return message.Query{
		Filter: f, Order: someOrders.Draw(t, "order"), Limit: someLimits.Draw(t, "limit"), NoTotal: rapid.Bool().Draw(t, "no total"),
	}
}

// page compares one page by offset.
func (m *Many) page(t *rapid.T, s message.Store, f message.Filter) {
	q := m.query(t, f)
	whole := m.model.matching(f, q.Order)
	q.Offset = offset(t, len(whole))
	got := list(t, s, q)
	start := min(q.Offset, int64(len(whole)))
	end := min(start+int64(q.Limit), int64(len(whole)))
	what := fmt.Sprintf("List(%+v)", q)
	wantEqual(t, what+": messages", listed(whole[start:end]), got.Messages)
	wantEqual(t, what+": total", totalOf(q, whole), got.Total)
	wantEqual(t, what+": whether there is a next page", end < int64(len(whole)), got.NextCursor != "")
}

// walk follows the cursors from a random offset, to the end or for some pages.
func (m *Many) walk(t *rapid.T, s message.Store, f message.Filter) {
	q := m.query(t, f)
	whole := m.model.matching(f, q.Order)
	q.Offset = min(offset(t, len(whole)), int64(len(whole)))
	rest := whole[q.Offset:]
	for range rapid.IntRange(2, 15).Draw(t, "pages") {
		page := list(t, s, q)
		n := min(q.Limit, len(rest))
		what := fmt.Sprintf("List(%+v)", q)
		wantEqual(t, what+": messages", listed(rest[:n]), page.Messages)
		wantEqual(t, what+": total", totalOf(q, whole), page.Total)
		rest = rest[n:]
		wantEqual(t, what+": whether there is a next page", len(rest) > 0, page.NextCursor != "")
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			return
		}
	}
}

func (m *Many) walkAll(t *rapid.T, s message.Store, f message.Filter) {
	order := someOrders.Draw(t, "order")
	var got []message.Message
	err := s.Walk(t.Context(), f, order, func(r message.Message) error {
		got = append(got, r)
		return nil
	})
	if err != nil {
		t.Fatalf("Walk(%+v): %v", f, err)
	}
	wantEqual(t, fmt.Sprintf("Walk(%+v, %s)", f, order), m.model.matching(f, order), got)
}

func (m *Many) timeline(t *rapid.T, s message.Store, f message.Filter) {
	b := someBuckets.Draw(t, "bucket")
	want, ok := m.model.timeline(f, b)
	got, err := s.Timeline(t.Context(), f, b)
	switch {
	case !ok && !errors.Is(err, message.ErrTooManyBuckets):
		t.Fatalf("Timeline(%+v): got %d buckets, error %v, want ErrTooManyBuckets", f, len(got), err)
	case ok && err != nil:
		t.Fatalf("Timeline(%+v): %v", f, err)
	case ok:
		wantEqual(t, fmt.Sprintf("Timeline(%+v) in buckets of %v", f, time.Duration(b)), want, got)
	}
}

// testMany: what holds for a few messages holds for thousands, with and
// without some that were removed, and after opening again.
func testMany(t *testing.T, d *db) {
	m := NewMany(1)
	m.Save(t, d, 3000)
	m.Check(t, d)
	m.ExpireSome(t, d, 0.1)
	m.EraseSome(t, d, 2)
	m.CheckSome(t, d)
	d.reopen(t)
	m.Repeat(t, d)
	m.Save(t, d, 1000)
	m.Check(t, d)
}
