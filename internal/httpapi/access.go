package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

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
	tokens    [][sha256.Size]byte
}

// Allow takes a new Access in place of the one before. Requests that have begun
// go on with the one that they began with.
func (s *Server) Allow(a Access) {
	next := &access{providers: a.Providers}
	for _, t := range a.Tokens {
		next.tokens = append(next.tokens, sha256.Sum256([]byte(t)))
	}
	for _, p := range a.Providers {
		s.Metrics.Secrets(p.Source(), p.KeyIDs())
	}
	s.access.Store(next)
}

// authorize checks the API token, if one is needed, in constant time.
func (s *Server) authorize(r *http.Request) error {
	tokens := s.access.Load().tokens
	if len(tokens) == 0 {
		return nil
	}
	values := r.Header["Authorization"]
	if len(values) == 1 {
		scheme, token, _ := strings.Cut(values[0], " ")
		sum := sha256.Sum256([]byte(token))
		match := 0
		for i := range tokens {
			match |= subtle.ConstantTimeCompare(tokens[i][:], sum[:])
		}
		if match == 1 && strings.EqualFold(scheme, "Bearer") {
			return nil
		}
	}
	return errToken
}
