package storetest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lyftr/internal/message"
)

func feed(t failer, s message.Store, after string, limit int) message.FeedPage {
	t.Helper()
	page, err := s.Feed(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("Feed(%q, %d): %v", after, limit, err)
	}
	checkFeedPage(t, page, limit)
	return page
}

// checkFeedPage holds every page to what has no exception.
func checkFeedPage(t failer, page message.FeedPage, limit int) {
	t.Helper()
	if n := len(page.Messages); n != len(page.Positions) || n > limit || n < limit && page.More && limit > 0 && textBytes(page) < message.MaxFeedBytes {
		t.Errorf("Feed: %d messages and %d positions for a limit of %d, more: %v", n, len(page.Positions), limit, page.More)
	}
	if page.Next == "" || page.Next == message.FeedLatest {
		t.Errorf("Feed: the next position is %q", page.Next)
	}
	for _, p := range append([]string{page.Next}, page.Positions...) {
		if strings.Trim(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" || len(p) > 255 {
			t.Errorf("Feed: the position %q cannot stand in a URL and a header", p)
		}
	}
}

// textBytes is how long the texts are, and what the providers sent.
func textBytes(page message.FeedPage) (n int) {
	for _, m := range page.Messages {
		if m.Text != nil {
			n += len(*m.Text)
		}
		n += len(m.Raw)
	}
	return n
}

// follow reads from the first message to the end of the feed.
func follow(t failer, s message.Store, limit int) (messages []message.Message, next string) {
	t.Helper()
	for after := ""; ; {
		page := feed(t, s, after, limit)
		if len(page.Messages) == 0 {
			return messages, page.Next
		}
		messages, after = append(messages, page.Messages...), page.Next
	}
}

// testFeedOrder: neither ts nor the ID nor a repeat has a part in it.
func testFeedOrder(t *testing.T, d *db) {
	empty := feed(t, d, "", 10)
	wantEqual(t, "messages of an empty store", nil, empty.Messages)
	late := newMessage("a", "2030-01-01T00:00:00Z", setText("first"))
	early := newMessage("z", "1970-01-01T00:00:00.123456789Z")
	middle := newMessage("m", noon, setSource("twilio"), setText(""))
	save(t, d, late)
	save(t, d, early, late, middle)
	save(t, d, newMessage("a", noon), newMessage("b", noon))
	want := []message.Message{late, early, middle, newMessage("b", noon)}

	page := feed(t, d, "", 10)
	wantEqual(t, "the feed", want, page.Messages)
	wantEqual(t, "more at the end", false, page.More)
	wantEqual(t, "behind the end", nil, feed(t, d, page.Next, 10).Messages)
	wantEqual(t, "behind the end of the empty store", want, feed(t, d, empty.Next, 10).Messages)
	for i, p := range page.Positions {
		wantEqual(t, fmt.Sprint("behind the position of message ", i), want[i+1:], feed(t, d, p, 10).Messages)
	}
	for _, m := range page.Messages {
		got, err := d.Get(t.Context(), m.Source, m.ID)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		if m.ReceivedAt.IsZero() || !m.ReceivedAt.Equal(got.ReceivedAt) {
			t.Errorf("%s was received at %v in the feed and at %v in Get", m.ID, m.ReceivedAt, got.ReceivedAt)
		}
	}
}

func testFeedPages(t *testing.T, d *db) {
	want := manyTies()
	for _, m := range want {
		save(t, d, m)
	}
	for _, limit := range []int{1, 2, 3, 7, len(want) - 1, len(want), len(want) + 1, message.MaxFeedLimit} {
		got, next := follow(t, d, limit)
		wantEqual(t, fmt.Sprint("pages joined, of ", limit), want, got)
		wantEqual(t, "behind the end", nil, feed(t, d, next, limit).Messages)
	}
	// Only the position is asked for.
	page := feed(t, d, "", 2)
	nothing := feed(t, d, page.Next, 0)
	wantEqual(t, "messages of a page of 0", nil, nothing.Messages)
	wantEqual(t, "behind a page of 0", want[2:], feed(t, d, nothing.Next, message.MaxFeedLimit).Messages)
}

