package telemetry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/telemetry"
)

// lineTime is in a zone of its own, since lines are in UTC.
var lineTime = time.Date(2025, 1, 15, 15, 30, 0, 7_900_000, time.FixedZone("", 5*3600+1800))

// object parses one log line, which has to end in its only newline.
func object(t interface{ Fatalf(string, ...any) }, line []byte) map[string]any {
	if bytes.IndexByte(line, '\n') != len(line)-1 {
		t.Fatalf("%q is not one line", line)
	}
	if !utf8.Valid(line) {
		t.Fatalf("%q is not UTF-8", line)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if d.More() {
		t.Fatalf("%q has something behind the object", line)
	}
	return o
}

func TestRequestLine(t *testing.T) {
	base := telemetry.RequestLine{Time: lineTime, RequestID: "r1", Method: "POST", Path: "/webhook", Status: 200, Latency: 1_234_567 * time.Nanosecond}
	fields := func(more map[string]any) map[string]any {
		o := map[string]any{
			"ts": "2025-01-15T10:00:00.007Z", "level": "INFO", "request_id": "r1", "method": "POST", "path": "/webhook",
			"status": json.Number("200"), "latency_ms": json.Number("1.235"),
		}
		maps.Copy(o, more)
		return o
	}
	for _, c := range []struct {
		name   string
		change func(l *telemetry.RequestLine)
		want   map[string]any
	}{
		{"not a delivery", func(*telemetry.RequestLine) {}, fields(nil)},
		{"within a trace", func(l *telemetry.RequestLine) { l.TraceID = traceID }, fields(map[string]any{"trace_id": traceID})},
		{"created", func(l *telemetry.RequestLine) {
			l.Webhook, l.MessageID, l.Result = true, "m1", telemetry.ResultCreated
		}, fields(map[string]any{"message_id": "m1", "dup": false, "result": "created"})},
		{"duplicate", func(l *telemetry.RequestLine) {
			l.Webhook, l.MessageID, l.Dup, l.Result = true, "m1", true, telemetry.ResultDuplicate
		}, fields(map[string]any{"message_id": "m1", "dup": true, "result": "duplicate"})},
		{"mismatch", func(l *telemetry.RequestLine) {
			l.Webhook, l.MessageID, l.Dup, l.Mismatch, l.Result = true, "m1", true, true, telemetry.ResultDuplicate
		}, fields(map[string]any{"message_id": "m1", "dup": true, "mismatch": true, "result": "duplicate"})},
		{"refused", func(l *telemetry.RequestLine) {
			l.Webhook, l.Status, l.Result = true, 401, telemetry.ResultInvalidSignature
		}, fields(map[string]any{"level": "WARNING", "status": json.Number("401"), "message_id": nil, "dup": false, "result": "invalid_signature"})},
		{"failed", func(l *telemetry.RequestLine) {
			l.Webhook, l.Status, l.MessageID, l.Result, l.Error = true, 503, "m1", telemetry.ResultUnavailable, "save: disk full"
		}, fields(map[string]any{"level": "ERROR", "status": json.Number("503"), "message_id": "m1", "dup": false, "result": "unavailable", "error": "save: disk full"})},
		{"failed often", func(l *telemetry.RequestLine) { l.Status, l.Error, l.Skipped = 500, "disk full", 12 },
			fields(map[string]any{"level": "ERROR", "status": json.Number("500"), "error": "disk full", "not_given_before": json.Number("12")})},
		{"facts of a delivery on another request", func(l *telemetry.RequestLine) {
			l.MessageID, l.Dup, l.Mismatch, l.Result = "m1", true, true, telemetry.ResultCreated
		}, fields(nil)},
		{"no time at all", func(l *telemetry.RequestLine) { l.Latency = 0 }, fields(map[string]any{"latency_ms": json.Number("0.000")})},
		{"long time", func(l *telemetry.RequestLine) { l.Latency = 90 * time.Second }, fields(map[string]any{"latency_ms": json.Number("90000.000")})},
		{"everything empty", func(l *telemetry.RequestLine) { l.RequestID, l.Method, l.Path = "", "", "" },
			fields(map[string]any{"request_id": "", "method": "", "path": ""})},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := base
			c.change(&l)
			if diff := cmp.Diff(c.want, object(t, l.Append(nil))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A reader that takes the last of two equal members must not be misled.
func TestRequestLineMembersOnce(t *testing.T) {
	l := telemetry.RequestLine{Time: lineTime, Webhook: true, MessageID: "m1", Mismatch: true, Result: telemetry.ResultError, Status: 500, Error: "x", Skipped: 1}
	line := string(l.Append(nil))
	for name := range object(t, []byte(line)) {
		if n := strings.Count(line, fmt.Sprintf("%q:", name)); n != 1 {
			t.Errorf("%s stands %d times in %s", name, n, line)
		}
	}
}

func TestRequestLineAppends(t *testing.T) {
	l := telemetry.RequestLine{Time: lineTime, Status: 200}
	alone := l.Append(nil)
	both := l.Append(append([]byte("before\n"), alone...))
	if want := "before\n" + string(alone) + string(alone); string(both) != want {
		t.Errorf("got %q, want %q", both, want)
	}
}

func TestRequestLineLevel(t *testing.T) {
	for _, c := range []struct {
		status int
		want   slog.Level
		name   string
	}{
		{200, slog.LevelInfo, "INFO"}, {204, slog.LevelInfo, "INFO"}, {304, slog.LevelInfo, "INFO"}, {399, slog.LevelInfo, "INFO"},
		{400, slog.LevelWarn, "WARNING"}, {401, slog.LevelWarn, "WARNING"}, {422, slog.LevelWarn, "WARNING"}, {499, slog.LevelWarn, "WARNING"},
		{500, slog.LevelError, "ERROR"}, {503, slog.LevelError, "ERROR"}, {599, slog.LevelError, "ERROR"},
	} {
		l := telemetry.RequestLine{Time: lineTime, Status: c.status}
		if got := l.Level(); got != c.want {
			t.Errorf("%d: level %v, want %v", c.status, got, c.want)
		}
		if got := object(t, l.Append(nil))["level"]; got != c.name {
			t.Errorf("%d: level %q on the line, want %q", c.status, got, c.name)
		}
	}
}

// hostile are strings that break lines, terminals or readers of logs.
var hostile = []struct{ name, s string }{
	{"newline", "a\nb"},
	{"carriage return", "a\rb"},
	{"forged line", "\"}\n{\"ts\":\"2025-01-15T10:00:00.000Z\",\"level\":\"INFO\"}"},
	{"quote", `a"b`},
	{"backslash", `a\`},
	{"escaped quote", `a\"b`},
	{"NUL", "a\x00b"},
	{"ANSI", "\x1b[2J\x1b[31mred\x1b]0;title\x07"},
	{"DEL", "a\x7fb"},
	{"C1", "a\u009b31mb\u0085c"},
	{"line separators", "a\u2028b\u2029c"},
	{"bidi override", "a\u202eb\u2066c\u2069"},
	{"bidi marks", "a\u200fb\u061cc"},
	{"zero width and BOM", "a\u200bb\ufeffc"},
	{"HTML", "<script>&amp;</script>"},
	{"emoji", "नमस्ते 👋"},
	{"noncharacter", "\uffff\U0010ffff"},
	{"replacement character", "\ufffd"},
}

func TestRequestLineHostile(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			l := telemetry.RequestLine{
				Time: lineTime, RequestID: c.s, Method: c.s, Path: c.s, Status: 500,
				Webhook: true, MessageID: c.s, Result: telemetry.Result(c.s), Error: c.s,
			}
			o := object(t, l.Append(nil))
			for _, name := range []string{"request_id", "method", "path", "message_id", "result", "error"} {
				if o[name] != c.s {
					t.Errorf("%s is %q, want %q", name, o[name], c.s)
				}
			}
		})
	}
}

// Somebody reads the log in a terminal: what would move its cursor, colour it
// or turn its text around is escaped, not only what JSON forbids.
func TestRequestLineTerminal(t *testing.T) {
	for _, c := range []struct {
		name, characters string
	}{
		{"C0", "\x00\x07\x08\x1b"},
		{"DEL", "\x7f"},
		{"C1", "\u0080\u0085\u008d\u009b\u009d\u009f"},
		{"bidi", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"},
		{"line separators", "\u2028\u2029"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := telemetry.RequestLine{Time: lineTime, RequestID: "r", Method: "GET", Path: "/a" + c.characters + "b", Status: 404}
			line := l.Append(nil)
			object(t, line)
			if i := bytes.IndexAny(bytes.TrimSuffix(line, []byte("\n")), c.characters); i >= 0 {
				r, _ := utf8.DecodeRune(line[i:])
				t.Errorf("%U stands unescaped in %q", r, line)
			}
		})
	}
}

// Whatever a stranger sends, a line is one JSON object of bounded length.
func TestRequestLineAnyString(t *testing.T) {
	const longest = 10_000 // bytes of a string that is drawn
	// Six fields of 256 bytes and a mark, each byte at most six as \u0000,
	// beside the rest.
	const bound = 6*(256+3)*6 + 512
	str := rapid.OneOf(
		rapid.String(),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 600), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom(hostile), 0, 20), func(parts []struct{ name, s string }) string {
			var s string
			for _, p := range parts {
				s += p.s
			}
			return s
		}),
		rapid.Custom(func(t *rapid.T) string {
			s := rapid.SampledFrom([]string{"x", "\n", "é", "न", "👋", "\xff", "\x80", "\x00", `"`, "a👋"}).Draw(t, "repeated")
			return rapid.SampledFrom([]string{"", "a", "ab", "abc"}).Draw(t, "shift") + strings.Repeat(s, longest/len(s))
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		l := telemetry.RequestLine{
			Time:      time.Unix(rapid.Int64Range(0, 253_402_300_799).Draw(t, "time"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")),
			RequestID: str.Draw(t, "request id"),
			Method:    str.Draw(t, "method"),
			Path:      str.Draw(t, "path"),
			Status:    rapid.IntRange(100, 599).Draw(t, "status"),
			Latency:   time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "latency")),
			Webhook:   rapid.Bool().Draw(t, "webhook"),
			MessageID: str.Draw(t, "message id"),
			Dup:       rapid.Bool().Draw(t, "dup"),
			Mismatch:  rapid.Bool().Draw(t, "mismatch"),
			Result:    telemetry.Result(str.Draw(t, "result")),
			Error:     str.Draw(t, "error"),
			Skipped:   rapid.IntRange(0, 1000).Draw(t, "skipped"),
		}
		line := l.Append(nil)
		o := object(t, line)
		if len(line) > bound {
			t.Fatalf("line of %d bytes", len(line))
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", o["ts"].(string)); err != nil {
			t.Fatal(err)
		}
		if status, ok := o["status"].(json.Number); !ok || status.String() != fmt.Sprint(l.Status) {
			t.Fatalf("status %v", o["status"])
		}
		if _, ok := o["latency_ms"].(json.Number); !ok {
			t.Fatalf("latency_ms %v", o["latency_ms"])
		}
		given := map[string]string{"request_id": l.RequestID, "method": l.Method, "path": l.Path}
		if l.Webhook {
			if dup, ok := o["dup"].(bool); !ok || dup != l.Dup {
				t.Fatalf("dup %v", o["dup"])
			}
			given["result"] = string(l.Result)
			if l.MessageID != "" {
				given["message_id"] = l.MessageID
			}
		}
		for name, want := range given {
			got, ok := o[name].(string)
			if !ok || !cutOf(got, want) {
				t.Fatalf("%s is %q, given was %q", name, got, want)
			}
		}
	})
}

// cutOf reports whether got is s, or the beginning of a long s with an
// ellipsis. What is not UTF-8 in s reads as U+FFFD.
func cutOf(got, s string) bool {
	valid := string([]rune(s))
	if len(s) <= 256 {
		return got == valid
	}
	beginning, cut := strings.CutSuffix(got, "…")
	return cut && strings.HasPrefix(valid, beginning)
}

// A long string is not cut within a character and loses no more than it has to.
func TestRequestLineCut(t *testing.T) {
	for _, c := range []struct {
		name, path string
		want       string
	}{
		{"256 bytes", strings.Repeat("x", 256), strings.Repeat("x", 256)},
		{"257 bytes", strings.Repeat("x", 257), strings.Repeat("x", 256) + "…"},
		{"two-byte on the edge", "x" + strings.Repeat("é", 200), "x" + strings.Repeat("é", 127) + "…"},
		{"four-byte on the edge", "xxx" + strings.Repeat("👋", 100), "xxx" + strings.Repeat("👋", 63) + "…"},
		{"10000 bytes", strings.Repeat("x", 10_000), strings.Repeat("x", 256) + "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := telemetry.RequestLine{Time: lineTime, Path: c.path, Status: 404}
			if got := object(t, l.Append(nil))["path"]; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
