package signature_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/signature"
)

func key(id, secret string) signature.Key {
	return signature.Key{ID: id, Secret: []byte(secret)}
}

const (
	exampleBody = `{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}`
	exampleSig  = "ff1016e524bc9299d18988ecf27a880af9428140e3850af0c73ea1eef091a4cb"
)

// known are values that others computed: those of the contract, those of
// RFC 4231 and the example of GitHub's documentation.
var known = []struct{ name, secret, body, sig string }{
	{"contract", "testsecret", exampleBody, exampleSig},
	{"contract with spaces", "testsecret",
		`{ "message_id": "m1", "from": "+919876543210", "to": "+14155550100", "ts": "2025-01-15T10:00:00Z", "text": "Hello" }`,
		"00fa24f009ebceac4dddbd0e9917affb67dd55e3f6d64c648c8ad02ac31f5d6a"},
	{"contract in Hindi", "testsecret",
		`{"message_id":"m2","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:01Z","text":"नमस्ते 👋"}`,
		"17e83b7938da11e22853a7b18acd80e7b964661ed2428e1804673df4663b4ae6"},
	{"contract without text", "testsecret",
		`{"message_id":"m3","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:02Z"}`,
		"addaa46350d2cce354b56ed436c074083ae3463ffd2a7db5a10b831fc04a38b9"},
	{"RFC 4231 case 1", strings.Repeat("\x0b", 20), "Hi There",
		"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{"RFC 4231 case 2", "Jefe", "what do ya want for nothing?",
		"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{"RFC 4231 case 3", strings.Repeat("\xaa", 20), strings.Repeat("\xdd", 50),
		"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	{"RFC 4231 case 4", "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19", strings.Repeat("\xcd", 50),
		"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	{"RFC 4231 case 6", strings.Repeat("\xaa", 131), "Test Using Larger Than Block-Size Key - Hash Key First",
		"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	{"RFC 4231 case 7", strings.Repeat("\xaa", 131),
		"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
		"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	{"GitHub", "It's a Secret to Everybody", "Hello, World!",
		"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
}

func TestSignHex(t *testing.T) {
	for _, c := range known {
		t.Run(c.name, func(t *testing.T) {
			if got := signature.SignHex([]byte(c.secret), []byte(c.body)); got != c.sig {
				t.Errorf("got %s, want %s", got, c.sig)
			}
		})
	}
}

func TestVerifyHexKnown(t *testing.T) {
	for _, c := range known {
		t.Run(c.name, func(t *testing.T) {
			r := signature.NewKeyring(key("k", c.secret))
			// Twice, for the second one runs on a state that was used before.
			for range 2 {
				if id, ok := r.VerifyHex([]byte(c.body), c.sig); !ok || id != "k" {
					t.Errorf("got %q, %v", id, ok)
				}
			}
			if id, ok := r.VerifyHex([]byte(c.body+" "), c.sig); ok || id != "" {
				t.Errorf("longer body: got %q, %v", id, ok)
			}
			if id, ok := r.VerifyHex([]byte(c.body)[1:], c.sig); ok || id != "" {
				t.Errorf("shorter body: got %q, %v", id, ok)
			}
		})
	}
}

func TestVerifyHex(t *testing.T) {
	r := signature.NewKeyring(key("k", "testsecret"))
	for _, c := range []struct {
		name, sig string
		want      bool
	}{
		{"lower case", exampleSig, true},
		{"upper case", strings.ToUpper(exampleSig), true},
		{"mixed case", strings.ToUpper(exampleSig[:32]) + exampleSig[32:], true},
		{"empty", "", false},
		{"wrong", "123", false},
		{"one digit short", exampleSig[:63], false},
		{"one byte short", exampleSig[:62], false},
		{"half", exampleSig[:32], false},
		{"one digit long", exampleSig + "0", false},
		{"one byte long", exampleSig + "00", false},
		{"twice", exampleSig + exampleSig, false},
		{"list", exampleSig + "," + exampleSig, false},
		{"zeros", strings.Repeat("0", 64), false},
		{"not hex", strings.Repeat("z", 64), false},
		{"not hex at the end", exampleSig[:63] + "g", false},
		{"NUL at the end", exampleSig[:63] + "\x00", false},
		{"0x before", "0x" + exampleSig, false},
		{"0x in 64 characters", "0x" + exampleSig[:62], false},
		{"sha256= before", "sha256=" + exampleSig, false},
		{"space before", " " + exampleSig, false},
		{"space behind", exampleSig + " ", false},
		{"newline behind", exampleSig + "\n", false},
		{"space in 64 characters", " " + exampleSig[:63], false},
		{"space inside", exampleSig[:31] + " " + exampleSig[32:], false},
		{"colons", strings.Repeat("ff:", 21) + "f", false},
		{"quotes", `"` + exampleSig + `"`, false},
		{"full-width digits", strings.Repeat("０", 21) + "0", false},
		{"of the empty body", signature.SignHex([]byte("testsecret"), nil), false},
		{"of another secret", signature.SignHex([]byte("testsecret2"), []byte(exampleBody)), false},
		{"plain SHA-256", func() string { s := sha256.Sum256([]byte(exampleBody)); return hex.EncodeToString(s[:]) }(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, ok := r.VerifyHex([]byte(exampleBody), c.sig)
			if ok != c.want || (id == "k") != c.want {
				t.Errorf("got %q, %v", id, ok)
			}
		})
	}
}

// Every digit counts.
func TestVerifyHexEveryDigit(t *testing.T) {
	r := signature.NewKeyring(key("k", "testsecret"))
	for i := range exampleSig {
		for _, digit := range "0123456789abcdef" {
			if byte(digit) == exampleSig[i] {
				continue
			}
			forged := exampleSig[:i] + string(digit) + exampleSig[i+1:]
			if _, ok := r.VerifyHex([]byte(exampleBody), forged); ok {
				t.Errorf("accepted %s", forged)
			}
		}
	}
}

// What is not hex must not stand for a zero: MACs that end in one exist.
func TestVerifyHexZeroByte(t *testing.T) {
	r := signature.NewKeyring(key("k", "testsecret"))
	body, sig := []byte(exampleBody), exampleSig
	for !strings.HasSuffix(sig, "00") {
		body = append(body, ' ')
		sig = signature.SignHex([]byte("testsecret"), body)
	}
	for _, end := range []string{"zz", "0z", "z0", "  ", "0 ", "\x00\x00", "", "0", "0x"} {
		if _, ok := r.VerifyHex(body, sig[:62]+end); ok {
			t.Errorf("%q is taken for 00", end)
		}
	}
	if _, ok := r.VerifyHex(body, sig); !ok {
		t.Error("the right one is refused")
	}
}

func TestVerifyHexEmptyBody(t *testing.T) {
	r := signature.NewKeyring(key("k", "testsecret"))
	for _, body := range [][]byte{nil, {}} {
		if _, ok := r.VerifyHex(body, signature.SignHex([]byte("testsecret"), nil)); !ok {
			t.Error("the signature of nothing is refused")
		}
	}
}

func TestKeyringSeveralKeys(t *testing.T) {
	r := signature.NewKeyring(key("current", "new"), key("previous", "old"), key("same", "old"), key("oldest", "oldest"))
	for _, c := range []struct{ secret, want string }{
		{"new", "current"},
		{"old", "previous"}, // the first one that fits is named
		{"oldest", "oldest"},
		{"other", ""},
	} {
		id, ok := r.VerifyHex([]byte(exampleBody), signature.SignHex([]byte(c.secret), []byte(exampleBody)))
		if id != c.want || ok != (c.want != "") {
			t.Errorf("signed with %q: got %q, %v; want %q", c.secret, id, ok, c.want)
		}
	}
	if diff := cmp.Diff([]string{"current", "previous", "same", "oldest"}, r.IDs()); diff != "" {
		t.Error(diff)
	}
	if r.Empty() {
		t.Error("empty")
	}
}

// Without a key nothing is right, least of all what was signed with no key.
func TestKeyringEmpty(t *testing.T) {
	var zero signature.Keyring
	for name, r := range map[string]*signature.Keyring{"zero": &zero, "of none": signature.NewKeyring()} {
		for _, sig := range []string{"", exampleSig, strings.Repeat("0", 64), signature.SignHex(nil, []byte(exampleBody))} {
			if id, ok := r.VerifyHex([]byte(exampleBody), sig); ok || id != "" {
				t.Errorf("%s: %q verified: %q", name, sig, id)
			}
		}
		if !r.Empty() || len(r.IDs()) != 0 {
			t.Errorf("%s: not empty: %q", name, r.IDs())
		}
	}
}

func TestNewKeyringEmptySecret(t *testing.T) {
	for name, secret := range map[string][]byte{"nil": nil, "empty": {}} {
		func() {
			defer func() {
				text, _ := recover().(string)
				if !strings.Contains(text, "the name") {
					t.Errorf("%s: recovered %q, want a panic that names the key", name, text)
				}
			}()
			signature.NewKeyring(key("good", "secret"), signature.Key{ID: "the name", Secret: secret})
		}()
	}
}

// The caller may wipe the secret that it gave.
func TestKeyringKeepsOwnCopy(t *testing.T) {
	secret := []byte("testsecret")
	r := signature.NewKeyring(signature.Key{ID: "k", Secret: secret})
	clear(secret)
	if _, ok := r.VerifyHex([]byte(exampleBody), exampleSig); !ok {
		t.Error("the keyring holds the caller's bytes")
	}
}

// The pooled states must not mix the bodies of requests that run at once.
func TestKeyringConcurrent(t *testing.T) {
	const routines, rounds = 8, 200
	r := signature.NewKeyring(key("current", "new"), key("previous", "old"))
	var wg sync.WaitGroup
	for n := range routines {
		wg.Go(func() {
			body := []byte(strings.Repeat(string(rune('a'+n)), 10+100*n))
			current := signature.SignHex([]byte("new"), body)
			previous := signature.SignHex([]byte("old"), body)
			foreign := signature.SignHex([]byte("new"), append(body, '!'))
			for range rounds {
				if id, ok := r.VerifyHex(body, current); !ok || id != "current" {
					t.Errorf("current: %q, %v", id, ok)
				}
				if id, ok := r.VerifyHex(body, previous); !ok || id != "previous" {
					t.Errorf("previous: %q, %v", id, ok)
				}
				if id, ok := r.VerifyHex(body, foreign); ok {
					t.Errorf("of another body: %q", id)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzVerifyHex(f *testing.F) {
	for _, c := range known {
		f.Add([]byte(c.secret), []byte(c.body), c.sig)
		f.Add([]byte(c.secret), []byte(c.body), strings.ToUpper(c.sig))
		f.Add([]byte(c.secret+"x"), []byte(c.body), c.sig)
	}
	for _, sig := range []string{"", "123", "0x" + exampleSig, exampleSig + "\n", strings.Repeat("0", 64), strings.Repeat("g", 64)} {
		f.Add([]byte("testsecret"), []byte(exampleBody), sig)
	}
	f.Fuzz(func(t *testing.T, secret, body []byte, sig string) {
		if len(secret) == 0 {
			return // refused by NewKeyring
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		right := mac.Sum(nil)

		r := signature.NewKeyring(signature.Key{ID: "k", Secret: secret})
		given, err := hex.DecodeString(sig)
		want := err == nil && string(given) == string(right)
		if id, ok := r.VerifyHex(body, sig); ok != want || (id == "k") != want {
			t.Fatalf("%q: got %q, %v; want %v", sig, id, ok, want)
		}
		text := hex.EncodeToString(right)
		if signature.SignHex(secret, body) != text {
			t.Fatal("signed otherwise")
		}
		for _, s := range []string{text, strings.ToUpper(text)} {
			if _, ok := r.VerifyHex(body, s); !ok {
				t.Fatalf("refused the right one, %s", s)
			}
		}
	})
}

// sha1Known are values that others computed: those of RFC 2202 and one of
// Twilio's own libraries.
var sha1Known = []struct{ name, secret, body, sig string }{
	{"RFC 2202 case 1", strings.Repeat("\x0b", 20), "Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"},
	{"RFC 2202 case 2", "Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
	{"RFC 2202 case 6", strings.Repeat("\xaa", 80), "Test Using Larger Than Block-Size Key - Hash Key First", "aa4ae5e15272d00e95705637ce8a3b55ed402112"},
	{"Twilio", "12345", "https://mycompany.com/myapp.php?foo=1&bar=2booleantruepropertyvalue", "3417410ebfd3fe582323eb658295e3299419b3f9"},
}

func TestSign(t *testing.T) {
	for _, c := range sha1Known {
		if got := hex.EncodeToString(signature.Sign(sha1.New, []byte(c.secret), []byte(c.body))); got != c.sig {
			t.Errorf("%s: got %s, want %s", c.name, got, c.sig)
		}
	}
	for _, c := range known {
		for at := range len(c.body) { // however it is parted
			parts := [][]byte{[]byte(c.body[:at]), nil, []byte(c.body[at:])}
			if got := hex.EncodeToString(signature.Sign(sha256.New, []byte(c.secret), parts...)); got != c.sig {
				t.Errorf("%s, parted at %d: got %s", c.name, at, got)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	for _, c := range sha1Known {
		right, err := hex.DecodeString(c.sig)
		if err != nil {
			t.Fatal(err)
		}
		wrong := append(right[:19:19], ^right[19])
		r := signature.NewKeyringOf(sha1.New, key("other", "other"), key("k", c.secret))
		half := len(c.body) / 2
		for _, v := range []struct {
			name  string
			macs  [][]byte
			parts []string
			want  bool
		}{
			{"whole", [][]byte{right}, []string{c.body}, true},
			{"in parts", [][]byte{right}, []string{"", c.body[:half], c.body[half:]}, true},
			{"last of several", [][]byte{wrong, nil, right}, []string{c.body}, true},
			{"first of several", [][]byte{right, wrong}, []string{c.body}, true},
			{"wrong", [][]byte{wrong}, []string{c.body}, false},
			{"its beginning", [][]byte{right[:19]}, []string{c.body}, false},
			{"empty", [][]byte{{}}, []string{c.body}, false},
			{"none", nil, []string{c.body}, false},
			{"parts in another order", [][]byte{right}, []string{c.body[half:], c.body[:half]}, false},
			{"a part more", [][]byte{right}, []string{c.body, "x"}, false},
			{"no parts", [][]byte{right}, nil, false},
		} {
			var parts [][]byte
			for _, p := range v.parts {
				parts = append(parts, []byte(p))
			}
			if id, ok := r.Verify(v.macs, parts...); ok != v.want || (id == "k") != v.want {
				t.Errorf("%s, %s: got %q, %v", c.name, v.name, id, ok)
			}
		}
	}
}

// Several keys may have made one of several MACs: the first of the keys is named.
func TestVerifySeveralKeys(t *testing.T) {
	r := signature.NewKeyringOf(sha1.New, key("current", "new"), key("previous", "old"))
	by := func(secret string) []byte { return signature.Sign(sha1.New, []byte(secret), []byte("body")) }
	for want, macs := range map[string][][]byte{
		"current":  {by("old"), by("new")},
		"previous": {by("other"), by("old")},
		"":         {by("other"), signature.Sign(sha256.New, []byte("new"), []byte("body"))},
	} {
		if id, ok := r.Verify(macs, []byte("body")); id != want || ok != (want != "") {
			t.Errorf("got %q, %v; want %q", id, ok, want)
		}
	}
	var zero signature.Keyring
	if id, ok := zero.Verify([][]byte{by(""), nil, {}}, []byte("body")); ok || id != "" {
		t.Errorf("without a key: got %q", id)
	}
}
