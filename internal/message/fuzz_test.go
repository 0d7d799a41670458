package message_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
)

var (
	refPhone   = regexp.MustCompile(`^\+[0-9]{1,15}$`)
	refTS      = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$`)
	refControl = regexp.MustCompile(`\p{Cc}`)
	refPair    = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)
	refHalf    = regexp.MustCompile(`\\u[dD][89a-fA-F]`)
)

// reference reads a body by other means than Decode does: encoding/json alone,
// token by token, and regular expressions. It returns false if the body is not
// strict JSON with an object on top, else the message and the names of the
// members that are wrong.
func reference(body []byte) (m message.Message, wrong []string, strict bool) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return m, nil, false
	}
	var top map[string]any
	if err := json.Unmarshal(body, &top); err != nil || top == nil {
		return m, nil, false
	}
	plain := refPair.ReplaceAllString(strings.ReplaceAll(string(body), `\\`, ``), `.`)
	if refHalf.MatchString(plain) || !uniqueAndShallow(body) {
		return m, nil, false
	}
	str := func(name string, right func(string) bool) string {
		s, ok := top[name].(string)
		if !ok || !right(s) {
			wrong = append(wrong, name)
		}
		return s
	}
	m.Source = "native"
	m.ID = str("message_id", func(s string) bool {
		n := len([]rune(s))
		return n >= 1 && n <= 255 && !refControl.MatchString(s)
	})
	m.From = str("from", refPhone.MatchString)
	m.To = str("to", refPhone.MatchString)
	m.TS = str("ts", func(s string) bool {
		at, err := time.Parse(time.RFC3339Nano, s)
		m.At = at
		return err == nil && at.Year() >= 1 && refTS.MatchString(s)
	})
	if top["text"] != nil {
		s := str("text", func(s string) bool { return len([]rune(s)) <= 4096 && !strings.Contains(s, "\x00") })
		m.Text = &s
	}
	return m, wrong, true
}

// uniqueAndShallow reports whether no object of a valid body has a name twice
// and nothing nests deeper than 64.
func uniqueAndShallow(body []byte) bool {
	type level struct {
		object bool
		value  bool // the next token is the value of a member
		names  map[string]bool
	}
	var stack []level
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return false
		}
		delim, _ := token.(json.Delim)
		if delim == '}' || delim == ']' {
			stack = stack[:len(stack)-1]
			continue
		}
		if len(stack) > 0 {
			if top := &stack[len(stack)-1]; top.object {
				if !top.value {
					name := token.(string)
					if top.names[name] {
						return false
					}
					top.names[name], top.value = true, true
					continue
				}
				top.value = false
			}
		}
		if delim != 0 {
			stack = append(stack, level{object: delim == '{', names: map[string]bool{}})
			if len(stack) > 64 {
				return false
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		object(members()),
		`{ "message_id": "m1", "from": "+919876543210", "to": "+14155550100", "ts": "2025-01-15T10:00:00Z", "text": "Hello" }`,
		`{"message_id":"m2","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:01Z","text":"नमस्ते 👋"}`,
		without("text"),
		with("text", "null"),
		with("text", `"\ud83d\udc4b \\ud800 \" \/ \b\f\n\r\t"`),
		with("text", `"\ud83d"`),
		with("text", `"\udc4b\ud83d\udc4b"`),
		with("text", `"\u0000"`),
		with("text", "\"\xff\""),
		with("text", "\"\xed\xa0\x80\""),
		with("text", quoted(strings.Repeat("👋", 4096))),
		with("text", quoted(strings.Repeat("x", 4097))),
		with("message_id", quoted(strings.Repeat("é", 255))),
		with("message_id", quoted(strings.Repeat("é", 256))),
		with("message_id", `"\u0085"`),
		with("message_id", `12`),
		with("from", `"+0"`),
		with("from", `"+1234567890123456"`),
		with("ts", `"2024-02-29T23:59:59.123456789Z"`),
		with("ts", `"2025-02-29T23:59:60,1Z"`),
		with("ts", `"0000-01-01T00:00:00Z"`),
		and(`,"x":{"a":[1,2.5e-3,true,false,null,{"b":[]}]}`),
		and(`,"message\u005fid":"m2"`),
		and(`,"x":{"a":1,"\u0061":2}`),
		and(`,"Message_ID":1,"\ud800":2`),
		and(`,"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63)),
		and(`,"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64)),
		and(`,"x":` + strings.Repeat(`{"a":`, 63) + "0" + strings.Repeat("}", 63)),
		and(`,"x":{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"q":0}`),
		"\ufeff" + object(members()),
		object(members()) + "{}",
		" \t\r\n" + object(members()) + "\n",
		`{}`, `[]`, `null`, `"x"`, `1`, ``, ` `, `{`, `{"a"`, `{"a":"\u`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, err := message.Decode(body)
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		want, wrong, strict := reference(body)
		if err == nil {
			if !strict || len(wrong) > 0 {
				t.Fatalf("accepted; the reference finds it strict: %v, wrong: %q", strict, wrong)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatal(diff)
			}
			checkLimits(t, got)
			checkAgain(t, got)
			return
		}

		var invalid *message.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Faults) == 0 {
			t.Fatalf("refused with %T: %v", err, err)
		}
		if diff := cmp.Diff(message.Message{}, got); diff != "" {
			t.Fatalf("refused with a message: %s", diff)
		}
		var places []string
		for _, fault := range invalid.Faults {
			if len(fault.Loc) == 0 || fault.Loc[0] != "body" || fault.Msg == "" || fault.Type == "" {
				t.Fatalf("fault %+v", fault)
			}
			if strict {
				place, _ := fault.Loc[1].(string)
				places = append(places, place)
			}
		}
		if _, err := json.Marshal(invalid.Faults); err != nil {
			t.Fatal(err)
		}
		if !strict {
			return
		}
		if !slices.Equal(places, wrong) {
			t.Fatalf("faults at %q, the reference finds %q", places, wrong)
		}
		wantID := want.ID
		if slices.Contains(wrong, "message_id") {
			wantID = ""
		}
		if invalid.MessageID != wantID {
			t.Fatalf("id of the refused message is %q, want %q", invalid.MessageID, wantID)
		}
	})
}

// checkLimits checks what the stores rely on.
func checkLimits(t *testing.T, m message.Message) {
	t.Helper()
	for _, s := range []string{m.ID, m.From, m.To, m.TS} {
		if !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			t.Fatalf("%q is not valid text", s)
		}
	}
	if m.At.Location() != time.UTC || m.At.Year() < 1 || m.At.Year() > 9999 {
		t.Fatalf("instant %v", m.At)
	}
	if m.Text != nil && (!utf8.ValidString(*m.Text) || utf8.RuneCountInString(*m.Text) > message.MaxTextLength) {
		t.Fatalf("text %q", *m.Text)
	}
}

// checkAgain checks that a message that is written as JSON is read as itself.
func checkAgain(t *testing.T, m message.Message) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"message_id": m.ID, "from": m.From, "to": m.To, "ts": m.TS, "text": m.Text})
	if err != nil {
		t.Fatal(err)
	}
	again, err := message.Decode(body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Fatal(diff)
	}
}

