// Package dashboard has the pages for people: the dashboard, the page of the API
// document, and what they are made of. All of it is built in, and nothing in it
// asks another host for anything. The pages show no message by themselves: their
// scripts ask the HTTP API, as any other client does.
package dashboard

import (
	"embed"
	"html/template"
	"net/http"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

//go:embed dashboard.html
var dashboardHTML string

//go:embed docs.html
var docsHTML string

// Options are what the pages show besides messages.
type Options struct {
	// AppName is what the service is called.
	AppName string
	// Version is the program's.
	Version string
	// Sources are those that messages come from.
	Sources []string
	// SessionCookie is the name of the cookie of who has signed in: he gets a
	// button to sign out.
	SessionCookie string
}

// Pages are the pages and the assets. Make them with New.
type Pages struct {
	Options
	assets    *assets
	dashboard *template.Template
	docs      *template.Template
}

// New panics if what is built in is wrong.
func New(o Options) *Pages {
	return &Pages{
		Options:   o,
		assets:    newAssets(assetFiles),
		dashboard: template.Must(template.New("dashboard").Parse(dashboardHTML)),
		docs:      template.Must(template.New("docs").Parse(docsHTML)),
	}
}

// docsPath is where the page of the API document is.
const docsPath = "/docs"

// page is what a template is given.
type page struct {
	App, Version string
	Sources      string // with spaces between
	// Assets is the path of the folder that the assets are in.
	Assets   string
	SignedIn bool
}

// policy allows what the pages need: their own scripts, styles and pictures,
// and requests to the API. Nothing stands in the page itself, and nothing of
// what a sender wrote can become a script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Serve answers a request for a page or an asset. It returns false, and has
// written nothing, if there is none of that path.
func (p *Pages) Serve(w http.ResponseWriter, r *http.Request) bool {
	if name, ok := strings.CutPrefix(r.URL.Path, assetsPath); ok {
		return p.assets.serve(w, r, name)
	}
	shown := p.dashboard
	if r.URL.Path == docsPath {
		shown = p.docs
	}
	p.write(w, r, shown)
	return true
}

// write answers with a page.
func (p *Pages) write(w http.ResponseWriter, r *http.Request, t *template.Template) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, err := r.Cookie(p.SessionCookie)
	// An error is that of a browser that has gone.
	_ = t.Execute(w, page{App: p.AppName, Version: p.Version, Sources: strings.Join(p.Sources, " "), Assets: p.assets.folder, SignedIn: err == nil})
}
