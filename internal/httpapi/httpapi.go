// Package httpapi is lyftr's HTTP face: the routes, what each of them answers,
// and for every request one log line, its metrics and its spans.
package httpapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/telemetry"
)

// Options are what the server works with. All must be set but Tracing.
type Options struct {
	Store   message.Store
	Metrics *telemetry.Metrics
	// Tracing makes the spans of requests; without it there are none.
	Tracing *telemetry.Tracing
	// Lines takes the log line of each request, written in one piece; those
	// below Level are left out.
	Lines io.Writer
	Level slog.Level
	// Logger takes what a line cannot hold, such as the stack of a panic.
	Logger *slog.Logger
	// Access says who may do what, until Allow changes it.
	Access Access
	// MaxBodyBytes is the longest body in lyftr's own format.
	MaxBodyBytes int64
	// MaxInflightBytes bounds the bodies that are held at one time.
	MaxInflightBytes int64
	// SaveTimeout is how long a delivery waits for its commit.
	SaveTimeout time.Duration
	// WriteTimeout is how long an answer that was waited for may take to be
	// written, and each piece of an event stream or an export.
	WriteTimeout time.Duration
	// AppName is what the service is called on its pages and in its document.
	AppName string
	// Version is the program's.
	Version string
	// Pages answers a request for one of the pages or for what they are made of.
	// It returns false, and has written nothing, if there is none of that path.
	Pages func(w http.ResponseWriter, r *http.Request) bool
	// TrustedProxies are the networks of the proxies whose word counts on who a
	// client is; may be empty.
	TrustedProxies []netip.Prefix
	// FailureLimit is how many wrong signatures a minute, and as many wrong
	// tokens, a client may send; 0 is no limit.
	FailureLimit int
}

// Server answers requests. Make it with New.
type Server struct {
	Options
	mux *http.ServeMux
	// messageByID is the route of messagePath, which dispatch takes by itself.
	messageByID methods
	access      atomic.Pointer[access]
	refusals    *refusals
	errors      *telemetry.Limiter
	inflight    atomic.Int64
	saving      deadlines
	draining    atomic.Bool
	readers     *readers
	heartbeat   time.Duration
	exports     chan struct{}   // holds one for each export that runs
	ending      context.Context // ends with End
	end         context.CancelFunc
	calls       sync.Pool
	bodies      sync.Pool

	sessions   *sessions
	origins    *http.CrossOriginProtection
	signInPage signInPage
	document   document
	// Two limits: a sender with a wrong secret, behind the same proxy as
	// everybody, must not keep out who wants to see what is wrong with it.
	badSignatures, badTokens *failures
}

// route is one line of the list below.
type route struct {
	method string
	path   string // its template, as ServeMux reads it
	label  string // the template as metrics show it
	handle func(*Server, *call) error
	// shows says that the answer shows messages, so that it needs a token.
	shows bool
	// statuses are those it can answer with, besides 500.
	statuses []int
}

// routes are all routes there are, but those of the providers.
var routes = []route{
	{"GET", "/messages", "/messages", (*Server).listMessages, true, []int{200, 401, 422, 429, 499, 503}},
	{"DELETE", "/messages", "/messages", (*Server).eraseMessages, true, []int{200, 401, 403, 422, 429, 499, 503}},
	{"GET", messagePath, "/messages/{message_id}", (*Server).getMessage, true, []int{200, 401, 404, 422, 429, 499, 503}},
	{"GET", "/statuses", "/statuses", (*Server).getStatuses, true, []int{200, 401, 422, 429, 499, 503}},
	{"GET", "/stats", "/stats", (*Server).stats, true, []int{200, 401, 422, 429, 499, 503}},
	{"GET", "/stats/timeline", "/stats/timeline", (*Server).timeline, true, []int{200, 401, 422, 429, 499, 503}},
	{"GET", "/feed", "/feed", (*Server).feed, true, []int{200, 401, 422, 429, 499, 503}},
	{"GET", "/export", "/export", (*Server).export, true, []int{200, 401, 422, 429, 499, 503, 505}},
	{"GET", "/rejected", "/rejected", (*Server).rejected, true, []int{200, 401, 422, 429, 499, 503}},
	{"GET", "/{$}", "/", (*Server).dashboard, false, []int{200, 401, 429}},
	{"GET", assetPath, "/assets/{asset}", (*Server).page, false, []int{200, 404}},
	{"GET", "/sign-in", "/sign-in", (*Server).showSignIn, false, []int{200, 303}},
	{"POST", "/sign-in", "/sign-in", (*Server).signIn, false, []int{303, 400, 401, 403, 413, 429}},
	{"POST", "/sign-out", "/sign-out", (*Server).signOut, false, []int{303, 403}},
	{"GET", "/health/live", "/health/live", (*Server).live, false, []int{200}},
	{"GET", "/health/ready", "/health/ready", (*Server).ready, false, []int{200, 503}},
	{"GET", "/metrics", "/metrics", (*Server).metrics, false, []int{200}},
	{"GET", "/docs", "/docs", (*Server).page, false, []int{200}},
	{"GET", "/openapi.json", "/openapi.json", (*Server).documentJSON, false, []int{200}},
	{"GET", "/openapi.yaml", "/openapi.yaml", (*Server).documentYAML, false, []int{200}},
}

