package message

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The members of a message, as indexes into what decoder.object returns.
const (
	memberID = iota
	memberFrom
	memberTo
	memberTS
	memberText
	// Those of a stored message besides, see DecodeStored.
	memberSource
	memberReceivedAt
	memberRaw
	memberCount
)

// memberIndex returns -1 for a member that is not known.
func (d *decoder) memberIndex(name string) int {
	switch name {
	case "message_id":
		return memberID
	case "from":
		return memberFrom
	case "to":
		return memberTo
	case "ts":
		return memberTS
	case "text":
		return memberText
	}
	switch {
	case d.stored && name == "source":
		return memberSource
	case d.stored && name == "received_at":
		return memberReceivedAt
	case d.stored && name == "raw":
		return memberRaw
	}
	return -1
}

// decoder checks what encoding/json lets pass: repeated members, lone
// surrogates, invalid UTF-8 and any depth. encoding/json has already found the
// body to be JSON when the decoder walks it, so the walk itself trusts the
// grammar.
type decoder struct {
	b      []byte
	i      int
	stored bool // the members of a stored message are known too
	// provided says that a provider's message is checked, to which the limits of
	// lyftr's own format do not apply.
	provided bool
	faults   []Fault
}

// CheckJSON returns what is wrong with a body that has to be one JSON object in
// valid UTF-8, as an *InvalidError, or nil. It is all that is asked of what a
// provider sends: members may be repeated, surrogates stand alone.
func CheckJSON(body []byte) error {
	var d decoder
	if d.sound(body) {
		return nil
	}
	return &InvalidError{Faults: d.faults}
}

// sound reports whether body is one JSON object, moves to its start, and takes
// down what is wrong if it is not.
func (d *decoder) sound(body []byte) bool {
	switch {
	case len(body) == 0:
		d.fault(FaultJSON, "JSON decode error: the body is empty", 0)
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		d.fault(FaultJSON, "JSON decode error: a byte order mark stands before the JSON", 0)
	case !utf8.Valid(body):
		d.fault(FaultJSON, "JSON decode error: invalid UTF-8", invalidUTF8(body))
	case !json.Valid(body):
		offset, what := syntaxError(body)
		d.fault(FaultJSON, "JSON decode error: "+what, offset)
	}
	if len(d.faults) > 0 {
		return false
	}
	d.b = body
	if d.next() != '{' {
		d.fault(FaultNotObject, "Input should be a JSON object")
		return false
	}
	return true
}

// object parses body, which must be one JSON object, and returns the raw values
// of its known members, nil where one is absent. It returns false if nothing
// can be said of the members.
func (d *decoder) object(body []byte) (members [memberCount][]byte, ok bool) {
	if !d.sound(body) {
		return members, false
	}
	ok = d.walkObject(1, func(name string, raw []byte) {
		if m := d.memberIndex(name); m >= 0 && members[m] == nil {
			members[m] = raw
		}
	})
	return members, ok
}

