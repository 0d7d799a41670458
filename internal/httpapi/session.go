package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"sync"
	"time"
)

const (
	// SessionCookie is the name of the cookie that holds a session.
	SessionCookie = "lyftr_session"
	// sessionTime is how long a session lasts.
	sessionTime = 12 * time.Hour
	// sessionVersion is the first byte of a session. Another form of it needs
	// another version.
	sessionVersion = 1
	// sessionHead is what of a session is signed: version and end, in bytes.
	sessionHead = 1 + 8
)

// session is what stands for a token in a browser: version, end in seconds since
// 1970, and the HMAC-SHA256 of both. Nothing is kept of it that the next process
// would need: every replica with the token takes it, and it ends when its token
// is removed.
type session [sessionHead + sha256.Size]byte

// sessionKey derives the key that signs sessions from a token's hash.
func sessionKey(token [sha256.Size]byte) []byte {
	mac := hmac.New(sha256.New, token[:])
	mac.Write([]byte("lyftr session"))
	return mac.Sum(nil)
}

// begin returns a session that the token begins.
func (t apiToken) begin(now time.Time) session {
	var v session
	v[0] = sessionVersion
	binary.BigEndian.PutUint64(v[1:], uint64(now.Add(sessionTime).Unix())) //nolint:gosec // a time after 1970
	copy(v[sessionHead:], t.sign(v))
	return v
}

func (t apiToken) sign(v session) []byte {
	mac := hmac.New(sha256.New, t.key)
	mac.Write(v[:sessionHead])
	return mac.Sum(nil)
}

// end is when the session is over.
func (v session) end() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint64(v[1:])), 0) //nolint:gosec // it is looked at when the signature is right
}

// signed reports whether one of the tokens has begun the session. It tries all
// of them, in constant time.
func (a *access) signed(v session) bool {
	right := false
	for _, t := range a.tokens {
		if hmac.Equal(t.sign(v), v[sessionHead:]) {
			right = true
		}
	}
	return right && v[0] == sessionVersion
}

// parseSession reads a cookie's value.
func parseSession(s string) (v session, ok bool) {
	const encoded = (len(v)*8 + 5) / 6
	if len(s) != encoded {
		return v, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return v, false
	}
	return session(b), true
}

// cookie returns what keeps the session in a browser.
func (v session) cookie(secure bool) *http.Cookie {
	return newCookie(base64.RawURLEncoding.EncodeToString(v[:]), sessionTime, secure)
}

// noSession returns what takes it away.
func noSession(secure bool) *http.Cookie { return newCookie("", -time.Second, secure) }

// newCookie returns the cookie for so long. No script may read it, and no page of
// another site may send it along with a form.
func newCookie(value string, age time.Duration, secure bool) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // a browser that came by HTTP would not send back a secure one
		Name: SessionCookie, Value: value, Path: "/", MaxAge: int(age / time.Second),
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// maxSessions bounds how many sessions are known. Only who has a token can add
// one.
const maxSessions = 1000

// sessions are those that this process has seen to be right.
type sessions struct {
	mu  sync.Mutex
	end map[session]time.Time
}

func (k *sessions) has(v session) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.end[v]
	return ok
}

func (k *sessions) add(v session, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.end) >= maxSessions {
		for other, end := range k.end {
			if !end.After(now) {
				delete(k.end, other)
			}
		}
	}
	for other := range k.end {
		if len(k.end) < maxSessions {
			break
		}
		delete(k.end, other) // any: it is looked at again when it comes
	}
	k.end[v] = v.end()
}