func FuzzCursor(f *testing.F) {
	key := []byte("0123456789abcdef0123456789abcdef")
	filter := message.Filter{From: "+1", Since: time.Unix(1, 2), Text: "hello"}
	at := time.Date(2025, 1, 15, 10, 0, 0, 5, time.UTC)
	for _, p := range []message.Position{
		{At: at, ID: "m1", Source: "native"},
		{At: at, ID: "", Source: ""},
		{At: time.Time{}, ID: strings.Repeat("👋", 255), Source: "whatsapp"},
		{At: time.Unix(-1, 999_999_999), ID: "\x00\xff", Source: "\x01"},
	} {
		f.Add(message.EncodeCursor(key, filter, message.Ascending, p), p.At.Unix(), uint32(p.At.Nanosecond()), p.ID, p.Source)
		f.Add(message.EncodeCursor(key, filter, message.Descending, p), p.At.Unix(), uint32(0), p.Source, p.ID)
	}
	for _, s := range []string{"", "A", "AQ", "====", strings.Repeat("A", 39), strings.Repeat("_", 100), "AQ\nAA"} {
		f.Add(s, int64(0), uint32(0), "", "")
	}
	f.Fuzz(func(t *testing.T, cursor string, unix int64, nanos uint32, id, source string) {
		for _, order := range []message.Order{message.Ascending, message.Descending} {
			p, err := message.ParseCursor(key, filter, order, cursor)
			switch {
			case err == nil:
				if again := message.EncodeCursor(key, filter, order, p); again != cursor {
					t.Fatalf("accepted %q, which is not how %+v is written: %q", cursor, p, again)
				}
			case !errors.Is(err, message.ErrBadCursor):
				t.Fatal(err)
			}
		}

		want := message.Position{At: time.Unix(unix, int64(nanos%1_000_000_000)).UTC(), ID: id, Source: source}
		got, err := message.ParseCursor(key, filter, message.Ascending, message.EncodeCursor(key, filter, message.Ascending, want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
