package provider

import (
	"bytes"
	"encoding/json"
	"hash"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"lyftr/internal/signature"
)

// clues find out why no secret makes a signature, by trying what is commonly
// done wrong: a signature that is right after all proves it.
type clues struct {
	near *signature.Keyring // the secrets as they are often mistaken
}

// nearly are ways to mistake a secret, as the names of the keys of clues.near.
var nearly = []struct {
	how    string
	change func(string) string
}{
	{"with a newline at its end", func(s string) string { return s + "\n" }},
	{"without the white space around it", strings.TrimSpace},
	{"without the quotes around it", func(s string) string { return strings.Trim(s, "'\"") }},
	{"in double quotes", func(s string) string { return `"` + s + `"` }},
	{"in single quotes", func(s string) string { return "'" + s + "'" }},
}

func newClues(hash func() hash.Hash, keys []signature.Key) clues {
	var near []signature.Key
	for _, n := range nearly {
		for _, k := range keys {
			if s := n.change(string(k.Secret)); s != "" && s != string(k.Secret) {
				near = append(near, signature.Key{ID: n.how, Secret: []byte(s)})
			}
		}
	}
	return clues{signature.NewKeyringOf(hash, near...)}
}

// maxClueBody is the longest body that is looked at, in bytes: a stranger should
// not make much work.
const maxClueBody = 256 << 10

// explain returns the refusal of a request whose signature fits none of the keys.
// right reports under which key of a ring a body would have been right.
func (c clues) explain(setting string, keys *signature.Keyring, request *Request, right func(r *signature.Keyring, body []byte) (keyID string, ok bool)) error {
	if request.Brief {
		return refusef("the signature fits no secret")
	}
	if body := request.Body; len(body) <= maxClueBody {
		if how, ok := right(c.near, body); ok {
			return refusef("the signature is right for the secret %s: sender and %s have to be the same, character by character", how, setting)
		}
		for _, v := range variants(body) {
			if _, ok := right(keys, v.body); ok {
				return refusef("the signature is right for the body %s: something changed the body after it was signed, a proxy on its way or the sender's own program", v.how)
			}
		}
	}
	return refusef("the signature fits no secret: the sender signs with another one than %s, or something changed the body after it was signed", setting)
}

// variant is a body as it may have been when it was signed.
type variant struct {
	how  string
	body []byte
}

func variants(body []byte) []variant {
	list := []variant{
		{"with a newline at its end", append(bytes.Clone(body), '\n')},
		{"without the white space around it", bytes.TrimSpace(body)},
		{"with the line breaks of Unix", bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))},
		{"with the line breaks of Windows", bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))},
	}
	var compact bytes.Buffer
	if json.Compact(&compact, body) == nil {
		tight := compact.Bytes()
		list = append(list,
			variant{"without white space between its members", tight},
			variant{"with a space behind each comma and colon", respace(tight)},
			variant{"with \\u escapes for what is not ASCII", escapeUnicode(tight)},
			variant{"with \\u escapes for what is not ASCII, and a space behind each comma and colon", respace(escapeUnicode(tight))},
			variant{"without \\u escapes", unescapeUnicode(tight)},
			variant{"without \\u escapes, and with a space behind each comma and colon", respace(unescapeUnicode(tight))},
			variant{"with \\/ for /", bytes.ReplaceAll(tight, []byte("/"), []byte(`\/`))},
			variant{"with \\u escapes for what is not ASCII, and \\/ for /", bytes.ReplaceAll(escapeUnicode(tight), []byte("/"), []byte(`\/`))},
		)
	}
	return list
}

// respace puts a space behind each comma and colon of compact JSON, as Python's
// json.dumps does.
func respace(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/8)
	inString := false
	for i := 0; i < len(b); i++ {
		c := b[i]
		out = append(out, c)
		switch {
		case inString && c == '\\' && i+1 < len(b):
			i++
			out = append(out, b[i])
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == ':'):
			out = append(out, ' ')
		}
	}
	return out
}

const hexDigits = "0123456789abcdef"

// escapeUnicode writes what is not ASCII as \u escapes.
func escapeUnicode(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r < utf8.RuneSelf || r == utf8.RuneError && size == 1 {
			out = append(out, b[0])
		} else {
			for _, u := range utf16.AppendRune(nil, r) {
				out = append(out, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
			}
		}
		b = b[size:]
	}
	return out
}

// unescapeUnicode writes \u escapes of what is not ASCII as UTF-8.
func unescapeUnicode(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 >= len(b) {
			out = append(out, b[i])
			continue
		}
		r, size := escaped(b[i:])
		if size == 6 && utf16.IsSurrogate(r) {
			low, more := escaped(b[i+size:])
			r = utf16.DecodeRune(r, low)
			size += more
		}
		if size == 0 || r < utf8.RuneSelf || r == utf8.RuneError {
			out = append(out, b[i], b[i+1])
			i++
			continue
		}
		out = utf8.AppendRune(out, r)
		i += size - 1
	}
	return out
}

// escaped reads one \u escape and returns how long it is, 0 if there is none.
func escaped(b []byte) (r rune, size int) {
	const length = len(`\u0000`)
	if len(b) < length || b[0] != '\\' || b[1] != 'u' {
		return 0, 0
	}
	for _, c := range b[2:length] {
		d := strings.IndexByte(hexDigits, c|0x20)
		if d < 0 {
			return 0, 0
		}
		r = r<<4 | rune(d)
	}
	return r, length
}
