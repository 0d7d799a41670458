package httpapi_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// browsing is what browsers accept when they go to a page.
func browsing() func(*http.Request) {
	return header("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8")
}

const (
	// dashboardPart is of the dashboard alone, and formPart of the form to sign in.
	dashboardPart = `<nav aria-label="Views" id="views">`
	formPart      = `<form method="post" action="/sign-in">`
	signOutPart   = `action="/sign-out"`
)

// isPage holds an answer to be a page with a part and without others.
func (a answer) isPage(t *testing.T, status int, part string, not ...string) {
	t.Helper()
	if a.status != status || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Security-Policy") == "" {
		t.Errorf("got %d %v", a.status, a.header)
	}
	if !strings.Contains(a.body, part) {
		t.Errorf("the page lacks %s: %s", part, a.body)
	}
	for _, other := range not {
		if strings.Contains(a.body, other) {
			t.Errorf("the page has %s", other)
		}
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	open := start(t)
	for _, a := range []answer{open.get("/", browsing()), open.get("/")} {
		a.isPage(t, 200, dashboardPart, formPart, signOutPart)
		if !strings.Contains(a.body, "<title>Inbox &lt;of&gt; tests</title>") {
			t.Errorf("the page has another name: %s", a.body)
		}
	}

	s := start(t, withToken)
	s.seed(hello)
	a := s.get("/?q=a&message=%2B1", browsing())
	a.isPage(t, 401, formPart, dashboardPart)
	if want := `name="next" type="hidden" value="/?q=a&amp;message=%2B1"`; !strings.Contains(a.body, want) || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("the form lacks %s, or the answer its challenge %v: %s", want, a.header, a.body)
	}
	s.get("/").is(t, 401, tokenBody)
	s.get("/", header("Accept", "application/json")).is(t, 401, tokenBody)
	s.get("/", header("Authorization", "Bearer x")).is(t, 401, tokenBody)
	s.get("/", header("Authorization", "Bearer "+token)).isPage(t, 200, dashboardPart, formPart, signOutPart)
	session := cookie(s.signIn(token))
	s.get("/", session).isPage(t, 200, signOutPart, formPart)
	s.get("/", session, browsing()).isPage(t, 200, signOutPart, formPart)
	s.get("/", cookie("forged"), browsing()).isPage(t, 401, formPart, dashboardPart)
	if a := s.do(http.MethodHead, "/", nil, session); a.status != 200 || a.body != "" {
		t.Errorf("HEAD is answered %d %s", a.status, a.body)
	}
	s.do(http.MethodPost, "/", nil).is(t, 405, methodBody)
	// Nobody has to sign in for what shows no message.
	s.get("/docs", browsing()).isPage(t, 200, "swagger-ui", formPart)
}

func TestDashboardLimit(t *testing.T) {
	t.Parallel()
	s := start(t, limited)
	s.never = append(s.never, "198.51.100")
	for range 3 {
		s.get("/", header("Authorization", "Bearer x"), from("198.51.100.1")).is(t, 401, tokenBody)
	}
	s.get("/", header("Authorization", "Bearer x"), from("198.51.100.1")).isLimited(t)
	s.get("/", header("Authorization", "Bearer x"), browsing(), from("198.51.100.1")).isLimited(t)
	// Who tries nothing is shown the form, and others are not limited.
	s.get("/", browsing(), from("198.51.100.1")).isPage(t, 401, formPart, dashboardPart)
	s.get("/", header("Authorization", "Bearer "+token), from("198.51.100.2")).isPage(t, 200, dashboardPart, formPart)
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := start(t, withToken)
	folder := regexp.MustCompile(`/assets/[0-9a-f]{16}/`).FindString(s.get("/", header("Authorization", "Bearer "+token)).body)
	a := s.get(folder + "app.js") // the form to sign in has none, and nobody has to
	if a.status != 200 || a.header.Get("Content-Type") != "text/javascript; charset=utf-8" || !strings.Contains(a.body, "import ") {
		t.Errorf("got %d %v", a.status, a.header)
	}
	if h := s.do(http.MethodHead, folder+"app.js", nil); h.status != 200 || h.body != "" || h.header.Get("Content-Length") != a.header.Get("Content-Length") {
		t.Errorf("HEAD is answered %d %v", h.status, h.header)
	}
	for _, path := range []string{folder + "none.js", folder, "/assets/", "/assets/app.js", folder + "..%2fdashboard.go"} {
		s.get(path).is(t, 404, notFoundBody)
		if h := s.do(http.MethodHead, path, nil); h.status != 404 || h.body != "" || h.header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD %s is answered %d %v", path, h.status, h.header)
		}
	}
	s.do(http.MethodPost, folder+"app.js", nil).is(t, 405, methodBody)
}
