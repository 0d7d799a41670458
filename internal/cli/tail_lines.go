package cli

import (
	"time"

	"lyftr/internal/message"
)

// tailLines makes lines for people of messages, in columns.
type tailLines struct {
	color, local bool
	width        func() int // of the terminal; 0 cuts nothing

	source, from, to int // columns that those before have needed
}

const (
	// leastSource and leastNumber are columns that most values fit.
	leastSource = len("whatsapp")
	leastNumber = len("+919876543210")
	// mostColumns is what a provider's long names are cut to.
	mostColumns = 24
	// narrow is a terminal on which a date would leave too little to the text.
	narrow = 100
)

// Colours, as a terminal calls them.
const (
	faint  = "2"
	green  = "32"
	cyan   = "36"
	normal = ""
)

// line returns the line of a message.
func (l *tailLines) line(m *feedMessage) []byte {
	width := l.width()
	text, textColor := "(no text)", faint
	if m.Text != nil {
		text, textColor = harmless(*m.Text), normal
	}
	left, cut := width, false
	var b []byte
	for _, part := range [...]struct{ color, text string }{
		{faint, l.time(m.TS, width)},
		{cyan, " " + column(m.Source, leastSource, &l.source)},
		{green, " " + column(m.From, leastNumber, &l.from)},
		{faint, " → "},
		{normal, column(m.To, leastNumber, &l.to)},
		{textColor, "  " + text},
	} {
		if cut {
			break
		}
		if width > 0 {
			whole := part.text
			part.text = fit(whole, left)
			left -= columns(part.text)
			cut = part.text != whole
		}
		if l.color && part.color != normal && part.text != "" {
			part.text = "\x1b[" + part.color + "m" + part.text + "\x1b[0m"
		}
		b = append(b, part.text...)
	}
	return append(b, '\n')
}

// column returns a value as wide as the widest that there was.
func column(value string, least int, widest *int) string {
	value = fit(harmless(value), mostColumns)
	*widest = max(*widest, least, columns(value))
	return pad(value, *widest)
}

// time returns a timestamp in the same zone as those before, and without its date
// if there is no room.
func (l *tailLines) time(ts string, width int) string {
	at, err := message.ParseInstant(ts)
	if err != nil {
		return fit(harmless(ts), mostColumns) // of a row that lyftr did not write
	}
	layout := time.RFC3339
	if width > 0 && width < narrow {
		layout = "15:04:05Z07:00"
	}
	if l.local {
		return at.Local().Format(layout)
	}
	return at.UTC().Format(layout)
}
