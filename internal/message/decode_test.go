package message_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/message"
)

// member is one member of a body: its name and its value as JSON.
type member struct{ name, raw string }

// members are those of the contract's own example.
func members() []member {
	return []member{
		{"message_id", `"m1"`},
		{"from", `"+919876543210"`},
		{"to", `"+14155550100"`},
		{"ts", `"2025-01-15T10:00:00Z"`},
		{"text", `"Hello"`},
	}
}

func object(ms []member) string {
	var b strings.Builder
	for i, m := range ms {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%s":%s`, m.name, m.raw)
	}
	return "{" + b.String() + "}"
}

// with is the example with another value for one member, which may be new.
func with(name, raw string) string {
	ms := members()
	for i := range ms {
		if ms[i].name == name {
			ms[i].raw = raw
			return object(ms)
		}
	}
	return object(append(ms, member{name, raw}))
}

// and is the example with something behind its last member.
func and(tail string) string {
	return strings.TrimSuffix(object(members()), "}") + tail + "}"
}

// without is the example less one member.
func without(name string) string {
	var ms []member
	for _, m := range members() {
		if m.name != name {
			ms = append(ms, m)
		}
	}
	return object(ms)
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func ptr(s string) *string { return &s }

// example is what the contract's own example decodes to.
func example() message.Message {
	return message.Message{
		Source: "native", ID: "m1", From: "+919876543210", To: "+14155550100", TS: "2025-01-15T10:00:00Z",
		At: time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC), Text: ptr("Hello"),
	}
}

// faults returns the faults of a body as "place: type", the place without the
// leading "body"; a place that is a number reads "#".
func faults(t *testing.T, body string) []string {
	t.Helper()
	m, err := message.Decode([]byte(body))
	if err == nil {
		t.Errorf("accepted %.200q", body)
		return nil
	}
	if diff := cmp.Diff(message.Message{}, m); diff != "" {
		t.Errorf("a refused body has a message: %s", diff)
	}
	var invalid *message.InvalidError
	if !errors.As(err, &invalid) {
		t.Errorf("error is %T, want *message.InvalidError", err)
		return nil
	}
	var got []string
	for _, f := range invalid.Faults {
		if len(f.Loc) == 0 || f.Loc[0] != "body" || f.Msg == "" {
			t.Errorf("fault %+v is not about the body or says nothing", f)
			continue
		}
		var place []string
		for _, l := range f.Loc[1:] {
			switch l := l.(type) {
			case string:
				place = append(place, l)
			case int:
				place = append(place, "#")
			default:
				t.Errorf("a place is a %T, want string or int", l)
			}
		}
		got = append(got, strings.Join(place, ".")+": "+f.Type)
	}
	return got
}