// testFeedWhileSaving: readers who go on from their position while many save
// see what was stored, each message once, all in one order.
func testFeedWhileSaving(t *testing.T, d *db) {
	const savers, calls, perCall, followers = 16, 25, 3, 4
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := make([][]string, followers)
	var wg sync.WaitGroup
	for f := range followers {
		wg.Go(func() {
			after := ""
			for len(seen[f]) < savers*calls*perCall {
				changed := d.Changed()
				page, err := d.Feed(ctx, after, 1+f*37)
				if err != nil {
					t.Errorf("Feed: %v", err)
					return
				}
				checkFeedPage(t, page, 1+f*37)
				seen[f], after = append(seen[f], ids(page.Messages)...), page.Next
				if len(page.Messages) > 0 {
					continue
				}
				select {
				case <-changed:
				case <-ctx.Done():
					t.Errorf("nothing changed for long, after %d messages", len(seen[f]))
					return
				}
			}
		})
	}
	atOnce(savers, func(i int) []message.Outcome {
		for c := range calls {
			var messages []message.Message
			for m := range perCall {
				messages = append(messages, newMessage(fmt.Sprintf("%d-%d-%d", i, c, m), noon))
			}
			// Some repeat what others are saving.
			messages = append(messages, newMessage(fmt.Sprintf("%d-%d-0", (i+1)%savers, c), noon))
			saveInGoroutine(t, d, messages...)
		}
		return nil
	})
	wg.Wait()
	whole, _ := follow(t, d, message.MaxFeedLimit)
	want := ids(whole)
	wantEqual(t, "messages stored", savers*calls*perCall, len(want))
	for f := range followers {
		wantEqual(t, fmt.Sprint("what follower saw: ", f), want, seen[f])
	}
	slices.Sort(want)
	wantEqual(t, "different messages", len(want), len(slices.Compact(want)))
}

func testFeedLatest(t *testing.T, d *db) {
	first := feed(t, d, message.FeedLatest, 10)
	wantEqual(t, "messages", nil, first.Messages)
	a, b, e := newMessage("a", noon), newMessage("b", noon), newMessage("e", noon)
	save(t, d, a)
	wantEqual(t, "behind what was latest once", []message.Message{a}, feed(t, d, first.Next, 10).Messages)
	second := feed(t, d, message.FeedLatest, 10)
	wantEqual(t, "messages", nil, second.Messages)
	save(t, d, a, b, e)
	wantEqual(t, "behind what was latest then", []message.Message{b, e}, feed(t, d, second.Next, 10).Messages)
	wantEqual(t, "behind the first", []message.Message{a, b, e}, feed(t, d, first.Next, 10).Messages)
}

func testFeedReopen(t *testing.T, d *db) {
	a, b, e := newMessage("a", noon), newMessage("b", noon), newMessage("e", noon)
	save(t, d, a, b)
	first := feed(t, d, "", 1)
	end := feed(t, d, "", 10).Next
	d.reopen(t)
	wantEqual(t, "behind an old position", []message.Message{b}, feed(t, d, first.Next, 10).Messages)
	wantEqual(t, "behind the old end", nil, feed(t, d, end, 10).Messages)
	wantEqual(t, "latest", nil, feed(t, d, message.FeedLatest, 10).Messages)
	save(t, d, e, a)
	wantEqual(t, "behind the old end, later", []message.Message{e}, feed(t, d, end, 10).Messages)
	d.reopen(t)
	wantEqual(t, "behind the old end, opened again", []message.Message{e}, feed(t, d, end, 10).Messages)
}

// testFeedLongTexts: a page ends before it gets too large, and has one message
// at least.
func testFeedLongTexts(t *testing.T, d *db) {
	text := strings.Repeat("😀", message.MaxTextLength)
	var want []message.Message
	for i := range 2*message.MaxFeedBytes/len(text) + 3 {
		want = append(want, newMessage(fmt.Sprintf("%03d", i), noon, setText(text)))
	}
	save(t, d, want...)
	got, _ := follow(t, d, message.MaxFeedLimit)
	wantEqual(t, "pages joined", ids(want), ids(got))
	page := feed(t, d, "", message.MaxFeedLimit)
	if n := textBytes(page); n < message.MaxFeedBytes || n >= message.MaxFeedBytes+len(text) || !page.More {
		t.Errorf("the first page has %d bytes of text, more: %v", n, page.More)
	}
}

func wantBadPosition(t *testing.T, what string, s message.Store, position string) {
	t.Helper()
	for _, limit := range []int{0, 1, message.MaxFeedLimit} {
		if page, err := s.Feed(t.Context(), position, limit); !errors.Is(err, message.ErrBadCursor) || errors.Is(err, message.ErrUnavailable) {
			t.Errorf("%s, limit %d: got %d messages, error %v, want ErrBadCursor", what, limit, len(page.Messages), err)
		}
	}
}

