package storetest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lyftr/internal/message"
)

// manyTies are messages of which many share an instant, an ID or both.
func manyTies() []message.Message {
	var m []message.Message
	for _, ts := range []string{"1969-12-31T23:59:59.5Z", "2025-01-15T10:00:00Z", "2025-01-15T10:00:00.0Z", "2025-01-15T10:00:00.000000001Z"} {
		for _, id := range []string{"B", "a", "é"} {
			for _, source := range []string{message.SourceNative, "twilio"} {
				m = append(m, newMessage(id+ts[len(ts)-4:], ts, setSource(source), setFrom("+"+fmt.Sprint(1+len(m)%3)), setText("x"+id)))
			}
		}
	}
	return m
}

func testCursorPages(t *testing.T, d *db) {
	save(t, d, manyTies()...)
	for _, filter := range []message.Filter{
		{},
		{From: "+1"},
		{Since: instant("2025-01-15T10:00:00Z")},
		{Until: instant("2025-01-15T10:00:00.000000001Z")},
		{From: "+2", To: "+200", Since: instant("1969-12-31T23:59:59Z"), Until: instant(noon), Text: "X"},
		{Text: "É"},
	} {
		for _, order := range []message.Order{message.Ascending, message.Descending} {
			q := message.Query{Limit: message.MaxLimit, Filter: filter, Order: order}
			whole := list(t, d, q)
			if len(whole.Messages) < 3 {
				t.Fatalf("filter %+v: only %d messages", filter, len(whole.Messages))
			}
			for _, q.Limit = range []int{1, 2, 3, 5, len(whole.Messages)} {
				q.Cursor = ""
				var joined []message.Message
				for {
					page := list(t, d, q)
					wantEqual(t, "total", whole.Total, page.Total)
					joined = append(joined, page.Messages...)
					if page.NextCursor == "" {
						break
					}
					wantEqual(t, "length of a page that has a next one", q.Limit, len(page.Messages))
					q.Cursor = page.NextCursor
					q.Offset = 3 // not used with a cursor
				}
				q.Offset = 0
				wantEqual(t, fmt.Sprintf("pages of %d joined, %s, %+v", q.Limit, order, filter), whole.Messages, joined)
			}
		}
	}
}

// testCursorWhileInserting: of the messages that were there at the start none
// is repeated and none is missing, whatever is stored around the cursor.
func testCursorWhileInserting(t *testing.T, d *db) {
	const n = 20
	const insertions = 10 // in each order, so that the pages come to an end
	ts := func(second int) string { return fmt.Sprintf("2025-01-15T10:00:%02d.5Z", second) }
	var there []string
	for i := range n {
		id := fmt.Sprintf("there%02d", i)
		there = append(there, id)
		save(t, d, newMessage(id, ts(i)))
	}
	inserted := 0
	for _, order := range []message.Order{message.Ascending, message.Descending} {
		q := message.Query{Limit: 3, Order: order}
		seen := map[string]int{}
		var got []string
		for pages := 0; ; pages++ {
			page := list(t, d, q)
			for _, m := range page.Messages {
				seen[m.Source+"/"+m.ID]++
				if strings.HasPrefix(m.ID, "there") && m.Source == message.SourceNative {
					got = append(got, m.ID)
				}
			}
			if page.NextCursor == "" {
				break
			}
			q.Cursor = page.NextCursor
			if pages >= insertions {
				continue
			}
			last := page.Messages[len(page.Messages)-1]
			inserted++
			save(t, d,
				newMessage(fmt.Sprintf("earliest%02d", inserted), ts(0)),
				newMessage(fmt.Sprintf("latest%02d", inserted), ts(n)),
				// Beside the cursor, on both sides of it.
				newMessage(fmt.Sprint(" beside", inserted), last.TS),
				newMessage(fmt.Sprint("~beside", inserted), last.TS),
				newMessage(last.ID, last.TS, setSource(fmt.Sprint("a", inserted))),
				newMessage(last.ID, last.TS, setSource(fmt.Sprint("z", inserted))),
			)
		}
		wantEqual(t, "messages that were there", there, got)
		for id, times := range seen {
			if times != 1 {
				t.Errorf("%s was listed %d times", id, times)
			}
		}
		slices.Reverse(there)
	}
}

