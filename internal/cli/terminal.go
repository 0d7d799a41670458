package cli

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
	"golang.org/x/text/width"

	"lyftr/internal/telemetry"
)

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalWidth is how many columns a terminal has now, 0 if that is not known.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

const (
	joiner    = '\u200d' // emoji are made of several with it
	nonJoiner = '\u200c' // Persian words need it
	// asEmoji makes a narrow character a wide one.
	asEmoji = '\ufe0f'
	// maxMarks is how many marks a character may carry. More are not written in
	// any language, and reach into the lines above and below.
	maxMarks = 8
)

// harmless returns a stranger's text as a terminal may show it, on one line: what
// would move the cursor, colour the text or turn it around is escaped as the log
// escapes it, and line breaks and tabs as everybody knows them.
func harmless(s string) string {
	var b []byte
	marks := 0
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		if unicode.In(r, unicode.Mn, unicode.Me) || r == joiner || r == nonJoiner {
			marks++
		} else {
			marks = 0
		}
		switch {
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case marks > maxMarks, telemetry.Unshowable(r) && r != joiner && r != nonJoiner:
			b = telemetry.AppendEscape(b, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

// harmlessJSON returns JSON that means the same and may be shown by a terminal:
// outside its strings there is nothing to escape.
func harmlessJSON(data []byte) []byte {
	var b []byte
	for _, r := range string(data) {
		if telemetry.Unshowable(r) {
			b = telemetry.AppendEscape(b, r)
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

// runeColumns is how many columns a terminal takes for a character. Terminals
// disagree about emoji: this is the most that they take, so that a line is cut a
// little early rather than broken.
func runeColumns(r rune) int {
	const firstPicture, lastPicture = 0x1f300, 0x1faff // newer ones than the table knows, too
	switch kind := width.LookupRune(r).Kind(); {
	case r == asEmoji:
		return 1 // beside the one of what it follows
	case r == joiner, r == nonJoiner, unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case kind == width.EastAsianWide, kind == width.EastAsianFullwidth, firstPicture <= r && r <= lastPicture:
		return 2
	}
	return 1
}

// columns is how many columns a harmless text takes.
func columns(s string) (n int) {
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// fit cuts a harmless text that takes more columns than there are.
func fit(s string, most int) string {
	if columns(s) <= most {
		return s
	}
	if most < 1 {
		return ""
	}
	left := most - 1 // one is for the ellipsis
	for i, r := range s {
		if left -= runeColumns(r); left < 0 {
			return s[:i] + "…"
		}
	}
	return s
}

// pad fills a harmless text up with spaces.
func pad(s string, to int) string {
	return s + strings.Repeat(" ", max(0, to-columns(s)))
}
