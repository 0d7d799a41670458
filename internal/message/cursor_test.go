package message_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/message"
)

var cursorKey = []byte("the key of one database, 32 byte")

// cursorFilter sets every member, so that each can be changed.
func cursorFilter() message.Filter {
	return message.Filter{
		From: "+1", To: "+2", Text: "Hello", Source: "whatsapp",
		Since: utc(2025, 1, 1, 0, 0, 0, 1), Until: utc(2025, 2, 1, 0, 0, 0, 0),
	}
}

func exampleCursor() (message.Position, string) {
	p := message.Position{At: utc(2025, 1, 15, 10, 0, 0, 123_456_789), ID: "m1", Source: "native"}
	return p, message.EncodeCursor(cursorKey, cursorFilter(), message.Ascending, p)
}

func TestCursorRoundTrip(t *testing.T) {
	first, last := utc(0, 1, 1, 0, 0, 0, 0).Unix(), utc(9999, 12, 31, 23, 59, 59, 0).Unix()
	rapid.Check(t, func(t *rapid.T) {
		instant := rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(first, last).Draw(t, "unix"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
		})
		key := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "key")
		f := message.Filter{
			From: rapid.String().Draw(t, "from"), To: rapid.String().Draw(t, "to"), Text: rapid.String().Draw(t, "text"), Source: rapid.String().Draw(t, "filter source"),
			Since: instant.Draw(t, "since"), Until: instant.Draw(t, "until"),
		}
		o := rapid.SampledFrom([]message.Order{message.Ascending, message.Descending}).Draw(t, "order")
		want := message.Position{
			At:     instant.Draw(t, "at"),
			ID:     rapid.StringN(0, message.MaxIDLength, -1).Draw(t, "id"),
			Source: rapid.String().Draw(t, "source"),
		}
		cursor := message.EncodeCursor(key, f, o, want)
		if strings.Trim(cursor, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Fatalf("cursor %q cannot stand in a URL as it is", cursor)
		}
		got, err := message.ParseCursor(key, f, o, cursor)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A position in another zone is the same position.
func TestCursorZone(t *testing.T) {
	p, cursor := exampleCursor()
	f := cursorFilter()
	east := time.FixedZone("", 5*3600+1800)
	p.At, f.Since, f.Until = p.At.In(east), f.Since.In(east), f.Until.In(east)
	if got := message.EncodeCursor(cursorKey, f, message.Ascending, p); got != cursor {
		t.Error("the zone makes another cursor")
	}
}

func refuseCursor(t *testing.T, key []byte, f message.Filter, o message.Order, cursor string) {
	t.Helper()
	p, err := message.ParseCursor(key, f, o, cursor)
	if !errors.Is(err, message.ErrBadCursor) {
		t.Errorf("cursor %q: got %+v, %v; want ErrBadCursor", cursor, p, err)
	}
	if diff := cmp.Diff(message.Position{}, p); diff != "" {
		t.Errorf("a refused cursor has a position: %s", diff)
	}
}

func TestCursorForged(t *testing.T) {
	_, cursor := exampleCursor()
	f := cursorFilter()
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			forged := append([]byte(nil), raw...)
			forged[i] ^= 1 << bit
			refuseCursor(t, cursorKey, f, message.Ascending, base64.RawURLEncoding.EncodeToString(forged))
		}
	}
	for i := range cursor {
		other := "A"
		if cursor[i] == 'A' {
			other = "B"
		}
		refuseCursor(t, cursorKey, f, message.Ascending, cursor[:i]+other+cursor[i+1:])
	}
}

func TestCursorTruncated(t *testing.T) {
	_, cursor := exampleCursor()
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	for n := range cursor {
		refuseCursor(t, cursorKey, cursorFilter(), message.Ascending, cursor[:n])
		refuseCursor(t, cursorKey, cursorFilter(), message.Ascending, cursor[n+1:])
	}
	for n := range raw {
		refuseCursor(t, cursorKey, cursorFilter(), message.Ascending, base64.RawURLEncoding.EncodeToString(raw[:n]))
	}
	for _, more := range [][]byte{{0}, {1, 2, 3}, raw} {
		refuseCursor(t, cursorKey, cursorFilter(), message.Ascending, base64.RawURLEncoding.EncodeToString(append(slices.Clip(raw), more...)))
	}
}

