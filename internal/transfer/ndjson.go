package transfer

import (
	"unicode/utf8"

	"lyftr/internal/message"
)

// appendNDJSON appends a message as one line of JSON.
func appendNDJSON(b []byte, m *message.Message) []byte {
	b = appendString(append(b, `{"message_id":`...), m.ID)
	b = appendString(append(b, `,"from":`...), m.From)
	b = appendString(append(b, `,"to":`...), m.To)
	b = appendString(append(b, `,"ts":`...), m.TS)
	b = append(b, `,"text":`...)
	if m.Text != nil {
		b = appendString(b, *m.Text)
	} else {
		b = append(b, "null"...)
	}
	b = appendString(append(b, `,"source":`...), m.Source)
	b = append(b, `,"received_at":`...)
	if m.ReceivedAt.IsZero() {
		b = append(b, "null"...)
	} else {
		b = append(appendReceivedAt(append(b, '"'), m.ReceivedAt), '"')
	}
	if raw := onOneLine(m.Raw); raw != nil {
		b = append(append(b, `,"raw":`...), raw...)
	}
	return append(b, "}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string. It is written here and not by
// encoding/json so that the bytes are the same with every version of Go. Besides
// what JSON demands it escapes what some programs take for the end of a line.
//
// A byte that is not UTF-8, which only an adopted row can hold, becomes half of
// a surrogate pair, as Python's surrogateescape has it: the line is still JSON,
// the byte is not lost, and no reader that is strict takes it for text.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0 // of what was not appended yet
	escape := func(i, size int, r rune) {
		b = append(b, s[start:i]...)
		b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		start = i + size
	}
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"', c == '\\':
				b = append(append(b, s[start:i]...), '\\', c)
				start = i + 1
			case c == '\n':
				b = append(append(b, s[start:i]...), '\\', 'n')
				start = i + 1
			case c == '\r':
				b = append(append(b, s[start:i]...), '\\', 'r')
				start = i + 1
			case c == '\t':
				b = append(append(b, s[start:i]...), '\\', 't')
				start = i + 1
			case c < ' ':
				escape(i, 1, rune(c))
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			escape(i, 1, 0xdc00|rune(c))
		case r == '\u0085', r == '\u2028', r == '\u2029': // ends of lines in Unicode
			escape(i, size, r)
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}
