// The contract of the HTTP face, tested from outside: a real server on a real
// port, real clients, a real database: every test runs with SQLite, then with
// PostgreSQL. A fake stands for the store only where a fault is wanted.
//
// Besides what a test asks for itself, service.stop holds every test to the
// rules that have no exception: one log line for each request, valid lines,
// nothing secret on them, and the same metric series at the end as at the start.
package httpapi_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/dashboard"
	"lyftr/internal/httpapi"
	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/store"
	"lyftr/internal/telemetry"
)

const (
	secret = "testsecret"
	sender = "+919876543210"
	// hello is the message of the contract's acceptance script.
	hello = `{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}`
	// helloSignature comes from openssl dgst -sha256 -hmac testsecret.
	helloSignature = "ff1016e524bc9299d18988ecf27a880af9428140e3850af0c73ea1eef091a4cb"

	okBody          = `{"status":"ok"}`
	signatureBody   = `{"detail":"invalid signature"}`
	tooLargeBody    = `{"detail":"body too large"}`
	encodingBody    = `{"detail":"a body with a Content-Encoding is not read: send it as it is signed"}`
	cutBody         = `{"detail":"the body did not arrive whole"}`
	unavailableBody = `{"detail":"temporarily unavailable, send again"}`
	noSecretBody    = `{"detail":"webhook secret not configured"}`
	internalBody    = `{"detail":"internal error"}`
	notFoundBody    = `{"detail":"Not Found"}`
	noMessageBody   = `{"detail":"message not found"}`
	methodBody      = `{"detail":"Method Not Allowed"}`
	tokenBody       = `{"detail":"missing or wrong API token"}`
)

// patience bounds every wait: far more than anything here takes.
const patience = 20 * time.Second

// config is what a test may change of a service.
type config struct {
	secret       string // of lyftr's own format
	previous     string
	setup        func(provider.Provider) // called with each, before it is prepared
	tokens       []string
	level        slog.Level
	maxBody      int64
	maxInflight  int64
	saveTimeout  time.Duration
	readTimeout  time.Duration
	writeTimeout time.Duration
	queueSize    int
	proxies      []netip.Prefix
	failureLimit int // none unless a test sets it: most fail on purpose
	heartbeat    time.Duration
	spans        string // where they are posted; empty for none
	sampler      string
	fault        func(message.Store) message.Store
	around       func(http.Handler) http.Handler
}

// service is lyftr as lyftr serve puts it together.
type service struct {
	t       testing.TB
	level   slog.Level
	dsn     string // the database's URL
	url     string
	addr    string
	real    message.Store
	api     *httpapi.Server
	metrics *telemetry.Metrics
	journal *journal
	client  *http.Client
	// never is what may not appear in the log.
	never []string
	// providers are those that it has, prepared.
	providers []provider.Provider

	server   *http.Server
	tracing  *telemetry.Tracing
	lines    *telemetry.LineWriter
	served   chan error
	requests atomic.Int64 // that reached the handler
	series   []string     // at the start
	ids      atomic.Int64
	stopped  sync.Once
}