// One position has one cursor: whatever else is read as it was not made here.
func TestCursorMalformed(t *testing.T) {
	_, cursor := exampleCursor()
	for _, c := range []struct{ name, cursor string }{
		{"empty", ""},
		{"a word", "next"},
		{"padding", cursor + "="},
		{"full padding", cursor + "=="},
		{"not base64", "!" + cursor[1:]},
		{"space before", " " + cursor},
		{"space behind", cursor + " "},
		{"NUL behind", cursor + "\x00"},
		{"newline behind", cursor + "\n"},
		{"newline before", "\n" + cursor},
		{"newline inside", cursor[:10] + "\n" + cursor[10:]},
		{"carriage return inside", cursor[:10] + "\r" + cursor[10:]},
		{"twice", cursor + cursor},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuseCursor(t, cursorKey, cursorFilter(), message.Ascending, c.cursor)
		})
	}
}

// The bits that base64 leaves over at the end have to be zero.
func TestCursorLeftoverBits(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for n := range 3 { // one of three lengths leaves nothing over
		p := message.Position{At: utc(2025, 1, 15, 10, 0, 0, 0), ID: strings.Repeat("x", n)}
		cursor := message.EncodeCursor(cursorKey, message.Filter{}, message.Ascending, p)
		if len(cursor)%4 == 0 {
			continue
		}
		end := strings.IndexByte(alphabet, cursor[len(cursor)-1])
		refuseCursor(t, cursorKey, message.Filter{}, message.Ascending, cursor[:len(cursor)-1]+alphabet[end+1:end+2])
	}
}

func TestCursorForeign(t *testing.T) {
	_, cursor := exampleCursor()
	for _, c := range []struct {
		name   string
		change func(f *message.Filter)
	}{
		{"other from", func(f *message.Filter) { f.From = "+3" }},
		{"no from", func(f *message.Filter) { f.From = "" }},
		{"other to", func(f *message.Filter) { f.To = "+3" }},
		{"from and to swapped", func(f *message.Filter) { f.From, f.To = f.To, f.From }},
		{"from and to joined", func(f *message.Filter) { f.From, f.To = f.From+f.To, "" }},
		{"other since", func(f *message.Filter) { f.Since = f.Since.Add(1) }},
		{"no since", func(f *message.Filter) { f.Since = time.Time{} }},
		{"other until", func(f *message.Filter) { f.Until = f.Until.Add(-1) }},
		{"no until", func(f *message.Filter) { f.Until = time.Time{} }},
		{"other text", func(f *message.Filter) { f.Text = "Hallo" }},
		{"longer text", func(f *message.Filter) { f.Text = "Hello " }},
		{"no text", func(f *message.Filter) { f.Text = "" }},
		{"other source", func(f *message.Filter) { f.Source = "Whatsapp" }},
		{"no source", func(f *message.Filter) { f.Source = "" }},
		{"no filter", func(f *message.Filter) { *f = message.Filter{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := cursorFilter()
			c.change(&f)
			refuseCursor(t, cursorKey, f, message.Ascending, cursor)
		})
	}
	t.Run("other order", func(t *testing.T) {
		refuseCursor(t, cursorKey, cursorFilter(), message.Descending, cursor)
	})
	t.Run("other key", func(t *testing.T) {
		refuseCursor(t, []byte("the key of another database, 32b"), cursorFilter(), message.Ascending, cursor)
	})
	t.Run("no key", func(t *testing.T) {
		refuseCursor(t, nil, cursorFilter(), message.Ascending, cursor)
	})
}

// A cursor of a query without a source stays what it was before there were such
// queries.
func TestCursorKept(t *testing.T) {
	want, _ := exampleCursor()
	f := message.Filter{From: "+1", To: "+2", Text: "Hello", Since: utc(2025, 1, 1, 0, 0, 0, 1)}
	got, err := message.ParseCursor(cursorKey, f, message.Ascending, "AQAAAABnh4cgB1vNFQJtMW5hdGl2ZTRpED1MzbxPwDJVseygbyo")
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The text is compared without regard to case, so another case of it asks for
// the same page.
func TestCursorOtherCaseOfText(t *testing.T) {
	p, cursor := exampleCursor()
	f := cursorFilter()
	f.Text = "hELLO"
	got, err := message.ParseCursor(cursorKey, f, message.Ascending, cursor)
	if err != nil || !cmp.Equal(p, got) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The zero Order is Ascending, so a cursor of the one is a cursor of the other.
func TestCursorZeroOrder(t *testing.T) {
	p, cursor := exampleCursor()
	got, err := message.ParseCursor(cursorKey, cursorFilter(), "", cursor)
	if err != nil || !cmp.Equal(p, got) {
		t.Errorf("got %+v, %v", got, err)
	}
	refuseCursor(t, cursorKey, cursorFilter(), "", message.EncodeCursor(cursorKey, cursorFilter(), message.Descending, p))
}
