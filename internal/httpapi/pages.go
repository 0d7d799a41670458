package httpapi

import (
	"errors"
	"net/http"
	"strings"
)

// dashboard answers GET /. A browser that may not see messages gets the form to
// sign in, in place of an error that says the same to programs.
func (s *Server) dashboard(c *call) error {
	switch err := s.authorize(c); {
	case errors.Is(err, errToken) && wantsPage(c.r.Header):
		c.Header().Set("WWW-Authenticate", tokenChallenge)
		return s.writeSignIn(c, errToken.status, localPath(c.r.URL.RequestURI()), "")
	case err != nil:
		return err
	}
	return s.page(c)
}

// page answers with one of the pages, or a part of one.
func (s *Server) page(c *call) error {
	if !s.Pages(c, c.r) {
		return errNoRoute
	}
	return nil
}

// wantsPage reports whether an Accept header names HTML, as browsers' do when
// they go to a page.
func wantsPage(h http.Header) bool {
	return strings.Contains(strings.Join(h["Accept"], ","), "text/html")
}