// deliveries are the routes of the providers, in their order.
func deliveries(providers []provider.Provider) []route {
	var list []route
	for i, p := range providers {
		path := provider.Path(p)
		list = append(list, route{"POST", path, path, func(s *Server, c *call) error { return s.deliver(c, i) }, false,
			[]int{200, 400, 401, 413, 415, 422, 429, 503}})
		if _, ok := p.(provider.Challenger); ok {
			list = append(list, route{"GET", path, path, func(s *Server, c *call) error { return s.challenge(c, i) }, false,
				[]int{200, 403, 429, 503}})
		}
	}
	return list
}

// allRoutes are those of the providers and the others.
func allRoutes(providers []provider.Provider) []route {
	return append(deliveries(providers), routes...)
}

// assetPath is where the pages' scripts and styles are.
const assetPath = "/assets/{asset...}"

// messagePath is the only path that matches what is not clean.
const messagePath = "/messages/{message_id...}"

// unmatched is the label of every request without a route.
const unmatched = "unmatched"

// Routes lists the labels and statuses of the requests' metrics.
func Routes() []telemetry.Route {
	list := []telemetry.Route{{Path: unmatched, Statuses: []int{404, 405}}}
	for _, r := range allRoutes(provider.All()) {
		list = append(list, telemetry.Route{Path: r.label, Statuses: append([]int{500}, r.statuses...)})
	}
	return list
}

// New returns a server that answers by the list of routes.
func New(o Options) *Server {
	s := &Server{
		Options: o,
		mux:     http.NewServeMux(),
		errors:  telemetry.NewLimiter(time.Second),

		heartbeat: feedHeartbeat,
		exports:   make(chan struct{}, maxExports),

		sessions:      &sessions{end: map[session]time.Time{}},
		origins:       http.NewCrossOriginProtection(),
		signInPage:    newSignInPage(),
		document:      newDocument(o.AppName, o.Version),
		badSignatures: newFailures(o.FailureLimit),
		badTokens:     newFailures(o.FailureLimit),
	}
	s.saving.timeout = o.SaveTimeout
	s.refusals = &refusals{store: o.Store}
	s.ending, s.end = context.WithCancel(context.Background())
	s.readers = newReaders(o.Store, s.ending.Done())
	s.calls.New = func() any {
		c := &call{}
		c.brief = func() bool { return s.badSignatures.wait(s.client(c.r).network(), time.Now()) > 0 }
		return c
	}
	s.bodies.New = func() any { return new([]byte) }
	s.Allow(o.Access)
	byPath := map[string]methods{}
	for _, r := range allRoutes(o.Access.Providers) {
		byPath[r.path] = append(byPath[r.path], r)
	}
	s.messageByID = byPath[messagePath]
	for path, m := range byPath {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			c := w.(*call)
			c.r = r // ServeMux has set its path values
			s.serve(c, m)
		})
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.(*call).err = errNoRoute
	})
	return s
}

// methods are the routes of one path.
type methods []route

func (m methods) allow() string {
	names := make([]string, 0, len(m)+1)
	for _, r := range m {
		names = append(names, r.method)
		if r.method == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	return strings.Join(names, ", ")
}

// Drain makes /health/ready say that the server is going to stop.
func (s *Server) Drain() { s.draining.Store(true) }

// End ends what goes on for longer than a shutdown waits, before Shutdown is
// called: readers of the feed get what there is, event streams and exports end,
// an erasure is broken off, which the next call goes on with; and none of them
// begins from now on.
func (s *Server) End() { s.end() }

// Close writes what the server has noted to the store. It is called when no
// request is left and before the store is closed.
func (s *Server) Close() { s.refusals.close() }

// dispatch finds the route. ServeMux would redirect a path that is not clean,
// and a redirected POST loses its body: here such a path has no route, except
// that a message's id may look like anything.
func (s *Server) dispatch(c *call) {
	escaped := c.r.URL.EscapedPath()
	switch {
	case c.r.RequestURI == "*" || !strings.HasPrefix(escaped, "/"):
		c.err = errNoRoute
	case clean(escaped):
		s.mux.ServeHTTP(c, c.r)
	case strings.HasPrefix(escaped, "/messages/"):
		c.r.SetPathValue("message_id", strings.TrimPrefix(c.r.URL.Path, "/messages/"))
		s.serve(c, s.messageByID)
	default:
		c.err = errNoRoute
	}
}

func clean(p string) bool {
	c := path.Clean(p)
	return c == p || c != "/" && c+"/" == p
}

// serve runs the route for the request's method.
func (s *Server) serve(c *call, m methods) {
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, r := range m {
		if r.method != method {
			continue
		}
		c.label = r.label
		if r.shows {
			if c.err = s.authorize(c); c.err != nil {
				return
			}
			c.Header()["Cache-Control"] = noStore
		}
		c.err = r.handle(s, c)
		return
	}
	c.Header().Set("Allow", m.allow())
	c.err = errMethod
}
