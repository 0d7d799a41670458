package transfer_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

var formats = []transfer.Format{transfer.NDJSON, transfer.CSV}

// hostile are pieces of which texts are made: what a format could stumble over.
var hostile = rapid.SampledFrom([]string{
	"'", "''", "=", "+", "-", "@", "\t", "\r", "\n", "\r\n", `"`, `""`, ",", ";", `\`, `\n`, `\u0000`, "null", "NULL", "{", "}", " ", "a",
	"\u0085", "\u2028", "\u2029", "\ufeff", "\u202e", "\ufffd", "\uffff", "\U0010ffff", "😀", "é", "e\u0301", "＝", "＋", "＠", "－",
	"\x01", "\x1b[31m", "\x7f", "=HYPERLINK(\"http://evil.test\")", "'=1", "\x1a",
})

var texts = rapid.OneOf(
	rapid.Map(rapid.SliceOfN(hostile, 0, 8), func(parts []string) string { return strings.Join(parts, "") }),
	rapid.Map(rapid.String(), func(s string) string { return strings.ReplaceAll(s, "\x00", "") }),
)

// names are IDs and sources: texts without control characters.
var names = rapid.Map(texts, func(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > message.MaxIDLength {
		s = string(r[:message.MaxIDLength])
	}
	if s == "" {
		return "x"
	}
	return s
})

// raws are what providers send: objects that hold whatever JSON lets them.
var raws = rapid.OneOf(
	rapid.SampledFrom([]string{
		`{}`, `{ "a" : [1, 2.50e3] }`, "{\t}", `{"a":1,"a":2}`, `{"a":"\ud800"}`, `{"raw":null,"message_id":{}}`, "{\"a\":\"\u2028\u0085'=\"}",
		`{"a":"\u0000\"}]\\"}`, strings.Repeat(`{"a":[`, 100) + strings.Repeat(`]}`, 100),
	}),
	rapid.Map(rapid.MapOfN(texts, texts, 0, 3), func(members map[string]string) string {
		b, err := json.Marshal(members)
		if err != nil {
			panic(err)
		}
		return string(b)
	}),
)

var phones = rapid.StringMatching(`\+[0-9]{1,15}`)

// parties are who a provider names.
var parties = rapid.OneOf(phones, names, rapid.Just(""))

// valid are messages that keep every rule.
var valid = rapid.Custom(func(t *rapid.T) message.Message {
	m := message.Message{
		ID: names.Draw(t, "id"), Source: names.Filter(func(s string) bool { return s != message.SourceNative }).Draw(t, "source"), From: phones.Draw(t, "from"), To: phones.Draw(t, "to"),
		TS: rapid.SampledFrom([]string{"2025-01-15T10:00:00Z", "0001-01-01T00:00:00.000000001Z", "9999-12-31T23:59:59.999999999Z", "2025-01-15T10:00:00.500Z"}).Draw(t, "ts"),
	}
	if rapid.Bool().Draw(t, "has text") {
		text := texts.Draw(t, "text")
		m.Text = &text
	}
	if rapid.Bool().Draw(t, "provider's") {
		m.From, m.To = parties.Draw(t, "from"), parties.Draw(t, "to")
		m.Raw = []byte(raws.Draw(t, "raw"))
		if m.Text != nil && rapid.Bool().Draw(t, "long") {
			*m.Text += strings.Repeat("é", message.MaxTextLength)
		}
	}
	if rapid.Bool().Draw(t, "received") {
		m.ReceivedAt = time.UnixMilli(rapid.Int64Range(-62135596799999, 253402300799999).Draw(t, "received at")).UTC()
	}
	m.At, _ = message.ParseTimestamp(m.TS)
	return m
})

func write(f transfer.Format, messages []message.Message) []byte {
	b := []byte(f.Header())
	for i := range messages {
		b = f.Append(b, &messages[i])
	}
	return b
}

// read reads everything; lines that are wrong are returned apart.
func read(t interface {
	Helper()
	Fatalf(string, ...any)
}, r *transfer.Reader) (messages []message.Message, wrong []*transfer.LineError) {
	t.Helper()
	for {
		m, err := r.Read()
		line, isLine := errors.AsType[*transfer.LineError](err)
		switch {
		case errors.Is(err, io.EOF):
			return messages, wrong
		case isLine:
			wrong = append(wrong, line)
		case err != nil:
			t.Fatalf("Read: %v", err)
		default:
			messages = append(messages, m)
		}
	}
}

// TestLossless: what is written is read back as it was, whatever it is and
// however it arrives, and writing it again gives the same bytes.
func TestLossless(t *testing.T) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := rapid.SliceOfN(valid, 0, 4).Draw(t, "messages")
				file := write(f, want)
				got, wrong := read(t, transfer.NewReader(f, bytes.NewReader(file)))
				for _, w := range wrong {
					t.Errorf("%v", w)
				}
				if len(want) == 0 {
					want = nil
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("read (-want +got):\n%s\nfile: %q", diff, file)
				}
				if again := write(f, got); !bytes.Equal(again, file) {
					t.Errorf("written again:\n%q\nfirst:\n%q", again, file)
				}
			})
		})
	}
}

// TestSkip: from each mark on a reader gives what follows it, and refuses an
// input that was another up to there.
func TestSkip(t *testing.T) {
	for _, f := range formats {
		t.Run(string(f), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				all := rapid.SliceOfN(valid, 1, 5).Draw(t, "messages")
				file := write(f, all)
				n := rapid.IntRange(0, len(all)).Draw(t, "how many")
				first := transfer.NewReader(f, bytes.NewReader(file))
				for range n {
					if _, err := first.Read(); err != nil {
						t.Fatalf("Read: %v", err)
					}
				}
				mark := first.Mark()
				if n < len(all) {
					_, err := first.Read()
					if diff := cmp.Diff(mark, first.MarkBefore()); diff != "" && n > 0 || err != nil {
						t.Fatalf("the mark before the next one (-want +got), %v:\n%s", err, diff)
					}
				}
				second := transfer.NewReader(f, bytes.NewReader(file))
				if err := second.Skip(mark); err != nil {
					t.Fatalf("Skip(%+v): %v", mark, err)
				}
				got, _ := read(t, second)
				if diff := cmp.Diff(all[n:], got); diff != "" && n < len(all) {
					t.Fatalf("behind the mark (-want +got):\n%s", diff)
				}
				if mark.Offset == 0 {
					return
				}
				other := bytes.Clone(file)
				at := rapid.Int64Range(0, mark.Offset-1).Draw(t, "byte")
				other[at] ^= 1
				err := transfer.NewReader(f, bytes.NewReader(other)).Skip(mark)
				if err == nil || f == transfer.NDJSON && !errors.Is(err, transfer.ErrChanged) {
					t.Errorf("Skip in a file that has changed: %v", err)
				}
				if err := transfer.NewReader(f, bytes.NewReader(file[:mark.Offset-1])).Skip(mark); !errors.Is(err, transfer.ErrChanged) && f == transfer.NDJSON {
					t.Errorf("Skip in a file that is shorter: %v", err)
				}
			})
		})
	}
}

// defused is a cell that no spreadsheet takes for a formula.
func defused(s string) string {
	if inner := strings.TrimLeft(s, "'"); inner != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(inner)[0]) {
		return "'" + s
	}
	return s
}

// TestOtherReaders: what is written is what others understand by the formats.
func TestOtherReaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := valid.Draw(t, "message")
		var object struct {
			ID     string          `json:"message_id"`
			From   string          `json:"from"`
			Source string          `json:"source"`
			Text   *string         `json:"text"`
			Raw    json.RawMessage `json:"raw"`
		}
		line := transfer.NDJSON.Append(nil, &m)
		if err := json.Unmarshal(line, &object); err != nil {
			t.Fatalf("encoding/json: %v: %q", err, line)
		}
		if object.ID != m.ID || object.From != m.From || object.Source != m.Source || !bytes.Equal(object.Raw, m.Raw) {
			t.Errorf("encoding/json read %q", line)
		}
		if diff := cmp.Diff(m.Text, object.Text); diff != "" {
			t.Errorf("the text: %s", diff)
		}
		ours := bytes.Replace(line, m.Raw, nil, 1) // raw is the provider's
		if n := bytes.Count(line, []byte("\n")); n != 1 || bytes.ContainsAny(ours, "\r\u0085\u2028\u2029") {
			t.Errorf("more than one line: %q", line)
		}

		record, err := csv.NewReader(bytes.NewReader(transfer.CSV.Append(nil, &m))).Read()
		if err != nil {
			t.Fatalf("encoding/csv: %v", err)
		}
		for i, cell := range record {
			if cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(cell)[0]) {
				t.Errorf("cell %d would be a formula: %q", i, cell)
			}
		}
		// encoding/csv turns a CRLF within a cell into LF, by its documentation.
		if got := []string{record[1], record[7]}; !slices.Equal(got, []string{defused(m.From), string(m.Raw)}) {
			t.Errorf("encoding/csv read %q of %q and %q", got, m.From, m.Raw)
		}
	})
}
