package message

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Fault is one thing wrong with a request, in the shape of FastAPI's answers:
// where it is, what would be right, and the kind. It never holds the value.
type Fault struct {
	Loc  []any  `json:"loc"` // strings and, for positions, ints
	Msg  string `json:"msg"`
	Type string `json:"type"`
}

// InvalidError is everything that is wrong with a request.
type InvalidError struct {
	Faults []Fault
	// MessageID is the message's ID if the body is sound JSON up to there and the
	// ID is right, else empty.
	MessageID string
}

// Error names the places and the kinds of the faults, never a value.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("invalid")
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteString(";")
		}
		for j, l := range f.Loc {
			b.WriteByte(" ."[min(j, 1)])
			if s, ok := l.(string); ok {
				b.WriteString(s)
			} else {
				b.WriteString("#")
			}
		}
		b.WriteString(": " + f.Type)
	}
	return b.String()
}

// Explain says what is wrong in words for a person, at most so many faults of
// it. Like Error it never holds a value.
func (e *InvalidError) Explain(most int) string {
	var parts []string
	for i, f := range e.Faults {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(e.Faults)-i))
			break
		}
		parts = append(parts, f.explain())
	}
	return strings.Join(parts, "; ")
}

// explain says what is wrong with a member.
func (f Fault) explain() string {
	what := strings.TrimPrefix(strings.TrimPrefix(f.Msg, "Value error, "), "JSON decode error: ")
	switch place := f.Loc[len(f.Loc)-1].(type) {
	case int:
		return fmt.Sprintf("not JSON at byte %d: %s", place, what)
	case string:
		if len(f.Loc) > 1 {
			return place + ": " + what
		}
	}
	return what
}

// Kinds of faults, out of FastAPI's vocabulary.
const (
	FaultMissing     = "missing"
	FaultJSON        = "json_invalid"
	FaultNotObject   = "model_attributes_type"
	FaultNotString   = "string_type"
	FaultTooShort    = "string_too_short"
	FaultTooLong     = "string_too_long"
	FaultValue       = "value_error"
	FaultNotInteger  = "int_parsing"
	FaultTooSmall    = "greater_than_equal"
	FaultTooLarge    = "less_than_equal"
	FaultEnumeration = "enum"
	FaultExtra       = "extra_forbidden"
)

// Decode parses and validates a message in lyftr's own format: one JSON object
// with message_id, from, to, ts and optionally text. It is strict where
// encoding/json is not: member names match exactly and occur once in every
// object, strings are valid Unicode, nothing is coerced and nothing follows the
// object. Unknown members are ignored. The error is an *InvalidError that holds
// every fault of the body.
func Decode(body []byte) (Message, error) {
	var d decoder
	members, ok := d.object(body)
	if !ok {
		return Message{}, &InvalidError{Faults: d.faults}
	}
	return d.message(&members)
}

// message returns the message that the members hold, less those that only a
// stored message has.
func (d *decoder) message(members *[memberCount][]byte) (Message, error) {
	m := Message{Source: SourceNative}
	m.ID = d.id(members[memberID])
	knownID := m.ID
	if len(d.faults) > 0 {
		knownID = ""
	}
	m.From = d.phone("from", members[memberFrom])
	m.To = d.phone("to", members[memberTo])
	m.TS = d.timestamp(members[memberTS], &m)
	m.Text = d.text(members[memberText])
	if len(d.faults) > 0 {
		return Message{}, &InvalidError{Faults: d.faults, MessageID: knownID}
	}
	return m, nil
}

// maxFaults bounds an answer: a body of a megabyte can hold two hundred thousand
// faults, most of them alike.
const maxFaults = 100

func (d *decoder) fault(kind, msg string, loc ...any) {
	if len(d.faults) >= maxFaults {
		return
	}
	d.faults = append(d.faults, Fault{Loc: append([]any{"body"}, loc...), Msg: msg, Type: kind})
}

// str returns the string that a required member holds.
func (d *decoder) str(name string, raw []byte) (string, bool) {
	if raw == nil {
		d.fault(FaultMissing, "Field required", name)
		return "", false
	}
	if raw[0] != '"' {
		d.fault(FaultNotString, "Input should be a valid string", name)
		return "", false
	}
	return unquote(raw), true
}

func (d *decoder) id(raw []byte) string {
	s, ok := d.str("message_id", raw)
	if !ok {
		return ""
	}
	d.checkID("message_id", s)
	return s
}

func (d *decoder) checkID(name, s string) {
	if kind, msg := CheckID(s); kind != "" {
		d.fault(kind, msg, name)
	}
}

// CheckID returns the kind and the description of what is wrong with a message
// ID, or two empty strings.
func CheckID(s string) (kind, msg string) {
	switch {
	case s == "":
		return FaultTooShort, "String should have at least 1 character"
	case len(s) > MaxIDLength && utf8.RuneCountInString(s) > MaxIDLength:
		return FaultTooLong, "String should have at most 255 characters"
	case strings.ContainsFunc(s, unicode.IsControl):
		return FaultValue, "Value error, must not contain control characters"
	}
	return "", ""
}

func (d *decoder) phone(name string, raw []byte) string {
	s, ok := d.str(name, raw)
	if ok {
		d.checkPhone(name, s)
	}
	return s
}

func (d *decoder) checkPhone(name, s string) {
	switch {
	case d.provided && s != "":
		d.checkID(name, s) // it may be an ID, or a name
	case !d.provided && !ValidPhone(s):
		d.fault(FaultValue, "Value error, must be + followed by 1 to 15 digits (E.164)", name)
	}
}

// ValidPhone reports whether s is a + and then 1 to MaxPhoneDigits ASCII digits.
func ValidPhone(s string) bool {
	if len(s) < 2 || len(s) > 1+MaxPhoneDigits || s[0] != '+' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func (d *decoder) timestamp(raw []byte, m *Message) string {
	s, ok := d.str("ts", raw)
	if !ok {
		return ""
	}
	m.At = d.checkTimestamp(s)
	return s
}

func (d *decoder) checkTimestamp(s string) time.Time {
	at, err := ParseTimestamp(s)
	if err != nil {
		d.fault(FaultValue, "Value error, "+err.Error(), "ts")
	}
	return at
}

func (d *decoder) text(raw []byte) *string {
	if raw == nil || raw[0] == 'n' { // absent or null
		return nil
	}
	s, ok := d.str("text", raw)
	if !ok {
		return nil
	}
	d.checkText(s)
	return &s
}

func (d *decoder) checkText(s string) {
	check := CheckText
	if d.provided {
		check = checkCharacters
	}
	if kind, msg := check(s); kind != "" {
		d.fault(kind, msg, "text")
	}
}

// CheckText returns the kind and the description of what is wrong with a text,
// or two empty strings.
func CheckText(s string) (kind, msg string) {
	if len(s) > MaxTextLength && utf8.RuneCountInString(s) > MaxTextLength {
		return FaultTooLong, "String should have at most 4096 characters"
	}
	return checkCharacters(s)
}

// checkCharacters is CheckText for a text of any length.
func checkCharacters(s string) (kind, msg string) {
	if strings.IndexByte(s, 0) >= 0 {
		return FaultValue, "Value error, must not contain the character U+0000"
	}
	return "", ""
}