// testCursorEnd: a page that ends exactly at the last message has no next one,
// and messages stored later are found by the cursor before.
func testCursorEnd(t *testing.T, d *db) {
	a, b := newMessage("a", noon), newMessage("b", noon)
	save(t, d, a, b)
	wantEqual(t, "next cursor of the full last page", "", list(t, d, message.Query{Limit: 2}).NextCursor)
	q := message.Query{Limit: 1}
	q.Cursor = list(t, d, q).NextCursor
	page := list(t, d, q)
	wantEqual(t, "last page", message.Page{Messages: []message.Message{b}, Total: 2}, page)

	e := newMessage("e", noon)
	save(t, d, e)
	q.Limit = message.MaxLimit // another limit is allowed
	wantEqual(t, "behind the same cursor later", message.Page{Messages: []message.Message{b, e}, Total: 3}, list(t, d, q))
}

func wantBadCursor(t *testing.T, what string, s message.Store, q message.Query) {
	t.Helper()
	if page, err := s.List(t.Context(), q); !errors.Is(err, message.ErrBadCursor) {
		t.Errorf("%s: got %d messages, error %v, want ErrBadCursor", what, len(page.Messages), err)
	}
}

func testCursorRefused(t *testing.T, d *db) {
	save(t, d, manyTies()...)
	filter := message.Filter{From: "+1", To: "+200", Since: instant("1960-01-01T00:00:00Z"), Until: instant(noon), Text: "x", Source: message.SourceNative}
	q := message.Query{Limit: 1, Filter: filter, Order: message.Ascending}
	cursor := list(t, d, q).NextCursor
	if cursor == "" {
		t.Fatal("no cursor to try")
	}
	q.Cursor = cursor
	list(t, d, q) // it is good as it is

	for what, edit := range map[string]func(*message.Query){
		"other order":           func(q *message.Query) { q.Order = message.Descending },
		"other sender":          func(q *message.Query) { q.From = "+2" },
		"no sender":             func(q *message.Query) { q.From = "" },
		"other recipient":       func(q *message.Query) { q.To = "+201" },
		"no recipient":          func(q *message.Query) { q.To = "" },
		"sender and to swapped": func(q *message.Query) { q.From, q.To = q.To, q.From },
		"other since":           func(q *message.Query) { q.Since = q.Since.Add(1) },
		"other until":           func(q *message.Query) { q.Until = q.Until.Add(1) },
		"other text":            func(q *message.Query) { q.Text = "xa" },
		"no text":               func(q *message.Query) { q.Text = "" },
		"other source":          func(q *message.Query) { q.Source = "Native" },
		"no source":             func(q *message.Query) { q.Source = "" },
		"no filter":             func(q *message.Query) { q.Filter = message.Filter{} },
	} {
		other := q
		edit(&other)
		wantBadCursor(t, what, d, other)
	}

	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range cursor {
		// Every character changed in its lowest bit.
		j := strings.IndexByte(alphabet, cursor[i])
		q.Cursor = cursor[:i] + alphabet[j^1:j^1+1] + cursor[i+1:]
		wantBadCursor(t, fmt.Sprint("character changed at ", i), d, q)
	}
	for what, forged := range map[string]string{
		"cut short":      cursor[:len(cursor)-1],
		"one character":  "A",
		"doubled":        cursor + cursor,
		"padded":         cursor + "=",
		"with a space":   cursor + " ",
		"with a newline": cursor[:10] + "\n" + cursor[10:],
		"not base64":     "§§§§",
		"zeros":          base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"very long":      strings.Repeat("A", 100_000),
		"a number":       "2",
		"NUL":            "\x00",
		"foreign key": message.EncodeCursor([]byte("guessed"), filter, message.Ascending,
			message.Position{At: instant(noon), ID: "a", Source: message.SourceNative}),
		"no key": message.EncodeCursor(nil, filter, message.Ascending,
			message.Position{At: instant(noon), ID: "a", Source: message.SourceNative}),
	} {
		q.Cursor = forged
		wantBadCursor(t, what, d, q)
	}
}

// testForeignCursor: a cursor belongs to the database that gave it out.
func testForeignCursor(t *testing.T, a, b *db) {
	for _, d := range []*db{a, b} {
		save(t, d, newMessage("1", noon), newMessage("2", noon))
	}
	q := message.Query{Limit: 1}
	q.Cursor = list(t, a, q).NextCursor
	wantEqual(t, "page of the cursor's own database", []string{"2"}, ids(list(t, a, q).Messages))
	wantBadCursor(t, "cursor of another database", b, q)
}
