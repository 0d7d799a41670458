package provider

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// parameter is a name and a value, both decoded and not trimmed.
type parameter struct{ name, value string }

// parameters are those of a form, of a query or of a JSON object.
type parameters []parameter

// parseForm reads a form or a query, in its order. Whatever it is, it can be
// read: an escape that is none stands for itself.
func parseForm(b []byte) parameters {
	var p parameters
	for pair := range bytes.SplitSeq(b, []byte("&")) {
		if len(pair) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(pair, []byte("="))
		p = append(p, parameter{unescape(name), unescape(value)})
	}
	return p
}

// unescape decodes what stands in a form.
func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		var c [1]byte
		switch {
		case b[i] == '+':
			out = append(out, ' ')
		case b[i] == '%' && i+2 < len(b) && decodesHex(c[:], b[i+1:i+3]):
			out = append(out, c[0])
			i += 2
		default:
			out = append(out, b[i])
		}
	}
	return string(out)
}

func decodesHex(to, from []byte) bool {
	_, err := hex.Decode(to, from)
	return err == nil
}

// sorted returns them by name and value, in the order of bytes, none twice.
func (p parameters) sorted() parameters {
	s := slices.Clone(p)
	slices.SortFunc(s, func(a, b parameter) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	return slices.Compact(s)
}

// joined returns names and values, one behind the other.
func (p parameters) joined() []byte {
	var b []byte
	for _, one := range p {
		b = append(append(b, one.name...), one.value...)
	}
	return b
}

func (p parameters) has(name string) bool {
	return slices.ContainsFunc(p, func(one parameter) bool { return one.name == name })
}

// first returns the first value that is not empty of the first of the names that
// has one.
func (p parameters) first(names ...string) string {
	for _, name := range names {
		for _, one := range p {
			if one.name == name && one.value != "" {
				return one.value
			}
		}
	}
	return ""
}

// object returns them as a JSON object, its members sorted: a string each, an
// array where a name has several values.
func (p parameters) object() []byte {
	values := make(map[string][]string, len(p))
	for _, one := range p {
		name := tidy(one.name)
		values[name] = append(values[name], tidy(one.value))
	}
	members := make(map[string]any, len(values))
	for name, list := range values {
		if members[name] = list; len(list) == 1 {
			members[name] = list[0]
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(members) // strings can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// tidy returns a text that can be stored.
func tidy(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
