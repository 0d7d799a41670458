package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDecoding(t *testing.T) {
	t.Parallel()
	s := start(t)
	const rest = `"from":"+1","to":"+2","ts":"2025-01-15T10:00:00Z"`
	nested := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	refused := map[string]struct {
		body   string
		faults []string
	}{
		"empty":                       {"", []string{"body.0:json_invalid"}},
		"white space":                 {" \n", []string{"body.2:json_invalid"}},
		"not JSON":                    {"hello", []string{"body.0:json_invalid"}},
		"single quotes":               {`{'a':1}`, []string{"body.1:json_invalid"}},
		"cut":                         {hello[:len(hello)-1], []string{fmt.Sprintf("body.%d:json_invalid", len(hello)-1)}},
		"trailing comma":              {`{"a":1,}`, []string{"body.7:json_invalid"}},
		"comment":                     {`{}//`, []string{"body.2:json_invalid"}},
		"something after it":          {hello + `x`, []string{fmt.Sprintf("body.%d:json_invalid", len(hello))}},
		"two objects":                 {hello + hello, []string{fmt.Sprintf("body.%d:json_invalid", len(hello))}},
		"byte order mark":             {"\ufeff" + hello, []string{"body.0:json_invalid"}},
		"invalid UTF-8":               {`{"message_id":"` + "\xff" + `",` + rest + `}`, []string{"body.15:json_invalid"}},
		"overlong UTF-8":              {`{"message_id":"` + "\xc0\xaf" + `",` + rest + `}`, []string{"body.15:json_invalid"}},
		"UTF-8 of a surrogate":        {`{"message_id":"` + "\xed\xa0\x80" + `",` + rest + `}`, []string{"body.15:json_invalid"}},
		"lone high surrogate":         {`{"message_id":"\ud800",` + rest + `}`, []string{"body.15:json_invalid"}},
		"lone low surrogate":          {`{"message_id":"\udc00",` + rest + `}`, []string{"body.15:json_invalid"}},
		"surrogates the wrong way":    {`{"message_id":"\udc00\ud800",` + rest + `}`, []string{"body.15:json_invalid", "body.21:json_invalid"}},
		"lone surrogate in a name":    {`{"\ud800":1,"message_id":"a",` + rest + `}`, []string{"body.2:json_invalid"}},
		"lone surrogate, unknown":     {`{"x":["\ud800"],"message_id":"a",` + rest + `}`, []string{"body.7:json_invalid"}},
		"raw control character":       {"{\"message_id\":\"a\nb\"," + rest + "}", []string{"body.16:json_invalid"}},
		"array":                       {`[` + hello + `]`, []string{"body:model_attributes_type"}},
		"string":                      {`"x"`, []string{"body:model_attributes_type"}},
		"number":                      {`1`, []string{"body:model_attributes_type"}},
		"true":                        {`true`, []string{"body:model_attributes_type"}},
		"null":                        {`null`, []string{"body:model_attributes_type"}},
		"member twice":                {`{"message_id":"a","message_id":"a",` + rest + `}`, []string{"body.message_id:json_invalid"}},
		"member twice, other value":   {`{"message_id":"a","message_id":"b",` + rest + `}`, []string{"body.message_id:json_invalid"}},
		"member twice, escaped":       {`{"message_id":"a","\u006dessage_id":"b",` + rest + `}`, []string{"body.message_id:json_invalid"}},
		"text twice":                  {`{"message_id":"a","text":null,"text":"x",` + rest + `}`, []string{"body.text:json_invalid"}},
		"name in another case":        {`{"Message_ID":"a",` + rest + `}`, []string{"body.message_id:missing"}},
		"name in another case, again": {`{"message_id":"a","FROM":"+1","to":"+2","ts":"2025-01-15T10:00:00Z"}`, []string{"body.from:missing"}},
		"name with a blank":           {`{"message_id ":"a",` + rest + `}`, []string{"body.message_id:missing"}},
		"a column's name":             {`{"message_id":"a","from_msisdn":"+1","to":"+2","ts":"2025-01-15T10:00:00Z"}`, []string{"body.from:missing"}},
		"id a number":                 {`{"message_id":1,` + rest + `}`, []string{"body.message_id:string_type"}},
		"id true":                     {`{"message_id":true,` + rest + `}`, []string{"body.message_id:string_type"}},
		"id null":                     {`{"message_id":null,` + rest + `}`, []string{"body.message_id:string_type"}},
		"id an array":                 {`{"message_id":["a"],` + rest + `}`, []string{"body.message_id:string_type"}},
		"from a number":               {`{"message_id":"a","from":919876543210,"to":"+2","ts":"2025-01-15T10:00:00Z"}`, []string{"body.from:string_type"}},
		"ts a number":                 {`{"message_id":"a","from":"+1","to":"+2","ts":1736935200}`, []string{"body.ts:string_type"}},
		"text a number":               {msg("a", "text", 1), []string{"body.text:string_type"}},
		"text false":                  {msg("a", "text", false), []string{"body.text:string_type"}},
		"text an object":              {msg("a", "text", map[string]string{"body": "x"}), []string{"body.text:string_type"}},
	}
	for name, tt := range refused {
		a := s.post(tt.body)
		if got := a.faults(t); !slices.Equal(got, tt.faults) {
			t.Errorf("%s: got faults %q, want %q", name, got, tt.faults)
		}
		a.line.has(t, "level", "WARNING", "status", 422, "dup", false, "result", "validation_error", "error", absent)
	}
	// How deep an array may be is counted with the object around it.
	for _, body := range []string{
		`{"message_id":"a","x":` + nested(64) + `,` + rest + `}`,
		`{"message_id":"a",` + rest + `,"x":` + strings.Repeat(`{"x":`, 64) + `1` + strings.Repeat(`}`, 64) + `}`,
		`{"x":` + nested(10_000) + `}`,
	} {
		a := s.post(body)
		if got := a.faults(t); len(got) != 1 || !strings.HasSuffix(got[0], ":json_invalid") {
			t.Errorf("too deep: got faults %q", got)
		}
	}
	// A member twice within what is ignored is refused too.
	a := s.post(`{"message_id":"a","x":{"y":1,"y":1},` + rest + `}`)
	if got := a.faults(t); len(got) != 1 || !strings.HasSuffix(got[0], ":json_invalid") {
		t.Errorf("member twice, nested: got faults %q", got)
	}
	if n := s.rows(); n != 0 {
		t.Fatalf("there are %d rows of refused messages", n)
	}

	accepted := map[string]string{
		"64 levels":             `{"message_id":"64 levels","x":` + nested(63) + `,` + rest + `}`,
		"unknown members":       `{"message_id":"unknown members",` + rest + `,"x":{"message_id":1,"a":[1e400,-0.5,null,true]},"Text":1,"":0}`,
		"white space":           "\r\n\t {\"message_id\":\"white space\"," + rest + "} \r\n\t",
		"escapes":               `{"\u006dessage_id":"\u0065scapes",` + rest + `,"text":"\ud83d\ude00\"\\\/\b\f\n\r\t\u0001"}`,
		"the same name, nested": `{"message_id":"the same name, nested",` + rest + `,"x":[{"y":1},{"y":1}]}`,
	}
	for id, body := range accepted {
		if a := s.post(body); a.status != 200 {
			t.Errorf("%s: got %d %s", id, a.status, a.body)
		}
		if _, err := s.real.Get(t.Context(), "", id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	m, err := s.real.Get(t.Context(), "", "escapes")
	if want := "😀\"\\/\b\f\n\r\t\x01"; err != nil || m.Text == nil || *m.Text != want {
		t.Errorf("the escaped text is %v %v, want %q", m.Text, err, want)
	}
}

func TestContentTypeIsNotLookedAt(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i, values := range [][]string{nil, {""}, {"text/plain"}, {"application/x-www-form-urlencoded"}, {"multipart/form-data"},
		{"application/json; charset=utf-16"}, {"nonsense"}, {"a/b", "c/d"}} {
		s.post(msg(fmt.Sprint(i)), header("Content-Type", values...)).is(t, 200, okBody)
	}
}

func TestValidation(t *testing.T) {
	t.Parallel()
	s := start(t)
	long := func(n int, c string) string { return strings.Repeat(c, n) }
	refused := []struct {
		member string
		value  any
		kind   string
	}{
		{"message_id", absent, "missing"},
		{"message_id", "", "string_too_short"},
		{"message_id", long(256, "x"), "string_too_long"},
		{"message_id", long(256, "😀"), "string_too_long"},
		{"message_id", "a\x00b", "value_error"},
		{"message_id", "a\nb", "value_error"},
		{"message_id", "a\x1bb", "value_error"},
		{"message_id", "a\x7fb", "value_error"},
		{"message_id", "a\u0085b", "value_error"},
		{"from", absent, "missing"},
		{"from", nil, "string_type"},
		{"from", "", "value_error"},
		{"from", "+", "value_error"},
		{"from", "919876543210", "value_error"},
		{"from", "++919876543210", "value_error"},
		{"from", "+1234567890123456", "value_error"},
		{"from", "+91 9876543210", "value_error"},
		{"from", " +919876543210", "value_error"},
		{"from", "+919876543210\n", "value_error"},
		{"from", "+91-9876-543210", "value_error"},
		{"from", "+९१९८७६", "value_error"},
		{"from", "+１２３４５６", "value_error"},
		{"from", "＋123456", "value_error"},
		{"from", "+12a", "value_error"},
		{"to", absent, "missing"},
		{"to", nil, "string_type"},
		{"to", "14155550100", "value_error"},
		{"to", "+1234567890123456", "value_error"},
		{"ts", absent, "missing"},
		{"ts", nil, "string_type"},
		{"ts", "", "value_error"},
		{"ts", "yesterday", "value_error"},
		{"ts", "2025-01-15T10:00:00", "value_error"},
		{"ts", "2025-01-15T10:00:00z", "value_error"},
		{"ts", "2025-01-15t10:00:00Z", "value_error"},
		{"ts", "2025-01-15 10:00:00Z", "value_error"},
		{"ts", "2025-01-15T10:00:00+00:00", "value_error"},
		{"ts", "2025-01-15T10:00:00+05:30", "value_error"},
		{"ts", "2025-01-15T10:00Z", "value_error"},
		{"ts", "2025-01-15", "value_error"},
		{"ts", "2025-1-15T10:00:00Z", "value_error"},
		{"ts", "2025-01-15T1:00:00Z", "value_error"},
		{"ts", "2025-01-15T10:00:00.Z", "value_error"},
		{"ts", "2025-01-15T10:00:00,5Z", "value_error"},
		{"ts", "2025-01-15T10:00:00.1234567890Z", "value_error"},
		{"ts", "2025-00-15T10:00:00Z", "value_error"},
		{"ts", "2025-13-15T10:00:00Z", "value_error"},
		{"ts", "2025-02-29T10:00:00Z", "value_error"},
		{"ts", "2100-02-29T10:00:00Z", "value_error"},
		{"ts", "2025-04-31T10:00:00Z", "value_error"},
		{"ts", "2025-01-00T10:00:00Z", "value_error"},
		{"ts", "2025-01-15T24:00:00Z", "value_error"},
		{"ts", "2025-01-15T10:60:00Z", "value_error"},
		{"ts", "2025-01-15T10:00:60Z", "value_error"},
		{"ts", "２025-01-15T10:00:00Z", "value_error"},
		{"ts", " 2025-01-15T10:00:00Z", "value_error"},
		{"ts", "2025-01-15T10:00:00Z ", "value_error"},
		{"text", long(4097, "x"), "string_too_long"},
		{"text", long(4097, "😀"), "string_too_long"},
		{"text", "a\x00b", "value_error"},
	}
	for _, tt := range refused {
		a := s.post(msg("refused", tt.member, tt.value))
		if got, want := a.faults(t), []string{"body." + tt.member + ":" + tt.kind}; !slices.Equal(got, want) {
			t.Errorf("%s %.40q: got faults %q, want %q", tt.member, tt.value, got, want)
		}
		var known any = "refused"
		if tt.member == "message_id" {
			known = nil
		}
		a.line.has(t, "status", 422, "message_id", known, "dup", false, "result", "validation_error")
	}
	if n := s.rows(); n != 0 {
		t.Fatalf("there are %d rows of refused messages", n)
	}
	if got := s.metric(`webhook_requests_total{result="validation_error"}`); got != float64(len(refused)) {
		t.Errorf("validation_error is %v, want %d", got, len(refused))
	}

	accepted := []string{
		msg("x"), msg(long(255, "y")), msg(long(255, "😀")), msg(" "), msg("\u00a0"), msg("\u202e"),
		// An id is neither trimmed nor folded nor normalised.
		msg("X"), msg(" x"), msg("x "), msg("\u00e9"), msg("e\u0301"), msg("E\u0301"), msg("\u212a"), msg("k"), msg("1"), msg("01"), msg("1.0"),
		msg("shortest number", "from", "+0", "to", "+1"),
		msg("longest number", "from", "+123456789012345", "to", "+000000000000000"),
		msg("to oneself", "to", sender),
		msg("first second", "ts", "0001-01-01T00:00:00Z"), msg("last second", "ts", "9999-12-31T23:59:59Z"),
		msg("leap day", "ts", "2024-02-29T23:59:59Z"), msg("leap day 2000", "ts", "2000-02-29T00:00:00Z"),
		msg("one digit", "ts", "2025-01-15T10:00:00.5Z"), msg("nine digits", "ts", "2025-01-15T10:00:00.123456789Z"),
		msg("no text", "text", absent), msg("null text", "text", nil), msg("empty text", "text", ""),
		msg("longest text", "text", long(4096, "x")), msg("longest text, wide", "text", long(4096, "😀")),
		msg("odd text", "text", "\u202e\ufeff\x01\u2028\ufffd</script>\U0010ffff"),
	}
	for _, body := range accepted {
		if a := s.post(body); a.status != 200 {
			t.Errorf("%.80s: got %d %s", body, a.status, a.body)
		} else {
			a.line.has(t, "dup", false, "result", "created")
		}
	}
	if n := s.rows(); n != int64(len(accepted)) {
		t.Errorf("there are %d rows of %d accepted messages", n, len(accepted))
	}
}

// All faults of a body come at once, in FastAPI's words and shape, and say
// nothing of the values.
func TestValidationAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.post(`{}`).is(t, 422, `{"detail":[`+
		`{"loc":["body","message_id"],"msg":"Field required","type":"missing"},`+
		`{"loc":["body","from"],"msg":"Field required","type":"missing"},`+
		`{"loc":["body","to"],"msg":"Field required","type":"missing"},`+
		`{"loc":["body","ts"],"msg":"Field required","type":"missing"}]}`)
	s.post(`{"message_id":7,"from":"x","to":null,"ts":"y","text":[]}`).isInvalid(t,
		"body.message_id:string_type", "body.from:value_error", "body.to:string_type", "body.ts:value_error", "body.text:string_type")

	// Distinctive values, each wrong in its place.
	values := map[string]string{
		"message_id": "zqid\x01zqid", "from": "zqfrom", "to": "+zqto", "ts": "zqts", "text": "zqtext" + strings.Repeat("x", 4096),
	}
	s.never = append(s.never, "zq")
	all := msg("", "message_id", values["message_id"], "from", values["from"], "to", values["to"], "ts", values["ts"],
		"text", values["text"], "zqunknown", "zqvalue")
	for _, body := range []string{
		all,
		`{"zqname":1,"zqname":2}`, `{"zq` + "\xff" + `":1}`, `{"zq":"\ud800"}`, `zq`, `{"a":zq}`, `"zq"`, `{"message_id":"zq"} zq`,
		`{"zq":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		a := s.post(body)
		if len(a.faults(t)) == 0 || strings.Contains(a.body, "zq") {
			t.Errorf("%.60q: the answer is %s", body, a.body)
		}
	}
	s.post(all).isInvalid(t, "body.message_id:value_error", "body.from:value_error", "body.to:value_error", "body.ts:value_error", "body.text:string_too_long")
}