func TestDecodeAccepts(t *testing.T) {
	id := func(s string) message.Message { m := example(); m.ID = s; return m }
	from := func(s string) message.Message { m := example(); m.From = s; return m }
	to := func(s string) message.Message { m := example(); m.To = s; return m }
	text := func(s *string) message.Message { m := example(); m.Text = s; return m }
	for _, c := range []struct {
		name, body string
		want       message.Message
	}{
		{"example", object(members()), example()},
		{"example with spaces", `{ "message_id": "m1", "from": "+919876543210", "to": "+14155550100", "ts": "2025-01-15T10:00:00Z", "text": "Hello" }`, example()},
		{"white space all around", " \t\r\n" + object(members()) + " \t\r\n", example()},
		{"other order of members", `{"text":"Hello","ts":"2025-01-15T10:00:00Z","to":"+14155550100","from":"+919876543210","message_id":"m1"}`, example()},
		{"escaped member name", strings.Replace(object(members()), "message_id", `message\u005fid`, 1), example()},

		{"id of 1", with("message_id", `"x"`), id("x")},
		{"id of 255", with("message_id", quoted(strings.Repeat("x", 255))), id(strings.Repeat("x", 255))},
		{"id of 255 two-byte", with("message_id", quoted(strings.Repeat("é", 255))), id(strings.Repeat("é", 255))},
		{"id of 255 astral", with("message_id", quoted(strings.Repeat("👋", 255))), id(strings.Repeat("👋", 255))},
		{"id of 255 escaped pairs", with("message_id", `"`+strings.Repeat(`\ud83d\udc4b`, 255)+`"`), id(strings.Repeat("👋", 255))},
		{"id is not trimmed", with("message_id", `"  m1\u00a0 "`), id("  m1\u00a0 ")},
		{"id is not folded", with("message_id", `"ÉMı"`), id("ÉMı")},
		{"id is not normalised", with("message_id", `"e\u0301 \u2126"`), id("e\u0301 \u2126")},
		{"id with slash and quote", with("message_id", `"a/b\\c\"d"`), id(`a/b\c"d`)},
		{"id with format characters", with("message_id", `"\u200b\u2028\u2029\ufeff\u202e"`), id("\u200b\u2028\u2029\ufeff\u202e")},
		{"id with noncharacters", with("message_id", `"\uffff\ufffe\ufffd"`), id("\uffff\ufffe\ufffd")},

		{"from of 1 digit", with("from", `"+0"`), from("+0")},
		{"from of 15 digits", with("from", `"+123456789012345"`), from("+123456789012345")},
		{"from with leading 0", with("from", `"+0123"`), from("+0123")},
		{"to of 1 digit", with("to", `"+9"`), to("+9")},
		{"to of 15 digits", with("to", `"+012345678901234"`), to("+012345678901234")},
		{"same sender and recipient", with("to", `"+919876543210"`), to("+919876543210")},

		{"text absent", without("text"), text(nil)},
		{"text null", with("text", "null"), text(nil)},
		{"text empty", with("text", `""`), text(ptr(""))},
		{"text null as a word", with("text", `"null"`), text(ptr("null"))},
		{"text of 4096", with("text", quoted(strings.Repeat("x", 4096))), text(ptr(strings.Repeat("x", 4096)))},
		{"text of 4096 three-byte", with("text", quoted(strings.Repeat("न", 4096))), text(ptr(strings.Repeat("न", 4096)))},
		{"text of 4096 astral", with("text", quoted(strings.Repeat("👋", 4096))), text(ptr(strings.Repeat("👋", 4096)))},
		{"text with controls", with("text", `"\u0001\n\r\t\u001b\u007f\u0085"`), text(ptr("\x01\n\r\t\x1b\x7f\u0085"))},
		{"text with raw DEL", with("text", "\"\x7f\""), text(ptr("\x7f"))},
		{"text is not trimmed", with("text", `" \u3000"`), text(ptr(" \u3000"))},
		{"surrogate pair", with("text", `"\ud83d\udc4b"`), text(ptr("👋"))},
		{"surrogate pair upper case", with("text", `"\uD83D\uDC4B"`), text(ptr("👋"))},
		{"first and last pair", with("text", `"\ud800\udc00\udbff\udfff"`), text(ptr("\U00010000\U0010ffff"))},
		{"beside the surrogates", with("text", `"\ud7ff\ue000"`), text(ptr("\ud7ff\ue000"))},
		{"escaped backslash before a u", with("text", `"\\ud800"`), text(ptr(`\ud800`))},

		{"unknown members", and(`,"a":1,"b":null,"c":[true,{"message_id":2}],"":{}`), example()},
		{"foreign case is unknown", and(`,"Message_ID":1,"FROM":2,"To":[],"tS":null,"TEXT":"other"`), example()},
		{"known names deeper", and(`,"x":{"message_id":"m2","from":"","text":5}`), example()},
		{"one name in several objects", and(`,"x":[{"a":1},{"a":1},{"a":{"a":1}}]`), example()},
		{"names that differ in form", and(`,"\u00e9":1,"e\u0301":2`), example()},
		{"numbers of any form", and(`,"x":[-0,1e400,0.1E-9,123456789012345678901234567890]`), example()},
		{"white space within", "{\n\t\"message_id\" : \"m1\" ,\"from\":\"+919876543210\",\r\n\"to\":\"+14155550100\", \"ts\" :\"2025-01-15T10:00:00Z\" , \"text\"\t:\"Hello\" , \"x\" : [ 1 , 2 , [ ] , { } ] }", example()},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := message.Decode([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	const (
		broken    = "#: json_invalid"
		notObject = ": model_attributes_type"
	)
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"id missing", without("message_id"), []string{"message_id: missing"}},
		{"from missing", without("from"), []string{"from: missing"}},
		{"to missing", without("to"), []string{"to: missing"}},
		{"ts missing", without("ts"), []string{"ts: missing"}},
		{"everything missing", `{}`, []string{"message_id: missing", "from: missing", "to: missing", "ts: missing"}},

		{"id empty", with("message_id", `""`), []string{"message_id: string_too_short"}},
		{"id of 256", with("message_id", quoted(strings.Repeat("x", 256))), []string{"message_id: string_too_long"}},
		{"id of 256 two-byte", with("message_id", quoted(strings.Repeat("é", 256))), []string{"message_id: string_too_long"}},
		{"id of 256 astral", with("message_id", quoted(strings.Repeat("👋", 256))), []string{"message_id: string_too_long"}},
		{"id of 128 composed pairs", with("message_id", quoted(strings.Repeat("e\u0301", 128))), []string{"message_id: string_too_long"}},

		{"from empty", with("from", `""`), []string{"from: value_error"}},
		{"from bare plus", with("from", `"+"`), []string{"from: value_error"}},
		{"from without plus", with("from", `"919876543210"`), []string{"from: value_error"}},
		{"from of 16 digits", with("from", `"+1234567890123456"`), []string{"from: value_error"}},
		{"from two pluses", with("from", `"++1"`), []string{"from: value_error"}},
		{"from plus inside", with("from", `"+1+2"`), []string{"from: value_error"}},
		{"from minus", with("from", `"-12"`), []string{"from: value_error"}},
		{"from with space", with("from", `"+1 2"`), []string{"from: value_error"}},
		{"from with leading space", with("from", `" +12"`), []string{"from: value_error"}},
		{"from with space for plus", with("from", `" 12"`), []string{"from: value_error"}},
		{"from with newline", with("from", `"+12\n"`), []string{"from: value_error"}},
		{"from with NUL", with("from", `"+12\u0000"`), []string{"from: value_error"}},
		{"from with letter", with("from", `"+12a"`), []string{"from: value_error"}},
		{"from below digits", with("from", `"+12/"`), []string{"from: value_error"}},
		{"from above digits", with("from", `"+12:"`), []string{"from: value_error"}},
		{"from Arabic digits", with("from", `"+١٢٣"`), []string{"from: value_error"}},
		{"from full-width digits", with("from", `"+１２"`), []string{"from: value_error"}},
		{"from full-width plus", with("from", `"＋12"`), []string{"from: value_error"}},
		{"to without plus", with("to", `"14155550100"`), []string{"to: value_error"}},
		{"to of 16 digits", with("to", `"+1234567890123456"`), []string{"to: value_error"}},
		{"to Devanagari digits", with("to", `"+१२"`), []string{"to: value_error"}},

		{"ts empty", with("ts", `""`), []string{"ts: value_error"}},
		{"ts no date", with("ts", `"2025-02-30T10:00:00Z"`), []string{"ts: value_error"}},
		{"ts with offset", with("ts", `"2025-01-15T10:00:00+00:00"`), []string{"ts: value_error"}},

		{"text of 4097", with("text", quoted(strings.Repeat("x", 4097))), []string{"text: string_too_long"}},
		{"text of 4097 three-byte", with("text", quoted(strings.Repeat("न", 4097))), []string{"text: string_too_long"}},
		{"text of 4097 astral", with("text", quoted(strings.Repeat("👋", 4097))), []string{"text: string_too_long"}},
		{"text with NUL", with("text", `"a\u0000b"`), []string{"text: value_error"}},

		{"all faults of all members", `{"message_id":1,"from":"x","text":5,"ts":"now"}`,
			[]string{"message_id: string_type", "from: value_error", "to: missing", "ts: value_error", "text: string_type"}},
		{"faults of form and of content", `{"message_id":"","message_id":"b","from":"x","to":"+1","ts":"2025-01-15T10:00:00Z","text":"\ud800","a":1,"a":2}`,
			[]string{"message_id: json_invalid", broken, broken, "message_id: string_too_short", "from: value_error"}},

		{"id twice", and(`,"message_id":"m2"`), []string{"message_id: json_invalid"}},
		{"id twice with one value", and(`,"message_id":"m1"`), []string{"message_id: json_invalid"}},
		{"id thrice", and(`,"message_id":"m2","message_id":"m3"`), []string{"message_id: json_invalid", "message_id: json_invalid"}},
		{"text twice", and(`,"text":null`), []string{"text: json_invalid"}},
		{"id twice by an escape", and(`,"message\u005fid":"m2"`), []string{"message_id: json_invalid"}},
		{"id twice by escapes only", and(`,"\u006dessage_id":"m2"`), []string{"message_id: json_invalid"}},
		{"unknown twice", and(`,"a":1,"a":1`), []string{broken}},
		{"unknown twice by an escape", and(`,"a":1,"\u0061":1`), []string{broken}},
		{"unknown twice by a pair", and(`,"👋":1,"\ud83d\udc4b":1`), []string{broken}},
		{"empty name twice", and(`,"":1,"":1`), []string{broken}},
		{"twice in a nested object", and(`,"x":{"a":1,"a":2}`), []string{broken}},
		{"twice by an escape in a nested object", and(`,"x":[[{"y":{"a":1,"\u0061":2}}]]`), []string{broken}},
		{"known name twice in a nested object", and(`,"x":{"text":1,"text":2}`), []string{broken}},
		{"twice in two objects", and(`,"x":{"a":1,"a":2},"y":[{"b":1,"b":2}]`), []string{broken, broken}},
		{"the 17th name twice", and(`,"x":{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"q":0}`), []string{broken}},
		{"the 1st of 18 names twice", and(`,"x":{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"r":0,"a":0}`), []string{broken}},

		{"lone high surrogate", with("text", `"\ud83d"`), []string{broken}},
		{"lone low surrogate", with("text", `"\udc4b"`), []string{broken}},
		{"lone surrogate upper case", with("text", `"\uD83D"`), []string{broken}},
		{"high before a letter", with("text", `"\ud83dx"`), []string{broken}},
		{"high before another escape", with("text", `"\ud83d\n"`), []string{broken}},
		{"high before a plain escape", with("text", `"\ud83d\u0041"`), []string{broken}},
		{"high before a high", with("text", `"\ud83d\ud83d"`), []string{broken, broken}},
		{"high before a pair", with("text", `"\ud83d\ud83d\udc4b"`), []string{broken}},
		{"low before a high", with("text", `"\udc4b\ud83d"`), []string{broken, broken}},
		{"low after a pair", with("text", `"\ud83d\udc4b\udc4b"`), []string{broken}},
		{"lone surrogate after a backslash", with("text", `"\\\ud800"`), []string{broken}},
		{"pair cut by a backslash", with("text", `"\ud83d\\udc4b"`), []string{broken}},
		{"lone surrogate in the id", with("message_id", `"m\ud800"`), []string{broken}},
		{"lone surrogate in a name", and(`,"\ud800":1`), []string{broken}},
		{"lone surrogate in an unknown value", and(`,"x":"\udfff"`), []string{broken}},
		{"lone surrogate nested", and(`,"x":[{"y":["\ud800"]}]`), []string{broken}},
		{"lone surrogate in a nested name", and(`,"x":[{"\udc00":1}]`), []string{broken}},

		{"array", `[` + object(members()) + `]`, []string{notObject}},
		{"string", `"x"`, []string{notObject}},
		{"number", `1`, []string{notObject}},
		{"number among spaces", ` 1 `, []string{notObject}},
		{"null", `null`, []string{notObject}},
		{"true", `true`, []string{notObject}},

		{"empty body", "", []string{broken}},
		{"white space only", " \n", []string{broken}},
		{"BOM", "\ufeff" + object(members()), []string{broken}},
		{"BOM only", "\ufeff", []string{broken}},
		{"BOM behind", object(members()) + "\ufeff", []string{broken}},
		{"UTF-16", "{\x00\"\x00a\x00\"\x00:\x001\x00}\x00", []string{broken}},
		{"second object", object(members()) + object(members()), []string{broken}},
		{"second object on its own line", object(members()) + "\n" + object(members()), []string{broken}},
		{"word behind", object(members()) + " x", []string{broken}},
		{"comma behind", object(members()) + ",", []string{broken}},
		{"brace behind", object(members()) + "}", []string{broken}},
		{"NUL behind", object(members()) + "\x00", []string{broken}},
		{"form feed around", "\f" + object(members()), []string{broken}},
		{"no-break space around", "\u00a0" + object(members()), []string{broken}},
		{"cut short", strings.TrimSuffix(object(members()), "}"), []string{broken}},
		{"cut within a string", `{"message_id":"m`, []string{broken}},
		{"cut within an escape", `{"message_id":"\u00`, []string{broken}},
		{"comma before the end", and(","), []string{broken}},
		{"no comma", `{"a":1 "b":2}`, []string{broken}},
		{"no colon", `{"a" 1}`, []string{broken}},
		{"name without quotes", `{message_id:"m1"}`, []string{broken}},
		{"single quotes", `{'message_id':'m1'}`, []string{broken}},
		{"comment", and(`/* */`), []string{broken}},
		{"NaN", with("x", "NaN"), []string{broken}},
		{"Infinity", with("x", "-Infinity"), []string{broken}},
		{"leading zero", with("x", "01"), []string{broken}},
		{"plus sign", with("x", "+1"), []string{broken}},
		{"hexadecimal", with("x", "0x1"), []string{broken}},
		{"bare fraction", with("x", ".5"), []string{broken}},
		{"word in capitals", with("text", "NULL"), []string{broken}},
		{"raw newline in a string", with("text", "\"a\nb\""), []string{broken}},
		{"raw NUL in a string", with("text", "\"a\x00b\""), []string{broken}},
		{"unknown escape", with("text", `"\x41"`), []string{broken}},
		{"short escape", with("text", `"\u41"`), []string{broken}},

		{"invalid UTF-8 in a value", with("text", "\"a\xffb\""), []string{broken}},
		{"invalid UTF-8 in the id", with("message_id", "\"\xc3\""), []string{broken}},
		{"invalid UTF-8 in a name", and(",\"\xff\":1"), []string{broken}},
		{"invalid UTF-8 in an unknown value", and(",\"x\":[\"\x80\"]"), []string{broken}},
		{"invalid UTF-8 behind", object(members()) + "\xff", []string{broken}},
		{"overlong UTF-8", with("text", "\"\xc0\xaf\""), []string{broken}},
		{"surrogate in UTF-8", with("text", "\"\xed\xa0\xbd\xed\xb1\x8b\""), []string{broken}},
		{"beyond U+10FFFF", with("text", "\"\xf4\x90\x80\x80\""), []string{broken}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, faults(t, c.body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Control characters of an identity would read as another one in a log or a
// terminal; each single one is refused, and nothing beside them.
func TestDecodeIDControlCharacters(t *testing.T) {
	for r := rune(0); r <= 0x100; r++ {
		escaped := with("message_id", fmt.Sprintf(`"a\u%04xb"`, r))
		if !unicode.Is(unicode.Cc, r) {
			if _, err := message.Decode([]byte(escaped)); err != nil {
				t.Errorf("%U refused: %v", r, err)
			}
			continue
		}
		bodies := []string{escaped}
		if r >= 0x7f { // JSON itself forbids the lower ones unescaped
			bodies = append(bodies, with("message_id", `"a`+string(r)+`b"`))
		}
		for _, body := range bodies {
			if diff := cmp.Diff([]string{"message_id: value_error"}, faults(t, body)); diff != "" {
				t.Errorf("%U in %q: %s", r, body, diff)
			}
		}
	}
}

// Nothing is coerced: a value of another kind is a fault in every member.
func TestDecodeCoercesNothing(t *testing.T) {
	for _, name := range []string{"message_id", "from", "to", "ts", "text"} {
		for _, raw := range []string{`0`, `12`, `-1`, `1.5`, `1e3`, `true`, `false`, `{}`, `[]`, `["x"]`, `{"x":"y"}`, `null`} {
			if name == "text" && raw == "null" {
				continue // the one value beside a string that a member may have
			}
			if diff := cmp.Diff([]string{name + ": string_type"}, faults(t, with(name, raw))); diff != "" {
				t.Errorf("%s %s: %s", name, raw, diff)
			}
		}
	}
}

// A member in a foreign case must not stand in for the real one, as it would
// in encoding/json.
func TestDecodeForeignCaseIsMissing(t *testing.T) {
	for _, c := range []struct{ name, foreign string }{
		{"message_id", "MESSAGE_ID"}, {"message_id", "Message_Id"}, {"message_id", "meſſage_id"},
		{"from", "From"}, {"to", "TO"}, {"ts", "Ts"}, {"ts", "tſ"},
	} {
		body := strings.Replace(object(members()), `"`+c.name+`"`, `"`+c.foreign+`"`, 1)
		if diff := cmp.Diff([]string{c.name + ": missing"}, faults(t, body)); diff != "" {
			t.Errorf("%s: %s", c.foreign, diff)
		}
	}
	m, err := message.Decode([]byte(strings.Replace(object(members()), `"text"`, `"Text"`, 1)))
	if err != nil || m.Text != nil {
		t.Errorf("Text: got %+v, %v; want a message without a text", m, err)
	}
}

func TestDecodeDepth(t *testing.T) {
	nest := func(levels int, open, inner, closing string) string {
		return strings.Repeat(open, levels) + inner + strings.Repeat(closing, levels)
	}
	for _, c := range []struct {
		name  string
		value func(levels int) string
	}{
		{"arrays", func(n int) string { return nest(n, "[", "", "]") }},
		{"arrays that hold", func(n int) string { return nest(n, "[", "0", ",0]") }},
		{"objects", func(n int) string { return nest(n-1, `{"a":`, `{}`, "}") }},
		{"objects that hold", func(n int) string { return nest(n, `{"a":`, `0`, "}") }},
		{"mixed", func(n int) string {
			inner := "0"
			if n%2 == 1 {
				inner = "[0]"
			}
			return nest(n/2, `{"a":[`, inner, "]}")
		}},
		{"behind neighbours", func(n int) string { return nest(n-1, `[[],{},`, "[]", "]") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The message itself is the first level.
			if _, err := message.Decode([]byte(with("x", c.value(63)))); err != nil {
				t.Errorf("64 levels: %v", err)
			}
			if diff := cmp.Diff([]string{"#: json_invalid"}, faults(t, with("x", c.value(64)))); diff != "" {
				t.Errorf("65 levels: %s", diff)
			}
		})
	}
	t.Run("neighbours do not add up", func(t *testing.T) {
		deep := nest(63, "[", "", "]")
		if _, err := message.Decode([]byte(with("x", "["+strings.Repeat(deep[1:len(deep)-1]+",", 100)+"0]"))); err != nil {
			t.Error(err)
		}
	})
	t.Run("in a known member", func(t *testing.T) {
		if diff := cmp.Diff([]string{"text: string_type"}, faults(t, with("text", nest(63, "[", "", "]")))); diff != "" {
			t.Errorf("64 levels: %s", diff)
		}
		if diff := cmp.Diff([]string{"#: json_invalid"}, faults(t, with("text", nest(64, "[", "", "]")))); diff != "" {
			t.Errorf("65 levels: %s", diff)
		}
	})
	t.Run("half a million levels", func(t *testing.T) {
		for _, open := range []string{"[", `{"a":`} {
			if diff := cmp.Diff([]string{"#: json_invalid"}, faults(t, with("x", strings.Repeat(open, 500_000)))); diff != "" {
				t.Errorf("cut short: %s", diff)
			}
		}
		if diff := cmp.Diff([]string{"#: json_invalid"}, faults(t, with("x", nest(500_000, "[", "", "]")))); diff != "" {
			t.Error(diff)
		}
	})
}

// A hostile body must not cost quadratic time. The measure is encoding/json on
// the same body, so that a slow or busy machine is no failure: one look-up a
// name takes about as long, a comparison with all names before it hundreds of
// times as long.
func TestDecodeManyMembers(t *testing.T) {
	const many = 100_000
	const factor = 40
	var b strings.Builder
	for i := range many {
		fmt.Fprintf(&b, `,"a name that begins like all others %06d":0`, i)
	}
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"each once", and(b.String()), nil},
		{"nested, the last twice", and(`,"x":{"y":0` + b.String() + `,"a name that begins like all others 099999":0}`), []string{"#: json_invalid"}},
		{"the first twice", and(b.String() + `,"a name that begins like all others 000000":0`), []string{"#: json_invalid"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			var reference map[string]any
			if err := json.Unmarshal([]byte(c.body), &reference); err != nil {
				t.Fatal(err)
			}
			limit := factor * time.Since(start)

			start = time.Now()
			_, err := message.Decode([]byte(c.body))
			took := time.Since(start)
			if (err != nil) != (c.want != nil) || err != nil && !cmp.Equal(c.want, faults(t, c.body)) {
				t.Errorf("got %v, want faults %q", err, c.want)
			}
			if took > limit {
				t.Errorf("took %v, more than %d times as long as encoding/json", took, factor)
			}
		})
	}
}

// A repeat is found wherever it stands and however many names the object has:
// few are kept otherwise than many.
func TestDecodeRepeatAnywhere(t *testing.T) {
	for count := 1; count <= 40; count++ {
		var names strings.Builder
		for i := range count {
			fmt.Fprintf(&names, `"n%d":0,`, i)
		}
		// The empty name is one like any other, and not the mark of a free place.
		for _, last := range []string{`"":0`, `"other":0`} {
			if _, err := message.Decode([]byte(with("x", "{"+names.String()+last+"}"))); err != nil {
				t.Errorf("%d names and %s: %v", count, last, err)
			}
		}
		for again := range count {
			repeat := fmt.Sprintf(`"n%d":0`, again)
			for _, body := range []string{
				with("x", "{"+names.String()+repeat+"}"),
				and("," + names.String() + repeat),
			} {
				if got := faults(t, body); !cmp.Equal(got, []string{"#: json_invalid"}) {
					t.Errorf("name %d of %d twice: %q", again, count, got)
				}
			}
		}
	}
}

// The place of a broken body is the byte offset, as FastAPI gives it, and the
// words say what is the matter there.
func TestDecodeOffset(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       int
		says       string
	}{
		{"empty", "", 0, "empty"},
		{"BOM", "\ufeff{}", 0, "byte order mark"},
		{"first byte", "x", 0, "unexpected character"},
		{"word behind", "{} x", 3, "unexpected character"},
		{"cut short", `{"a":1`, 6, "unexpected end"},
		{"white space only", " \n", 2, "unexpected end"},
		{"inside", `{"a":@}`, 5, "unexpected character"},
		{"invalid UTF-8", "{\"é\":\"\xff\"}", 7, "invalid UTF-8"},
		{"lone surrogate", `{"a":"b\ud800"}`, 7, "surrogate"},
		{"too deep", strings.Repeat("[", 65), 65, "unexpected end"}, // what is cut short is no JSON at any depth
		{"65th level", `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + "}", 68, "64 levels"},
		{"unknown member twice", `{"a":1,"a":2}`, 10, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := message.Decode([]byte(c.body))
			var invalid *message.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error is %v", err)
			}
			if diff := cmp.Diff([]any{"body", c.want}, invalid.Faults[0].Loc); diff != "" {
				t.Error(diff)
			}
			if msg := invalid.Faults[0].Msg; !strings.Contains(msg, c.says) {
				t.Errorf("it says %q, want %q", msg, c.says)
			}
		})
	}
}

// The answer to a broken body goes to logs and to whoever sent it: it names
// places and never gives back what stands there.
func TestDecodeEchoesNothing(t *testing.T) {
	const secret = "hunter2"
	for _, c := range []struct{ name, body string }{
		{"control in id", with("message_id", `"hunter2\u0000"`)},
		{"long id", with("message_id", quoted(strings.Repeat(secret, 100)))},
		{"id of another kind", with("message_id", `["hunter2"]`)},
		{"from", with("from", `"hunter2"`)},
		{"to", with("to", `"hunter2"`)},
		{"ts", with("ts", `"hunter2"`)},
		{"long text", with("text", quoted(strings.Repeat(secret, 1000)))},
		{"text with NUL", with("text", `"hunter2\u0000"`)},
		{"text of another kind", with("text", `{"hunter2":"hunter2"}`)},
		{"unknown name twice", and(`,"hunter2":1,"hunter2":2`)},
		{"nested name twice", and(`,"x":{"hunter2":1,"hunter2":2}`)},
		{"value of a name twice", and(`,"text":"hunter2"`)},
		{"lone surrogate", with("text", `"hunter2\ud800hunter2"`)},
		{"lone surrogate in a name", and(`,"hunter2\ud800":"hunter2"`)},
		{"invalid UTF-8", "\"hunter2\xffhunter2\""},
		{"not JSON", secret},
		{"not JSON behind", object(members()) + secret},
		{"cut short", `{"hunter2":"hunter2`},
		{"bad escape", `{"hunter2":"\hunter2"}`},
		{"not an object", `"hunter2"`},
		{"too deep", with("x", strings.Repeat(`{"hunter2":`, 100)+"0"+strings.Repeat("}", 100))},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := message.Decode([]byte(c.body))
			var invalid *message.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error is %v", err)
			}
			answer, jsonErr := json.Marshal(invalid.Faults)
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			if strings.Contains(string(answer), secret) || strings.Contains(err.Error(), secret) {
				t.Errorf("echoed in %s or %q", answer, err)
			}
		})
	}
	// encoding/json quotes the single character at which it stops.
	for _, char := range []string{"@", "☃", "\x01"} {
		_, err := message.Decode([]byte(`{"a":` + char + `}`))
		var invalid *message.InvalidError
		if !errors.As(err, &invalid) {
			t.Fatalf("%q: error is %v", char, err)
		}
		if all := fmt.Sprint(invalid.Faults, err); strings.Contains(all, char) || strings.Contains(all, fmt.Sprintf("%q", []rune(char)[0])) {
			t.Errorf("%q echoed in %s", char, all)
		}
	}
}

// The server reads the next body into the same buffer.
func TestDecodeKeepsNoBuffer(t *testing.T) {
	body := []byte(object(members()))
	m, err := message.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	for i := range body {
		body[i] = '#'
	}
	if diff := cmp.Diff(example(), m); diff != "" {
		t.Error(diff)
	}
}

func TestInvalidErrorMessageID(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"another member is wrong", with("from", `"x"`), "m1"},
		{"all others are wrong", `{"message_id":"m1"}`, "m1"},
		{"text is wrong", with("text", `1`), "m1"},
		{"id is missing", without("message_id"), ""},
		{"id is empty", with("message_id", `""`), ""},
		{"id is too long", with("message_id", quoted(strings.Repeat("x", 256))), ""},
		{"id has a control character", with("message_id", `"a\u001b[2J"`), ""},
		{"id is of another kind", with("message_id", `1`), ""},
		{"id has a lone surrogate", with("message_id", `"a\ud800"`), ""},
		{"id twice", and(`,"message_id":"m2"`), ""},
		{"not JSON", object(members()) + "x", ""},
		{"not an object", `["m1"]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := message.Decode([]byte(c.body))
			var invalid *message.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error is %v", err)
			}
			if invalid.MessageID != c.want {
				t.Errorf("got %q, want %q", invalid.MessageID, c.want)
			}
		})
	}
}

// The faults are the detail of a 422, in FastAPI's shape.
func TestFaultJSON(t *testing.T) {
	_, err := message.Decode([]byte(`{"message_id":"m1","to":7,"ts":"","text":"\ud800"}`))
	var invalid *message.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("error is %v", err)
	}
	got, err := json.Marshal(invalid.Faults)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[` +
		`{"loc":["body",42],"msg":"JSON decode error: half of a surrogate pair stands alone","type":"json_invalid"},` +
		`{"loc":["body","from"],"msg":"Field required","type":"missing"},` +
		`{"loc":["body","to"],"msg":"Input should be a valid string","type":"string_type"},` +
		`{"loc":["body","ts"],"msg":"Value error, must be a UTC time YYYY-MM-DDTHH:MM:SSZ with at most nine digits of a fraction, and a real date","type":"value_error"}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestInvalidErrorText(t *testing.T) {
	for _, c := range []struct {
		name, body, want string
	}{
		{"one", without("from"), "invalid body.from: missing"},
		{"several", `{"message_id":""}`, "invalid body.message_id: string_too_short; body.from: missing; body.to: missing; body.ts: missing"},
		{"a position", "{", "invalid body.#: json_invalid"},
		{"the body as a whole", "[]", "invalid body: model_attributes_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := message.Decode([]byte(c.body))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %q, want %q", err, c.want)
			}
		})
	}
}

// The checks of members are exported for the providers and for import.
func TestCheckID(t *testing.T) {
	for _, c := range []struct{ name, id, want string }{
		{"empty", "", "string_too_short"},
		{"one", "x", ""},
		{"255 astral", strings.Repeat("👋", 255), ""},
		{"256", strings.Repeat("x", 256), "string_too_long"},
		{"newline", "a\nb", "value_error"},
		{"C1", "a\u009bb", "value_error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if kind, msg := message.CheckID(c.id); kind != c.want || (kind == "") != (msg == "") {
				t.Errorf("got %q, %q; want %q", kind, msg, c.want)
			}
		})
	}
}

func TestCheckText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"4096 astral", strings.Repeat("👋", 4096), ""},
		{"4097", strings.Repeat("x", 4097), "string_too_long"},
		{"NUL", "a\x00", "value_error"},
		{"newline", "a\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if kind, msg := message.CheckText(c.text); kind != c.want || (kind == "") != (msg == "") {
				t.Errorf("got %q, %q; want %q", kind, msg, c.want)
			}
		})
	}
}

// What any other program writes as JSON is read back as it was, whichever
// characters it chose to escape.
func TestDecodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		char := rapid.Rune().Filter(func(r rune) bool { return !unicode.Is(unicode.Cc, r) && !unicode.Is(unicode.Cs, r) })
		want := example()
		want.ID = rapid.StringOfN(char, 1, message.MaxIDLength, -1).Draw(t, "id")
		want.From = rapid.StringMatching(`\+[0-9]{1,15}`).Draw(t, "from")
		want.To = rapid.StringMatching(`\+[0-9]{1,15}`).Draw(t, "to")
		text := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return r != 0 && !unicode.Is(unicode.Cs, r) }), 0, 50, -1)
		want.Text = rapid.Ptr(text, true).Draw(t, "text")
		escape := rapid.SliceOfN(rapid.Bool(), 1, 7).Draw(t, "escape")

		str := func(s string) string {
			var b strings.Builder
			for i, r := range []rune(s) {
				switch {
				case !escape[i%len(escape)] && r >= ' ' && r != '"' && r != '\\':
					b.WriteRune(r)
				case r > 0xffff:
					r -= 0x10000
					fmt.Fprintf(&b, `\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
				default:
					fmt.Fprintf(&b, `\u%04x`, r)
				}
			}
			return `"` + b.String() + `"`
		}
		ms := []member{{"message_id", str(want.ID)}, {"from", str(want.From)}, {"to", str(want.To)}, {"ts", str(want.TS)}}
		if want.Text != nil {
			ms = append(ms, member{"text", str(*want.Text)})
		}
		got, err := message.Decode([]byte(object(rapid.Permutation(ms).Draw(t, "order"))))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A provider's body has to be an object; Decode asks for more.
func TestCheckJSON(t *testing.T) {
	for _, body := range []string{
		`{}`, " {\"a\":1}\n", `{"a":1,"a":2}`, `{"a":"\ud800"}`, `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		if err := message.CheckJSON([]byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{``, ` `, `[]`, `null`, `{}{}`, `{"a":}`, "{\"a\":\"\xff\"}", "\xef\xbb\xbf{}"} {
		err := message.CheckJSON([]byte(body))
		var invalid, decoded *message.InvalidError
		_, decodeErr := message.Decode([]byte(body))
		if !errors.As(err, &invalid) || !errors.As(decodeErr, &decoded) || !cmp.Equal(invalid, decoded) {
			t.Errorf("%q: got %v, Decode says %v", body, err, decodeErr)
		}
	}
}
