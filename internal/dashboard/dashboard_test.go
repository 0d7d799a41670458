package dashboard_test

import (
	"compress/gzip"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lyftr/internal/dashboard"
)

const cookieName = "a_session"

// site is what is tested.
type site struct {
	t     *testing.T
	pages *dashboard.Pages
}

func newSite(t *testing.T) site {
	return site{t, dashboard.New(dashboard.Options{AppName: `<b>"Inbox"</b>`, Version: "v1<2", SessionCookie: cookieName})}
}

// answer is what is answered: status 0 if there is none of that path.
type answer struct {
	status int
	header http.Header
	body   string
}

// get asks for a path.
func (s site) get(target string, headers ...string) answer {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, target, http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	if s.pages.Serve(w, r) {
		return answer{w.Code, w.Header(), w.Body.String()}
	}
	if w.Body.Len() > 0 || len(w.Header()) > 0 {
		s.t.Errorf("%s is none, and yet something is written: %v", target, w.Header())
	}
	return answer{}
}

func read(t *testing.T, from io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files are the assets, by their names as pages have them.
func files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	tree := os.DirFS("assets")
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(tree, name)
		if short, zipped := strings.CutSuffix(name, ".gz"); zipped {
			r, fault := gzip.NewReader(strings.NewReader(string(b)))
			if fault != nil {
				return fault
			}
			all[short] = read(t, r)
			return err
		}
		all[name] = string(b)
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("there are %d files: %v", len(all), err)
	}
	return all
}

func TestPage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.get("/?q=%3Cscript%3E")
	body := a.body
	for name, want := range map[string]string{
		"Content-Type":    "text/html; charset=utf-8",
		"Cache-Control":   "no-store",
		"Referrer-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
			"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
	} {
		if got := a.header.Get(name); a.status != http.StatusOK || got != want {
			t.Errorf("%d, %s is %q, want %q", a.status, name, got, want)
		}
	}
	for _, part := range []string{"<title>&lt;b&gt;&#34;Inbox&#34;&lt;/b&gt;</title>", `data-app="&lt;b&gt;&#34;Inbox&#34;&lt;/b&gt;"`, "lyftr v1&lt;2"} {
		if !strings.Contains(body, part) {
			t.Errorf("the page lacks %s: %s", part, body)
		}
	}
	if strings.Contains(body, "<b>") || regexp.MustCompile(`<script[^>]*>[^<]|<style| on[a-z]+=| style=`).MatchString(body) {
		t.Errorf("the page holds what its policy forbids: %s", body)
	}
	const signOut = `action="/sign-out"`
	if strings.Contains(body, signOut) {
		t.Error("who is not signed in can sign out")
	}
	if signed := s.get("/", "Cookie", cookieName+"=x").body; !strings.Contains(signed, signOut) {
		t.Error("who is signed in cannot sign out")
	}
}

var (
	inPage   = regexp.MustCompile(`(?:src|href)="/assets/[0-9a-f]{16}/([^"]+)"`)
	preloads = regexp.MustCompile(`<link rel="modulepreload" href="/assets/[0-9a-f]{16}/([^"]+)"`)
	static   = regexp.MustCompile(`(?m)^(?:import|export)\b[^;]*?from "([^"]+)"|^import "([^"]+)"`)
	dynamic  = regexp.MustCompile(`import\("([^"]+)"\)|new URL\("([^"]+)", import\.meta\.url\)`)
	inStyle  = regexp.MustCompile(`url\(["']?([^"')]+)|@import "([^"]+)"`)
)

// named returns the files that one names in a pattern, by their paths from the
// folder.
func named(in *regexp.Regexp, name, content string) []string {
	var list []string
	for _, m := range in.FindAllStringSubmatch(content, -1) {
		to := strings.Join(m[1:], "")
		if strings.HasPrefix(to, "data:") || strings.HasPrefix(to, "#") {
			continue
		}
		list = append(list, path.Join(path.Dir(name), to))
	}
	return list
}

