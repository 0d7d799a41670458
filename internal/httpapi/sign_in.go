package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxForm is the longest body of a form, in bytes.
const maxForm = 4 << 10

//go:embed sign_in.html
var signInHTML string

//go:embed sign_in.css
var signInCSS string

// signInPage is the page with the form.
type signInPage struct {
	template *template.Template
	policy   string
}

// signInData is what the page shows.
type signInData struct {
	App   string
	Style template.CSS
	Next  string // where to go on
	Error string // why the last attempt failed
}

// newSignInPage panics if the page, which is built in, is wrong.
func newSignInPage() signInPage {
	style := sha256.Sum256([]byte(signInCSS))
	return signInPage{
		template: template.Must(template.New("sign-in").Parse(signInHTML)),
		// The page runs no script and loads nothing; its style is the one built in.
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
			"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
	}
}

// writeSignIn answers with the page.
func (s *Server) writeSignIn(c *call, status int, next, fault string) error {
	h := c.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", s.signInPage.policy)
	// To the page itself browsers have to say where the form is sent from.
	h.Set("Referrer-Policy", "same-origin")
	h["Cache-Control"] = noStore
	c.WriteHeader(status)
	return s.signInPage.template.Execute(c, signInData{s.AppName, template.CSS(signInCSS), next, fault}) //nolint:gosec // it is built in
}

// showSignIn answers GET /sign-in.
func (s *Server) showSignIn(c *call) error {
	next := localPath(c.r.URL.Query().Get("next"))
	if len(s.access.Load().tokens) == 0 {
		return s.goTo(c, next)
	}
	return s.writeSignIn(c, http.StatusOK, next, "")
}

// signIn answers POST /sign-in: for a token there is the cookie of a session.
func (s *Server) signIn(c *call) error {
	// Another site must not be able to sign somebody in either.
	if s.origins.Check(c.r) != nil {
		return errOrigin
	}
	form, err := readForm(c)
	if err != nil {
		return err
	}
	next := localPath(form.Get("next"))
	a := s.access.Load()
	if len(a.tokens) == 0 {
		return s.goTo(c, next)
	}
	token, err := s.tryToken(c, a, strings.TrimSpace(form.Get("token")))
	switch {
	case errors.Is(err, errLimited):
		return s.writeSignIn(c, errLimited.status, next, "Too many failed attempts. Wait a minute, then try again.")
	case err != nil:
		return s.writeSignIn(c, errToken.status, next, "This is not one of the tokens.")
	}
	now := time.Now()
	session := token.begin(now)
	s.sessions.add(session, now)
	http.SetCookie(c, session.cookie(s.client(c.r).secure))
	return s.goTo(c, next)
}

// signOut answers POST /sign-out. It takes the cookie away; a copy of it would
// be good until its time is over.
func (s *Server) signOut(c *call) error {
	if s.origins.Check(c.r) != nil {
		return errOrigin
	}
	http.SetCookie(c, noSession(s.client(c.r).secure))
	return s.goTo(c, "/sign-in")
}

// goTo sends a browser to another page.
func (s *Server) goTo(c *call, next string) error {
	c.Header()["Cache-Control"] = noStore
	http.Redirect(c, c.r, next, http.StatusSeeOther)
	return nil
}

// localPath returns a path of this server, that of the dashboard in place of
// what is none: nobody should be sent from here to another server. Browsers take a
// backslash for a slash and leave control characters out.
func localPath(s string) string {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.HasPrefix(s, `/\`) || strings.ContainsFunc(s, control) {
		return "/"
	}
	return s
}

// readForm reads the form that a request carries.
func readForm(c *call) (url.Values, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.ResponseWriter, c.r.Body, maxForm))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge
	}
	form, malformed := url.ParseQuery(string(body))
	if err != nil || malformed != nil {
		return nil, errForm
	}
	return form, nil
}