func invalidUTF8(b []byte) int {
	for i := 0; ; {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
}

// syntaxError says where and why body is not JSON.
func syntaxError(body []byte) (offset int, what string) {
	var v json.RawMessage
	var syntax *json.SyntaxError
	if err := json.Unmarshal(body, &v); errors.As(err, &syntax) {
		// The error's own text quotes a character of the body.
		if int(syntax.Offset) >= len(body) && syntax.Error() == "unexpected end of JSON input" {
			return len(body), "unexpected end of input"
		}
		return max(0, int(syntax.Offset)-1), "unexpected character"
	}
	return 0, "not JSON"
}

// next moves to the next character that is not white space and returns it.
func (d *decoder) next() byte {
	for {
		switch c := d.b[d.i]; c {
		case ' ', '\t', '\r', '\n':
			d.i++
		default:
			return c
		}
	}
}

// walkValue passes over one value. It returns false if the body is nested too
// deeply, after which the walk cannot go on.
func (d *decoder) walkValue(depth int) bool {
	switch d.next() {
	case '{':
		return d.walkObject(depth+1, nil)
	case '[':
		return d.walkArray(depth + 1)
	case '"':
		d.walkString()
	default:
		d.passScalar()
	}
	return true
}

// passOver passes over one value without looking for what the walk reports: it
// is a provider's, who may repeat members and nest as deeply as JSON lets him.
func (d *decoder) passOver() {
	for depth := 0; ; {
		switch d.next() {
		case '{', '[':
			depth++
			d.i++
		case '}', ']':
			depth--
			d.i++
		case ',', ':':
			d.i++
		case '"':
			for d.i++; d.b[d.i] != '"'; d.i++ {
				if d.b[d.i] == '\\' {
					d.i++
				}
			}
			d.i++
		default:
			d.passScalar()
		}
		if depth == 0 {
			return
		}
	}
}

// passScalar passes over a number, true, false or null.
func (d *decoder) passScalar() {
	for d.i < len(d.b) && strings.IndexByte(",]} \t\r\n", d.b[d.i]) < 0 { // where a delimiter stands it ends
		d.i++
	}
}

func (d *decoder) tooDeep(depth int) bool {
	if depth > MaxDepth {
		d.fault(FaultJSON, "JSON decode error: nested more than 64 levels deep", d.i)
		return true
	}
	return false
}

func (d *decoder) walkArray(depth int) bool {
	if d.tooDeep(depth) {
		return false
	}
	d.i++ // [
	if d.next() == ']' {
		d.i++
		return true
	}
	for {
		if !d.walkValue(depth) {
			return false
		}
		c := d.next()
		d.i++
		if c == ']' {
			return true
		}
	}
}

// walkObject passes over one object, reports members that occur twice, and
// gives every member to the function, if there is one.
func (d *decoder) walkObject(depth int, member func(name string, raw []byte)) bool {
	if d.tooDeep(depth) {
		return false
	}
	d.i++ // {
	if d.next() == '}' {
		d.i++
		return true
	}
	var seen nameSet
	for {
		d.next()
		name := unquote(d.walkString())
		if !seen.add(name) {
			// The name may be a stranger's data: only known ones are repeated.
			if member != nil && d.memberIndex(name) >= 0 {
				d.fault(FaultJSON, "JSON decode error: the member appears twice", name)
			} else {
				d.fault(FaultJSON, "JSON decode error: a member appears twice in one object", d.i)
			}
		}
		d.next()
		d.i++ // :
		d.next()
		start := d.i
		if member != nil && d.memberIndex(name) == memberRaw {
			d.passOver()
		} else if !d.walkValue(depth) {
			return false
		}
		if member != nil {
			member(name, d.b[start:d.i])
		}
		c := d.next()
		d.i++
		if c == '}' {
			return true
		}
	}
}

// walkString passes over a string, reports lone surrogates and returns the
// string with its quotes.
func (d *decoder) walkString() []byte {
	start := d.i
	for d.i++; d.b[d.i] != '"'; d.i++ {
		if d.b[d.i] != '\\' {
			continue
		}
		d.i++
		if d.b[d.i] != 'u' {
			continue
		}
		r := hexRune(d.b[d.i+1:])
		if !utf16.IsSurrogate(r) {
			d.i += 4
			continue
		}
		rest := d.b[d.i+5:]
		if rest[0] == '\\' && rest[1] == 'u' && utf16.DecodeRune(r, hexRune(rest[2:])) != utf8.RuneError {
			d.i += 10
			continue
		}
		d.fault(FaultJSON, "JSON decode error: half of a surrogate pair stands alone", d.i-1)
		d.i += 4
	}
	d.i++
	return d.b[start:d.i]
}

// hexRune returns the value of the four hexadecimal digits at the start of b.
func hexRune(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c&^0x20 - 'A' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unquote returns the value of a JSON string.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "" // not reached: raw is part of what json.Valid accepted
	}
	return s
}

// nameSet is the set of one object's member names. Few are compared one by one,
// without an allocation; a hostile body with a hundred thousand of them costs no
// quadratic time.
type nameSet struct {
	few  [fewNames]string
	n    int
	many map[string]struct{}
}

const fewNames = 16

// add returns false if the name was there already.
func (s *nameSet) add(name string) bool {
	if s.many != nil {
		_, there := s.many[name]
		s.many[name] = struct{}{}
		return !there
	}
	if slices.Contains(s.few[:s.n], name) {
		return false
	}
	if s.n < fewNames {
		s.few[s.n] = name
		s.n++
		return true
	}
	s.many = make(map[string]struct{}, 4*fewNames)
	for _, n := range s.few {
		s.many[n] = struct{}{}
	}
	s.many[name] = struct{}{}
	return true
}