// reach returns what is loaded if these are, each by what some patterns name.
func reach(all map[string]string, begin []string, in ...*regexp.Regexp) map[string]bool {
	found := map[string]bool{}
	for len(begin) > 0 {
		name := begin[0]
		begin = begin[1:]
		if found[name] {
			continue
		}
		found[name] = true
		if path.Base(path.Dir(path.Dir(name))) == "vendor" {
			continue // of one file each, and minified
		}
		for _, p := range in {
			begin = append(begin, named(p, name, all[name])...)
		}
	}
	return found
}

// TestAssetsNamed: all that pages, scripts and style sheets name is there, and
// there is nothing else.
func TestAssetsNamed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := files(t)
	var begin []string
	for _, target := range pagePaths {
		for _, m := range inPage.FindAllStringSubmatch(s.get(target).body, -1) {
			begin = append(begin, m[1])
		}
	}
	found := reach(all, begin, static, dynamic, inStyle)
	for name := range found {
		if _, ok := all[name]; !ok {
			t.Errorf("%s is named and is not there", name)
		}
	}
	for name := range all {
		if !found[name] && !strings.HasPrefix(path.Base(name), "LICENSE") && path.Base(name) != "NOTICE" {
			t.Errorf("nothing names %s", name)
		}
	}
}

// TestPreloads: the browser is told at once of all that the first view takes, and
// of nothing else.
func TestPreloads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	all := files(t)
	var got []string
	for _, m := range preloads.FindAllStringSubmatch(s.get("/").body, -1) {
		got = append(got, m[1])
	}
	needed := reach(all, []string{"app.js", "views/messages.js"}, static)
	delete(needed, "app.js") // is a script of the page
	if want := slices.Sorted(maps.Keys(needed)); !slices.Equal(got, want) {
		t.Errorf("the page preloads\n%q, want\n%q", got, want)
	}
}

func TestAssets(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const old = "/assets/0123456789abcdef/"
	folder := regexp.MustCompile(`/assets/[0-9a-f]{16}/`).FindString(s.get("/").body)
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", "": "text/plain; charset=utf-8"}
	for name, content := range files(t) {
		for target, kept := range map[string]string{folder + name: "public, max-age=31536000, immutable", old + name: "no-cache"} {
			for _, encoding := range []string{"", "gzip"} {
				a := s.get(target, "Accept-Encoding", encoding)
				want, ok := kinds[path.Ext(name)]
				h := a.header
				if a.status != http.StatusOK || h.Get("Content-Type") != want || !ok || h.Get("Cache-Control") != kept || h.Get("Vary") != "Accept-Encoding" || h.Get("Content-Encoding") != encoding {
					t.Errorf("%s: %d %v", target, a.status, h)
				}
				body := a.body
				if h.Get("Content-Length") != strconv.Itoa(len(body)) {
					t.Errorf("%s has %d bytes and says %s", target, len(body), h.Get("Content-Length"))
				}
				if encoding == "gzip" {
					r, err := gzip.NewReader(strings.NewReader(body))
					if err != nil {
						t.Fatalf("%s: %v", target, err)
					}
					body = read(t, r)
				}
				if body != content {
					t.Errorf("%s with encoding %q is another than the file", target, encoding)
				}
			}
		}
	}
	for _, name := range []string{"", "none.js", "../dashboard.go", "assets/app.js", "app.js/", "views"} {
		if s.get(folder+name).status != 0 || s.get(old+name).status != 0 {
			t.Errorf("there is an asset %q", name)
		}
	}
	if s.get("/assets/app.js").status != 0 {
		t.Error("an asset has a path without a version")
	}
}

// TestNoOtherHost: nothing that is our own names another host, and what is not has
// its licence beside it.
func TestNoOtherHost(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	address := regexp.MustCompile(`(?i)(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}[^\s"'` + "`" + `)]*`)
	all := files(t)
	for _, target := range pagePaths {
		all[target] = s.get(target).body
	}
	for name, content := range all {
		if strings.HasPrefix(name, "vendor/") {
			if _, ok := all[path.Join(path.Dir(name), "LICENSE")]; !ok {
				t.Errorf("%s has no licence beside it", name)
			}
			continue
		}
		for _, found := range address.FindAllString(content, -1) {
			if found != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names %s", name, found)
			}
		}
	}
}

// pagePaths are where the pages are.
var pagePaths = []string{"/", "/docs"}
