package httpapi

import (
	"crypto/sha256"
	"testing"
	"time"
)

func tokensOf(texts ...string) *access {
	a := &access{}
	for _, text := range texts {
		sum := sha256.Sum256([]byte(text))
		a.tokens = append(a.tokens, apiToken{sum, sessionKey(sum)})
	}
	return a
}

func TestSession(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 5)
	both, one, two := tokensOf("one", "two"), tokensOf("one"), tokensOf("two")
	second, ok := both.find("two")
	if !ok {
		t.Fatal("a token is not found")
	}
	value := second.begin(now).cookie(false).Value
	v, ok := parseSession(value)
	if !ok || !v.end().Equal(now.Add(sessionTime).Truncate(time.Second)) {
		t.Fatalf("%q is read as %v, which ends at %v", value, ok, v.end())
	}
	// Every process with the token takes it, and none without.
	if !both.signed(v) || !two.signed(v) || one.signed(v) || tokensOf().signed(v) {
		t.Error("a session is not taken by those with its token alone")
	}
	for i := range v {
		changed := v
		changed[i] ^= 1
		if both.signed(changed) {
			t.Errorf("byte %d can be changed", i)
		}
	}
	for _, bad := range []string{"", value + "A", value[1:], "=" + value[1:], value[:len(value)-1] + "\n", value[:len(value)-1] + "_"} {
		if v, ok := parseSession(bad); ok && both.signed(v) {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, text := range []string{"", "on", "one ", "two one", "one,two"} {
		if _, ok := both.find(text); ok {
			t.Errorf("%q is a token", text)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	known, now := sessions{end: map[session]time.Time{}}, time.Unix(1_700_000_000, 0)
	token := tokensOf("one").tokens[0]
	for i := range maxSessions + 10 {
		known.add(token.begin(now.Add(time.Duration(i)*time.Second)), now)
	}
	if len(known.end) != maxSessions {
		t.Errorf("%d sessions are known, want %d", len(known.end), maxSessions)
	}
	later := now.Add(sessionTime + time.Hour) // all are over
	v := token.begin(later)
	if known.add(v, later); len(known.end) != 1 || !known.has(v) {
		t.Errorf("%d sessions are known when all but one are over", len(known.end))
	}
}

func TestLocalPath(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"": "/", "/": "/", "/messages?q=a&b=//c#d": "/messages?q=a&b=//c#d", "/é": "/é",
		"messages": "/", "//evil.test": "/", `/\evil.test`: "/", `\\evil.test`: "/", "https://evil.test": "/", "javascript:alert(1)": "/",
		"/\t/evil.test": "/", "/\n/evil.test": "/", "\x00/": "/", "/\x7f": "/",
	} {
		if got := localPath(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}
