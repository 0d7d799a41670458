package provider

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
)

// value is one value of a JSON document that was found valid, as the bytes that
// were sent, without white space around them; nil if there is no such value. What
// is asked of a value of another type is answered as if nothing were there.
//
// Names are matched exactly, which encoding/json does not do, and whatever is
// not asked for is passed over without being decoded.
type value []byte

// kind is the first character, which tells the type; 0 if there is no value.
func (v value) kind() byte {
	if len(v) == 0 {
		return 0
	}
	return v[0]
}

// none reports whether nothing is there, or null.
func (v value) none() bool { return v.kind() == 0 || v.kind() == 'n' }

// members yields those of an object, in order. The name is valid until the next.
func (v value) members() iter.Seq2[[]byte, value] {
	return func(yield func(name []byte, v value) bool) {
		if v.kind() != '{' {
			return
		}
		for i := v.next(1); v[i] != '}'; i = v.afterComma(i) {
			end := v.skip(i)
			name := v[i+1 : end-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				s, _ := v[i:end].str()
				name = []byte(s)
			}
			start := v.next(v.next(end) + 1) // behind the colon
			i = v.skip(start)
			if !yield(name, v[start:i]) {
				return
			}
		}
	}
}

// elements yields those of an array, in order.
func (v value) elements() iter.Seq[value] {
	return func(yield func(value) bool) {
		if v.kind() != '[' {
			return
		}
		for i := v.next(1); v[i] != ']'; i = v.afterComma(i) {
			start := i
			i = v.skip(start)
			if !yield(v[start:i]) {
				return
			}
		}
	}
}

// member returns that of an object, the last one if the name is repeated.
func (v value) member(name string) value {
	var found value
	for n, m := range v.members() {
		if string(n) == name {
			found = m
		}
	}
	return found
}

// str returns a string. Half a surrogate pair becomes U+FFFD.
func (v value) str() (s string, ok bool) {
	switch {
	case v.kind() != '"':
		return "", false
	case bytes.IndexByte(v, '\\') < 0:
		return string(v[1 : len(v)-1]), true
	}
	err := json.Unmarshal(v, &s)
	return s, err == nil
}

// scalar returns a string or the digits of a number, else an empty string.
func (v value) scalar() string {
	if c := v.kind(); c == '-' || c >= '0' && c <= '9' {
		return string(v)
	}
	s, _ := v.str()
	return s
}

// text returns the string that stands in a member of an object; nil if none does.
// NUL, which no database keeps, becomes U+FFFD.
func (v value) text(name string) *string {
	s, ok := v.member(name).str()
	if !ok {
		return nil
	}
	s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	return &s
}

// next returns where the first character from i on stands that is not white
// space.
func (v value) next(i int) int {
	for v[i] == ' ' || v[i] == '\t' || v[i] == '\r' || v[i] == '\n' {
		i++
	}
	return i
}

// afterComma returns where the member or element behind the one that ends at i
// begins, or where the bracket stands that closes them.
func (v value) afterComma(i int) int {
	if i = v.next(i); v[i] == ',' {
		i = v.next(i + 1)
	}
	return i
}

// skip returns where the value that begins at i ends.
func (v value) skip(i int) int {
	depth := 0
	for ; ; i++ {
		switch v[i] {
		case '"':
			i = v.endOfString(i)
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			// A number, true, false or null ends where a delimiter stands.
			for i+1 < len(v) && strings.IndexByte(",]} \t\r\n", v[i+1]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// endOfString returns where the quote stands that ends the string whose first
// one stands at i.
func (v value) endOfString(i int) int {
	for {
		i += 1 + bytes.IndexByte(v[i+1:], '"')
		backslashes := 0
		for v[i-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return i
		}
	}
}
