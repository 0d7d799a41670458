package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lyftr/internal/provider"
)

// Access is what may change while the server runs: with which secrets senders
// sign, and with which tokens people read.
type Access struct {
	// Providers are those of provider.All, prepared, in its order.
	Providers []provider.Provider
	// Tokens are the API tokens; without any, messages are shown to everybody.
	Tokens []string
}

// access is an Access as the server uses it. It is never changed, only replaced.
type access struct {
	providers []provider.Provider
	tokens    []apiToken
}

// apiToken is a token as it is kept: what is needed to recognize it.
type apiToken struct {
	sum [sha256.Size]byte // its SHA-256
	key []byte            // signs the sessions that it begins
}

// Allow takes a new Access in place of the one before. Requests that have begun
// go on with the one that they began with.
func (s *Server) Allow(a Access) {
	next := &access{providers: a.Providers}
	for _, t := range a.Tokens {
		sum := sha256.Sum256([]byte(t))
		next.tokens = append(next.tokens, apiToken{sum, sessionKey(sum)})
	}
	for _, p := range a.Providers {
		s.Metrics.Secrets(p.Source(), p.KeyIDs())
	}
	s.access.Store(next)
}

// find returns the token that a text is, in constant time.
func (a *access) find(text string) (t apiToken, ok bool) {
	sum := sha256.Sum256([]byte(text))
	found := -1
	for i := range a.tokens {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(a.tokens[i].sum[:], sum[:]), i, found)
	}
	if found < 0 {
		return apiToken{}, false
	}
	return a.tokens[found], true
}

// tokenChallenge tells who has no token which kind of one is wanted.
const tokenChallenge = `Bearer realm="lyftr"` //nolint:gosec // nothing secret

// authorize lets those pass who may see messages: everybody if there is no API
// token, else whoever has one, or the cookie of a session that began with one.
func (s *Server) authorize(c *call) error {
	a := s.access.Load()
	if len(a.tokens) == 0 {
		return nil
	}
	if token, ok := bearer(c.r.Header); ok {
		_, err := s.tryToken(c, a, token)
		return err
	}
	if cookie, err := c.r.Cookie(SessionCookie); err == nil {
		return s.resume(c, a, cookie.Value)
	}
	return errToken // nothing was tried, so nothing failed
}

// bearer returns the token that a request carries. Another scheme is none: a
// proxy in front may have a password of its own.
func bearer(h http.Header) (token string, ok bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

// tryToken returns the token that a text is. Beyond the limit of failures it is
// not even compared, so that guessing goes on at the limit's pace and no faster,
// whatever a guess would have been worth. The price is that strangers behind the
// same address can hold up whoever signs in there; sessions go on, see resume.
func (s *Server) tryToken(c *call, a *access, text string) (apiToken, error) {
	now, network := time.Now(), s.client(c.r).network()
	if wait := s.badTokens.wait(network, now); wait > 0 {
		return apiToken{}, c.limited(wait)
	}
	t, ok := a.find(text)
	if !ok {
		s.badTokens.add(network, now)
		return apiToken{}, errToken
	}
	return t, nil
}

// resume lets a session go on. One that was right before is not limited, so that
// nobody is shut out of the page that he has open. Any other cookie is a guess
// like that of a token, from which it can be made.
func (s *Server) resume(c *call, a *access, cookie string) error {
	session, ok := parseSession(cookie)
	if !ok {
		return errToken
	}
	now, network := time.Now(), s.client(c.r).network()
	known := s.sessions.has(session)
	if !known {
		if wait := s.badTokens.wait(network, now); wait > 0 {
			return c.limited(wait)
		}
	}
	switch {
	case !a.signed(session):
		s.badTokens.add(network, now)
		return errToken
	case !now.Before(session.end()):
		return errToken // it was right once
	case !known:
		s.sessions.add(session, now)
	}
	// Whoever uses the cookie must not be another site's page.
	if s.origins.Check(c.r) != nil {
		return errOrigin
	}
	return nil
}

// limited returns the error of a client that failed too often.
func (c *call) limited(wait time.Duration) error {
	seconds := (wait + time.Second - 1) / time.Second
	c.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	return errLimited
}

// badSignature returns the error of a delivery or challenge whose signature is
// wrong, for the cause that err tells. Unlike a token a signature is always
// looked at, and one that is right always accepted: all senders may come by the
// address of one proxy, and strangers there must not be able to shut them out.
func (s *Server) badSignature(c *call, err error) error {
	if wait := s.badSignatures.add(s.client(c.r).network(), time.Now()); wait > 0 {
		c.reason = "so many attempts from this address have failed that why this one does is not looked into"
		return c.limited(wait)
	}
	return err
}