// start runs a service until the test ends. Its settings are the defaults of
// lyftr serve.
func start(t testing.TB, changes ...func(*config)) *service {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("on %v", base)
		}
	})
	c := config{
		secret:       secret,
		maxBody:      1 << 20,
		maxInflight:  64 << 20,
		saveTimeout:  5 * time.Second,
		readTimeout:  15 * time.Second,
		writeTimeout: 30 * time.Second,
	}
	for _, change := range changes {
		change(&c)
	}
	s := &service{
		t:       t,
		level:   c.level,
		dsn:     base.create(t),
		journal: newJournal(),
		served:  make(chan error, 1),
		never:   append([]string{"Hello"}, c.tokens...),
	}
	for _, k := range []string{c.secret, c.previous} {
		if k != "" {
			s.never = append(s.never, k)
		}
	}
	s.lines = telemetry.NewLineWriter(s.journal)
	log := telemetry.NewLogger(s.lines, c.level)
	providers := provider.All()
	sources := make([]string, len(providers))
	for i, p := range providers {
		if c.setup != nil {
			c.setup(p)
		}
		if n, ok := p.(*provider.Native); ok {
			n.Secret, n.Previous = c.secret, c.previous
		}
		if err := p.Prepare(); err != nil {
			t.Fatal(err)
		}
		sources[i] = p.Source()
	}
	s.providers = providers
	var used message.Store
	s.metrics = telemetry.NewMetrics(telemetry.Options{
		Version: "test",
		Routes:  httpapi.Routes(),
		Sources: sources,
		Store:   func() message.StoreStatus { return used.Status() },
		Lost:    s.lines.Lost,
	})
	var err error
	s.real, err = store.Open(t.Context(), s.dsn, store.Options{
		Logger: log, QueueSize: c.queueSize, OnCommit: s.metrics.Committed,
	})
	if err != nil {
		t.Fatal(err)
	}
	used = s.real
	if c.fault != nil {
		used = c.fault(s.real)
	}
	if c.spans != "" {
		sampler, err := telemetry.ParseSampler(c.sampler, "")
		if err != nil {
			t.Fatal(err)
		}
		s.tracing = telemetry.NewTracing(telemetry.TracingOptions{
			URL: c.spans, Sampler: sampler, Service: "lyftr", Version: "test", Logger: log, Metrics: s.metrics,
		})
	}
	s.api = httpapi.New(httpapi.Options{
		Store:            used,
		Metrics:          s.metrics,
		Tracing:          s.tracing,
		Lines:            s.lines,
		Level:            c.level,
		Logger:           log,
		Access:           httpapi.Access{Providers: providers, Tokens: c.tokens},
		MaxBodyBytes:     c.maxBody,
		MaxInflightBytes: c.maxInflight,
		SaveTimeout:      c.saveTimeout,
		WriteTimeout:     c.writeTimeout,
		AppName:          "Inbox <of> tests",
		Version:          "test",
		Pages:            dashboard.New(dashboard.Options{AppName: "Inbox <of> tests", Version: "test", SessionCookie: httpapi.SessionCookie}).Serve,
		TrustedProxies:   c.proxies,
		FailureLimit:     c.failureLimit,
	})
	if c.heartbeat > 0 {
		s.api.SetHeartbeat(c.heartbeat)
	}
	s.series = slices.Sorted(maps.Keys(s.scrape()))

	var handler http.Handler = s.api
	if c.around != nil {
		handler = c.around(handler)
	}
	s.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.requests.Add(1)
			handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout:            5 * time.Second,
		ReadTimeout:                  c.readTimeout,
		WriteTimeout:                 c.writeTimeout,
		IdleTimeout:                  60 * time.Second,
		MaxHeaderBytes:               16 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = listener.Addr().String()
	s.url = "http://" + s.addr
	s.client = &http.Client{
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	go func() { s.served <- s.server.Serve(listener) }()
	t.Cleanup(func() { s.stop() })
	return s
}

// stop ends the service, checks what holds for every service, and returns the
// lines of all its requests.
func (s *service) stop() []entry {
	s.t.Helper()
	s.stopped.Do(func() {
		s.client.CloseIdleConnections()
		s.api.End()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			s.t.Errorf("shut down: %v", err)
		}
		if err := <-s.served; !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("serve: %v", err)
		}
		s.api.Close()
		if err := s.tracing.Shutdown(ctx); err != nil {
			s.t.Errorf("shut down tracing: %v", err)
		}
		metrics := s.scrape()
		if err := errors.Join(s.real.Close(), s.lines.Close()); err != nil {
			s.t.Errorf("close: %v", err)
		}
		s.check(metrics)
	})
	return s.journal.requests()
}

