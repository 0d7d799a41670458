package transfer

import (
	"strings"

	"lyftr/internal/message"
)

// CSV is that of RFC 4180: a line of names, commas, lines that end in CRLF.
// Every cell stands in quotes, except that nothing at all between two commas is
// null: an empty text is "".
//
// A spreadsheet takes a cell for a formula if it begins with one of certain
// characters, and a telephone number begins with one of them. Such a cell gets an
// apostrophe in front. So that nothing is lost by that, so does a cell that begins
// with apostrophes and then such a character; the reader takes one apostrophe
// away from exactly those. 'tis stays 'tis, +49 becomes '+49, and '+49 becomes
// ''+49.
//
// encoding/csv is not used: its reader turns a CRLF within a cell into LF, and
// does not tell null from the empty text.

// csvHeader names the columns, in their order.
const csvHeader = "\"message_id\",\"from\",\"to\",\"ts\",\"text\",\"source\",\"received_at\",\"raw\"\r\n"

func appendCSV(b []byte, m *message.Message) []byte {
	b = append(appendCell(b, m.ID), ',')
	b = append(appendCell(b, m.From), ',')
	b = append(appendCell(b, m.To), ',')
	b = append(appendCell(b, m.TS), ',')
	if m.Text != nil {
		b = appendCell(b, *m.Text)
	}
	b = append(b, ',')
	b = append(appendCell(b, m.Source), ',')
	if !m.ReceivedAt.IsZero() {
		b = append(appendReceivedAt(append(b, '"'), m.ReceivedAt), '"')
	}
	b = append(b, ',')
	if raw := onOneLine(m.Raw); raw != nil {
		b = appendCell(b, string(raw))
	}
	return append(b, "\r\n"...)
}

func appendCell(b []byte, s string) []byte {
	b = append(b, '"')
	if formula(s) {
		b = append(b, '\'')
	}
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			break
		}
		b = append(append(b, s[:i]...), `""`...)
		s = s[i+1:]
	}
	return append(append(b, s...), '"')
}

// formula reports whether a cell begins with any number of apostrophes and then
// a character at which a spreadsheet may see a formula. The list is OWASP's
// (https://owasp.org/www-community/attacks/CSV_Injection), with the characters
// of full width.
func formula(s string) bool {
	s = strings.TrimLeft(s, "'")
	if s == "" {
		return false
	}
	switch s[0] {
	case '=', '+', '-', '@', '\t', '\r', '\n':
		return true
	}
	for _, wide := range []string{"＝", "＋", "－", "＠"} {
		if strings.HasPrefix(s, wide) {
			return true
		}
	}
	return false
}

// undefuse takes back what appendCell put in front of a cell.
func undefuse(s string) string {
	if strings.HasPrefix(s, "'") && formula(s) {
		return s[1:]
	}
	return s
}
