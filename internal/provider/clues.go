package provider

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"iter"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"lyftr/internal/signature"
)

// clues find out why no secret makes a signature, by trying what is commonly
// done wrong: a signature that is right after all proves it.
type clues struct {
	near  *signature.Keyring // the secrets as they are often mistaken; a key's name says how
	taken *signature.Keyring // what is often taken for the secret; a key's name is the setting
}

// newClues returns those for keys of that hash. taken are values of other
// settings that senders sign with by mistake, each named by its setting.
func newClues(hash func() hash.Hash, keys []signature.Key, taken ...signature.Key) clues {
	nearly := []struct {
		how    string
		change func(string) string
	}{
		{"with a newline at its end", func(s string) string { return s + "\n" }},
		{"with a line break of Windows at its end", func(s string) string { return s + "\r\n" }},
		{"without the white space around it", strings.TrimSpace},
		{"without the quotes around it", func(s string) string { return strings.Trim(s, `'"`) }},
		{"in double quotes", func(s string) string { return `"` + s + `"` }},
		{"in single quotes", func(s string) string { return "'" + s + "'" }},
		{"decoded from hex", func(s string) string { b, err := hex.DecodeString(s); return decoded(b, err) }},
		{"decoded from base64", func(s string) string { b, err := base64.StdEncoding.DecodeString(s); return decoded(b, err) }},
	}
	var near []signature.Key
	for _, n := range nearly {
		for _, k := range keys {
			if s := n.change(string(k.Secret)); s != "" && s != string(k.Secret) {
				near = append(near, signature.Key{ID: n.how, Secret: []byte(s)})
			}
		}
	}
	return clues{near: signature.NewKeyringOf(hash, near...), taken: signature.NewKeyringOf(hash, taken...)}
}

func decoded(b []byte, err error) string {
	if err != nil {
		return ""
	}
	return string(b)
}

// maxClueBody is the longest body that is looked at, in bytes: a stranger should
// not make much work.
const maxClueBody = 256 << 10

// explain returns the refusal of a request whose signature fits none of the keys.
// right reports under which key of a ring a body would have been right.
func (c clues) explain(setting string, keys *signature.Keyring, request *Request, right func(r *signature.Keyring, body []byte) (keyID string, ok bool)) error {
	if request.brief() {
		return errBrief
	}
	if body := request.Body; len(body) <= maxClueBody {
		if how, ok := right(c.near, body); ok {
			return refusef("the signature is right for the secret %s: sender and %s have to be the same, character by character", how, setting)
		}
		if other, ok := right(c.taken, body); ok {
			return refusef("the signature is right for the value of %s: the sender has to sign with that of %s", other, setting)
		}
		for v := range variants(body) {
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

// variants yields the body as it may have been, less those that are the body.
func variants(body []byte) iter.Seq[variant] {
	return func(yield func(variant) bool) {
		for _, all := range []func([]byte) []variant{plainVariants, jsonVariants} {
			for _, v := range all(body) {
				if !bytes.Equal(v.body, body) && !yield(v) {
					return
				}
			}
		}
	}
}

func plainVariants(body []byte) []variant {
	unix := bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	return []variant{
		{"with a newline at its end", append(bytes.Clone(body), '\n')},
		{"without the white space around it", bytes.TrimSpace(body)},
		{"with the line breaks of Unix", unix},
		{"with the line breaks of Windows", bytes.ReplaceAll(unix, []byte("\n"), []byte("\r\n"))},
		{"without a byte order mark", bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))},
		{"when it was still empty", nil},
	}
}

// jsonVariants are a body of JSON as other programs write it.
func jsonVariants(body []byte) []variant {
	var compact, html bytes.Buffer
	if json.Compact(&compact, body) != nil {
		return nil
	}
	tight := compact.Bytes()
	json.HTMLEscape(&html, tight)
	ascii, plain := escapeUnicode(tight), unescapeUnicode(tight)
	return []variant{
		{"without white space between its members", tight},
		{"with a space behind each comma and colon", respace(tight)},
		{"with \\u escapes for what is not ASCII", ascii},
		{"with \\u escapes for what is not ASCII, and a space behind each comma and colon", respace(ascii)},
		{"without \\u escapes", plain},
		{"without \\u escapes, and with a space behind each comma and colon", respace(plain)},
		{"with \\/ for /", escapeSlashes(tight)},
		{"with \\u escapes for what is not ASCII, and \\/ for /", escapeSlashes(ascii)},
		{"with / for \\/", bytes.ReplaceAll(tight, []byte(`\/`), []byte("/"))},
		{"without \\u escapes, and with / for \\/", bytes.ReplaceAll(plain, []byte(`\/`), []byte("/"))},
		{"with \\u escapes for <, > and &", html.Bytes()},
	}
}

// escapeSlashes writes / as \/, as PHP does.
func escapeSlashes(b []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte(`\/`), []byte("/")), []byte("/"), []byte(`\/`))
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
		if utf16.IsSurrogate(r) {
			low, more := escaped(b[i+size:])
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				r, size = pair, size+more
			}
		}
		if size == 0 || r < utf8.RuneSelf || utf16.IsSurrogate(r) {
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
	var two [2]byte
	if len(b) < length || b[0] != '\\' || b[1] != 'u' {
		return 0, 0
	}
	if _, err := hex.Decode(two[:], b[2:length]); err != nil {
		return 0, 0
	}
	return rune(two[0])<<8 | rune(two[1]), length
}