// check holds the service to the rules without exception.
func (s *service) check(metrics map[string]float64) {
	s.t.Helper()
	text := s.journal.text()
	for i, l := range s.journal.all() {
		if fault := l.fault(); fault != "" {
			s.t.Errorf("log line %d: %s: %q", i+1, fault, l["raw"])
		}
	}
	for _, secret := range s.never {
		if i := strings.Index(text, secret); i >= 0 {
			s.t.Errorf("the log holds %q: …%q…", secret, text[max(0, i-80):min(len(text), i+80)])
		}
	}
	if m := phone.FindString(text); m != "" {
		s.t.Errorf("the log holds the telephone number %q", m)
	}
	requests := s.requests.Load()
	var deliveries int
	for _, l := range s.journal.requests() {
		if l["result"] != nil {
			deliveries++
		}
	}
	if s.level <= slog.LevelInfo {
		if got := int64(len(s.journal.requests())); got != requests {
			s.t.Errorf("%d requests have %d log lines", requests, got)
		}
		if got := sum(metrics, "webhook_requests_total{"); got != float64(deliveries) {
			s.t.Errorf("webhook_requests_total sums up to %v, the log has %d deliveries", got, deliveries)
		}
	}
	if got := sum(metrics, "http_requests_total{"); got != float64(requests) {
		s.t.Errorf("http_requests_total sums up to %v of %d requests", got, requests)
	}
	// Those that waited for the feed are not timed.
	untimed := sum(metrics, `http_requests_total{path="/feed"`)
	if got := metrics["request_latency_ms_count"]; got > float64(requests) || got < float64(requests)-untimed {
		s.t.Errorf("request_latency_ms_count is %v for %d requests, of which %v may be untimed", got, requests, untimed)
	}
	if got := metrics["lyftr_feed_readers"]; got != 0 {
		s.t.Errorf("lyftr_feed_readers is %v without a reader", got)
	}
	if got := slices.Sorted(maps.Keys(metrics)); !slices.Equal(got, s.series) {
		s.t.Errorf("series that were not there at the start: %q", without(got, s.series))
	}
}

var phone = regexp.MustCompile(`\+[0-9]{6,}`)

func sum(metrics map[string]float64, prefix string) (total float64) {
	for name, v := range metrics {
		if strings.HasPrefix(name, prefix) {
			total += v
		}
	}
	return total
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// scrape returns the metrics that lyftr makes itself, without a request.
func (s *service) scrape() map[string]float64 {
	w := httptest.NewRecorder()
	s.metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return parseMetrics(s.t, w.Body.String())
}

// parseMetrics reads Prometheus text, less what is said of Go and the process.
func parseMetrics(t testing.TB, text string) map[string]float64 {
	t.Helper()
	metrics := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "go_") || strings.HasPrefix(line, "process_") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if i < 0 || err != nil {
			t.Errorf("not a metric: %q", line)
			continue
		}
		metrics[line[:i]] = v
	}
	return metrics
}

// metric returns one series, which must be there.
func (s *service) metric(name string) float64 {
	s.t.Helper()
	v, ok := s.scrape()[name]
	if !ok {
		s.t.Errorf("there is no series %s", name)
	}
	return v
}

// rows is the number of messages in the database.
func (s *service) rows() int64 {
	s.t.Helper()
	page, err := s.real.List(context.Background(), message.Query{Limit: 1})
	if err != nil {
		s.t.Error(err)
	}
	return page.Total
}

// seed stores messages without going through HTTP.
func (s *service) seed(bodies ...string) {
	s.t.Helper()
	messages := make([]message.Message, len(bodies))
	for i, b := range bodies {
		m, err := message.Decode([]byte(b))
		if err != nil {
			s.t.Fatalf("seed %s: %v", b, err)
		}
		messages[i] = m
	}
	s.save(messages...)
}

func (s *service) save(messages ...message.Message) {
	s.t.Helper()
	const batch = 100 // a commit has a time limit
	for some := range slices.Chunk(messages, batch) {
		if _, err := s.real.Save(s.t.Context(), some, nil); err != nil {
			s.t.Fatal(err)
		}
	}
}
