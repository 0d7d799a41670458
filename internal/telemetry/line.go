package telemetry

import (
	"log/slog"
	"strconv"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// RequestLine is the log line of one request.
type RequestLine struct {
	Time      time.Time
	RequestID string
	TraceID   string // left out if empty
	Method    string
	Path      string
	Status    int
	Latency   time.Duration
	// Webhook says that the request is a delivery; only then do the members
	// down to Result appear.
	Webhook   bool
	MessageID string // null if empty
	Dup       bool
	Mismatch  bool // left out if false
	Result    Result
	// What the delivery holds; left out if it is one message or nothing.
	Messages, Statuses, Ignored int
	// Reason is why the delivery was refused; left out if empty.
	Reason string
	// Error is the cause of a 5xx; left out if empty.
	Error   string
	Skipped int // how often the same error was not given before; left out if 0
}

// Level is INFO, for 4xx WARNING and for 5xx ERROR.
func (l *RequestLine) Level() slog.Level {
	switch {
	case l.Status >= 500:
		return slog.LevelError
	case l.Status >= 400:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// maxField is how many bytes of a stranger's string a line holds at most.
const maxField = 256

// Append appends the line, its newline included, to b. It is written by hand
// since it is on the way of every request: slog takes ten times as long
// (BenchmarkRequestLine).
func (l *RequestLine) Append(b []byte) []byte {
	b = append(b, `{"ts":"`...)
	b = l.Time.UTC().AppendFormat(b, timeLayout)
	b = append(b, `","level":"`...)
	b = append(b, LevelName(l.Level())...)
	b = appendString(append(b, `","request_id":`...), l.RequestID)
	if l.TraceID != "" {
		b = appendString(append(b, `,"trace_id":`...), l.TraceID)
	}
	b = appendString(append(b, `,"method":`...), l.Method)
	b = appendString(append(b, `,"path":`...), l.Path)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(l.Status), 10)
	b = strconv.AppendFloat(append(b, `,"latency_ms":`...), float64(l.Latency)/float64(time.Millisecond), 'f', 3, 64)
	if l.Webhook {
		b = append(b, `,"message_id":`...)
		if l.MessageID != "" {
			b = appendString(b, l.MessageID)
		} else {
			b = append(b, "null"...)
		}
		b = strconv.AppendBool(append(b, `,"dup":`...), l.Dup)
		if l.Mismatch {
			b = append(b, `,"mismatch":true`...)
		}
		b = appendString(append(b, `,"result":`...), string(l.Result))
		if l.Messages > 1 || l.Statuses > 0 || l.Ignored > 0 {
			b = strconv.AppendInt(append(b, `,"messages":`...), int64(l.Messages), 10)
			b = strconv.AppendInt(append(b, `,"statuses":`...), int64(l.Statuses), 10)
			b = strconv.AppendInt(append(b, `,"ignored":`...), int64(l.Ignored), 10)
		}
	}
	if l.Reason != "" {
		b = appendString(append(b, `,"reason":`...), l.Reason)
	}
	if l.Error != "" {
		b = appendString(append(b, `,"error":`...), l.Error)
		if l.Skipped > 0 {
			b = strconv.AppendInt(append(b, `,"not_given_before":`...), int64(l.Skipped), 10)
		}
	}
	return append(b, "}\n"...)
}

// appendString appends a JSON string. A long one is cut between characters.
func appendString(b []byte, s string) []byte {
	if len(s) > maxField {
		cut := maxField
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendEscaped appends a JSON string. Besides what JSON demands it escapes what
// would move a terminal's cursor, colour its text or turn it around.
func appendEscaped(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case Unshowable(r):
			b = AppendEscape(b, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// Unshowable reports whether a character would move a terminal's cursor, colour
// its text or turn it around.
func Unshowable(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }

// AppendEscape appends a character as JSON writes what it cannot show, such as
// \u001b.
func AppendEscape(b []byte, r rune) []byte {
	for _, unit := range utf16.AppendRune(nil, r) {
		b = append(b, '\\', 'u', hexDigits[unit>>12], hexDigits[unit>>8&15], hexDigits[unit>>4&15], hexDigits[unit&15])
	}
	return b
}

const hexDigits = "0123456789abcdef"