func testFeedRefused(t *testing.T, d *db) {
	save(t, d, newMessage("a", noon), newMessage("b", noon))
	position := feed(t, d, "", 1).Next
	cursor := list(t, d, message.Query{Limit: 1}).NextCursor
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range position {
		// Every character changed in its lowest bit.
		j := strings.IndexByte(alphabet, position[i])
		wantBadPosition(t, fmt.Sprint("character changed at ", i), d, position[:i]+alphabet[j^1:j^1+1]+position[i+1:])
	}
	for what, forged := range map[string]string{
		"a cursor of a list": cursor,
		"cut short":          position[:len(position)-1],
		"one character":      "A",
		"doubled":            position + position,
		"padded":             position + "=",
		"with a space":       position + " ",
		"with a newline":     position[:10] + "\n" + position[10:],
		"not base64":         "§§§§",
		"zeros":              base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"very long":          strings.Repeat("A", 100_000),
		"a number":           "1",
		"another word":       "Latest",
		"NUL":                "\x00",
		"foreign key":        message.SignFeedPosition([]byte("guessed"), make([]byte, 8)),
		"no key":             message.SignFeedPosition(nil, make([]byte, 8)),
	} {
		wantBadPosition(t, what, d, forged)
	}
	wantBadCursor(t, "a position as a cursor", d, message.Query{Limit: 1, Cursor: position})
}

// testForeignPosition: a position belongs to the database that gave it out.
func testForeignPosition(t *testing.T, a, b *db) {
	for _, d := range []*db{a, b} {
		save(t, d, newMessage("1", noon), newMessage("2", noon))
	}
	position := feed(t, a, "", 1).Next
	wantEqual(t, "in its own database", []string{"2"}, ids(feed(t, a, position, 10).Messages))
	wantBadPosition(t, "a position of another database", b, position)
}

// testFeedErased: what was erased is not there, and every position stays good,
// also when nothing is left behind it.
func testFeedErased(t *testing.T, d *db) {
	var all []message.Message
	for i := range 6 {
		all = append(all, newMessage(fmt.Sprint(i), noon, setFrom("+"+fmt.Sprint(100+i/2%2))))
	}
	save(t, d, all...)
	whole := feed(t, d, "", 10)
	left := []int{2, 3}
	behind := func(i int, later ...message.Message) (want []message.Message) {
		for _, l := range left {
			if l > i {
				want = append(want, all[l])
			}
		}
		return append(want, later...)
	}
	if n, err := d.Erase(t.Context(), "+100"); err != nil || n != 4 {
		t.Fatalf("Erase: %d, %v", n, err)
	}
	for range 2 {
		for i, p := range whole.Positions {
			wantEqual(t, fmt.Sprint("behind message ", i), behind(i), feed(t, d, p, 10).Messages)
		}
		d.reopen(t)
	}
	later := newMessage("later", noon)
	save(t, d, later)
	for i, p := range whole.Positions {
		wantEqual(t, fmt.Sprint("later, behind message ", i), behind(i, later), feed(t, d, p, 10).Messages)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// testFeedChanged: what is stored wakes those who wait, repeats do not.
func testFeedChanged(t *testing.T, d *db) {
	a, b := newMessage("a", noon), newMessage("b", noon)
	wait := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c: // soon: a database may tell it with a delay
		case <-time.After(10 * time.Second):
			t.Errorf("%s: nobody was woken", what)
		}
	}
	first, also := d.Changed(), d.Changed()
	save(t, d, a)
	wait("a message", first)
	wait("a message, the other who waits", also)

	second := d.Changed()
	save(t, d, a, a)
	save(t, d, newMessage("a", noon, setText("other")))
	save(t, d)
	if err := d.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	if isClosed(second) {
		t.Error("repeats woke those who wait")
	}
	save(t, d, a, b)
	wait("a message beside a repeat", second)
	if isClosed(d.Changed()) {
		t.Error("a channel that was taken after the last message is closed")
	}
}

// testFeedFollowers: nobody who takes the channel before he reads misses a
// message, however close it comes.
func testFeedFollowers(t *testing.T, d *db) {
	const followers, messages = 32, 200
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range followers {
		wg.Go(func() {
			after := ""
			for n := 0; n < messages; {
				changed := d.Changed()
				page, err := d.Feed(ctx, after, 10)
				if err != nil {
					t.Errorf("Feed: %v", err)
					return
				}
				if n, after = n+len(page.Messages), page.Next; len(page.Messages) > 0 {
					continue
				}
				select {
				case <-changed:
				case <-ctx.Done():
					t.Errorf("message %d woke nobody", n)
					return
				}
			}
		})
	}
	for i := range messages {
		save(t, d, newMessage(fmt.Sprint(i), noon))
	}
	wg.Wait()
}
