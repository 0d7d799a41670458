package httpapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"lyftr/internal/httpapi"
)

const originBody = `{"detail":"the request comes from the page of another site; if not, a proxy on its way changes the header Host"}`

func (s *service) postForm(target, form string, changes ...func(*http.Request)) answer {
	s.t.Helper()
	return s.do(http.MethodPost, target, strings.NewReader(form),
		append([]func(*http.Request){header("Content-Type", "application/x-www-form-urlencoded")}, changes...)...)
}

func cookie(value string) func(*http.Request) { return header("Cookie", "lyftr_session="+value) }

// signIn returns the value of the cookie that a token gets.
func (s *service) signIn(token string, changes ...func(*http.Request)) string {
	s.t.Helper()
	a := s.postForm("/sign-in", url.Values{"token": {token}}.Encode(), changes...)
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == "lyftr_session" && a.status == http.StatusSeeOther {
			s.never = append(s.never, c.Value)
			return c.Value
		}
	}
	s.t.Fatalf("no session: %d %v", a.status, a.header)
	return ""
}

var styleText = regexp.MustCompile(`(?s)<style>(.*)</style>`)

func TestSignInPage(t *testing.T) {
	t.Parallel()
	s := start(t, withToken)
	a := s.get("/sign-in?next=" + url.QueryEscape(`/messages?q="><script>zqnext`))
	if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", a.status, a.header)
	}
	style := styleText.FindStringSubmatch(a.body)
	if style == nil {
		t.Fatalf("the page has no style: %s", a.body)
	}
	// A browser hashes what stands there.
	sum := sha256.Sum256([]byte(style[1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	if got := a.header.Get("Content-Security-Policy"); got != want {
		t.Errorf("the policy is %s, want %s", got, want)
	}
	for _, part := range []string{
		"Inbox &lt;of&gt; tests</title>", `<label for="token">`, `autocomplete="current-password"`, `method="post" action="/sign-in"`,
		`name="next" type="hidden" value="/messages?q=&#34;&gt;&lt;script&gt;zqnext"`,
	} {
		if !strings.Contains(a.body, part) {
			t.Errorf("the page lacks %s: %s", part, a.body)
		}
	}
	if strings.Contains(a.body, "<script") || strings.Contains(a.body, `role="alert"`) {
		t.Errorf("the page holds what it should not: %s", a.body)
	}
	s.never = append(s.never, "zqnext")
	if a := s.do(http.MethodHead, "/sign-in", nil); a.status != 200 || a.body != "" {
		t.Errorf("HEAD is answered %d %s", a.status, a.body)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := start(t, withToken, func(c *config) { c.proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	s.seed(hello)
	wrong := s.postForm("/sign-in", "token=zqwrong&next=/zqnext")
	if wrong.status != 401 || wrong.header.Get("Set-Cookie") != "" || !strings.Contains(wrong.body, `role="alert"`) || !strings.Contains(wrong.body, `value="/zqnext"`) || strings.Contains(wrong.body, "zqwrong") {
		t.Errorf("a wrong token is answered %d %v %s", wrong.status, wrong.header, wrong.body)
	}
	s.never = append(s.never, "zqwrong", "zqnext")

	right := s.postForm("/sign-in", "token=+"+token+"%0D%0A&next=/messages%3Fq%3Da")
	if right.status != 303 || right.header.Get("Location") != "/messages?q=a" {
		t.Errorf("the token is answered %d %v", right.status, right.header)
	}
	form := regexp.MustCompile(`^lyftr_session=[A-Za-z0-9_-]{55}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax$`)
	if got := right.header["Set-Cookie"]; len(got) != 1 || !form.MatchString(got[0]) || strings.Contains(got[0], token) {
		t.Errorf("the cookie is %q", got)
	}
	for _, next := range []string{"//evil.test/", `/\evil.test`, "https://evil.test", "/%09/evil.test", ""} {
		if got := s.postForm("/sign-in", "token="+token+"&next="+next).header.Get("Location"); got != "/" {
			t.Errorf("next %q leads to %q", next, got)
		}
	}
	secure := s.postForm("/sign-in", "token="+token, header("X-Forwarded-Proto", "https")).header.Get("Set-Cookie")
	if !strings.Contains(secure, "; Secure") {
		t.Errorf("by HTTPS the cookie is %q", secure)
	}
	for body, want := range map[string]int{"token=" + strings.Repeat("x", 4<<10): 413, "token=%zz": 400, "": 401, "token=": 401} {
		if a := s.postForm("/sign-in", body); a.status != want {
			t.Errorf("a form of %d bytes is answered %d, want %d", len(body), a.status, want)
		}
	}
}

func TestSessionCookie(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.tokens = []string{"zq-other", token} })
	s.seed(hello)
	session := cookie(s.signIn(token))
	for _, target := range []string{"/messages", "/messages/m1", "/stats", "/feed", "/export"} {
		if a := s.get(target, session); a.status != 200 {
			t.Errorf("%s is answered %d %s", target, a.status, a.body)
		}
	}
	// A password of the proxy's is none of lyftr's business; a token counts first.
	if a := s.get("/messages", session, header("Authorization", "Basic eDp4")); a.status != 200 {
		t.Errorf("with a proxy's password: %d", a.status)
	}
	s.get("/messages", session, header("Authorization", "Bearer x")).is(t, 401, tokenBody)

	// What changes something has to come from a page of this server.
	erase, foreign := "/messages?from=%2B1", header("Origin", "https://evil.test")
	s.do(http.MethodDelete, erase, nil, session, foreign).is(t, 403, originBody)
	s.do(http.MethodDelete, erase, nil, session, header("Sec-Fetch-Site", "cross-site")).is(t, 403, originBody)
	s.do(http.MethodDelete, erase, nil, session, header("Sec-Fetch-Site", "same-site")).is(t, 403, originBody)
	s.do(http.MethodDelete, erase, nil, foreign).is(t, 401, tokenBody)
	s.do(http.MethodDelete, erase, nil, session, header("Origin", s.url)).is(t, 200, `{"deleted":0}`)
	s.do(http.MethodDelete, erase, nil, session, header("Sec-Fetch-Site", "same-origin")).is(t, 200, `{"deleted":0}`)
	s.remove(erase, foreign).is(t, 200, `{"deleted":0}`) // no page of another site knows a token
	s.postForm("/sign-in", "token="+token, foreign).is(t, 403, originBody)
	s.postForm("/sign-out", "", session, foreign).is(t, 403, originBody)
	if a := s.get("/messages", session, foreign); a.status != 200 {
		t.Errorf("reading is answered %d", a.status)
	}

	out := s.postForm("/sign-out", "", session, header("Origin", s.url))
	if got := out.header.Get("Set-Cookie"); out.status != 303 || out.header.Get("Location") != "/sign-in" || !strings.HasPrefix(got, "lyftr_session=; Path=/; Max-Age=0; HttpOnly") {
		t.Errorf("signing out is answered %d %v", out.status, out.header)
	}
	s.get("/sign-out").is(t, 405, methodBody)

	// Another process with the token takes it; it ends when the token is taken away.
	other := start(t, func(c *config) { c.tokens = []string{token} })
	if a := other.get("/messages", session); a.status != 200 {
		t.Errorf("another replica answers %d %s", a.status, a.body)
	}
	other.api.Allow(httpapi.Access{Providers: other.providers, Tokens: []string{"zq-other"}})
	other.get("/messages", session).is(t, 401, tokenBody)
}

func TestSignInWithoutToken(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, a := range []answer{s.get("/sign-in?next=/stats"), s.postForm("/sign-in", "next=/stats&token=x")} {
		if a.status != 303 || a.header.Get("Location") != "/stats" || a.header.Get("Set-Cookie") != "" {
			t.Errorf("got %d %v", a.status, a.header)
		}
	}
}
