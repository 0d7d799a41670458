package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// notReady holds /health/ready to a 503 and returns its checks.
func notReady(t *testing.T, s *service) map[string]string {
	t.Helper()
	a := s.get("/health/ready")
	var body struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != 503 || body.Status != "not ready" || len(body.Checks) == 0 {
		t.Errorf("ready: got %d %s", a.status, a.body)
	}
	a.line.has(t, "level", "ERROR", "status", 503)
	return body.Checks
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := start(t)
	for range 2 {
		live, ready := s.get("/health/live"), s.get("/health/ready")
		live.is(t, 200, okBody)
		ready.is(t, 200, `{"status":"ready"}`)
		for _, a := range []answer{live, ready} {
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type is %q", got)
			}
		}
		s.post(hello).is(t, 200, okBody)
	}
	// What is accepted goes on while the server drains, but no more is asked for.
	s.api.Drain()
	if checks := notReady(t, s); checks["store"] != "ok" || checks["secret"] != "ok" || len(checks) != 3 {
		t.Errorf("checks are %v", checks)
	}
	s.get("/health/live").is(t, 200, okBody)
	s.post(hello).is(t, 200, okBody)
}

func TestReadyWithFailingStore(t *testing.T) {
	t.Parallel()
	s := start(t, withStore(func() error { return errors.New("disk zqdetail is full") }))
	for range 3 {
		if checks := notReady(t, s); checks["store"] == "ok" || checks["secret"] != "ok" {
			t.Errorf("checks are %v", checks)
		}
		s.get("/health/live").is(t, 200, okBody)
	}
	// Anybody may ask: the reason is in the log only.
	if a := s.get("/health/ready"); strings.Contains(a.body, "zqdetail") {
		t.Errorf("got %s", a.body)
	}
	s.stop()
	if n := strings.Count(s.journal.text(), "zqdetail"); n < 1 || n > 2 {
		t.Errorf("the reason is in the log %d times", n)
	}
}

func TestReadyWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.get("/health/ready").is(t, 200, `{"status":"ready"}`)
	base.destroy(t, s.dsn)
	// For a moment the last commit may stand for the next.
	for end := time.Now().Add(patience); s.get("/health/ready").status == 200; {
		if time.Now().After(end) {
			t.Fatal("ready for ever")
		}
	}
	if checks := notReady(t, s); checks["store"] == "ok" {
		t.Errorf("checks are %v", checks)
	}
	s.get("/health/live").is(t, 200, okBody)
}

// A store that does not answer is not ready, and that is said before who asks
// gives up.
func TestReadyHasADeadline(t *testing.T) {
	t.Parallel()
	const enough = 5 * time.Second
	s := start(t, withFault(&faulty{ready: func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < enough {
			return context.DeadlineExceeded
		}
		return nil
	}}))
	if checks := notReady(t, s); checks["store"] == "ok" {
		t.Errorf("checks are %v", checks)
	}
}

// A database that can be read and not written is not ready.
func TestReadyWithLockedDatabase(t *testing.T) {
	t.Parallel()
	s := start(t)
	unlock := base.lock(t, s.dsn)
	defer unlock()
	if a := s.get("/messages"); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if checks := notReady(t, s); checks["store"] == "ok" {
		t.Errorf("checks are %v", checks)
	}
}

func TestMetricsAtStart(t *testing.T) {
	t.Parallel()
	s := start(t)
	atStart := s.scrape()
	statuses := map[string][]int{
		"/webhook":               {200, 400, 401, 413, 415, 422, 429, 500, 503},
		"/webhook/whatsapp":      {200, 400, 401, 403, 413, 415, 422, 429, 500, 503},
		"/webhook/twilio":        {200, 400, 401, 413, 415, 422, 429, 500, 503},
		"/webhook/standard":      {200, 400, 401, 413, 415, 422, 429, 500, 503},
		"/messages":              {200, 401, 403, 422, 429, 499, 500, 503},
		"/messages/{message_id}": {200, 401, 404, 422, 429, 499, 500, 503},
		"/statuses":              {200, 401, 422, 429, 499, 500, 503},
		"/stats":                 {200, 401, 422, 429, 499, 500, 503},
		"/stats/timeline":        {200, 401, 422, 429, 499, 500, 503},
		"/feed":                  {200, 401, 422, 429, 499, 500, 503},
		"/export":                {200, 401, 422, 429, 499, 500, 503, 505},
		"/rejected":              {200, 401, 422, 429, 499, 500, 503},
		"/":                      {200, 401, 429, 500},
		"/assets/{asset}":        {200, 404, 500},
		"/sign-in":               {200, 303, 400, 401, 403, 413, 429, 500},
		"/sign-out":              {303, 403, 500},
		"/docs":                  {200, 500},
		"/openapi.json":          {200, 500},
		"/openapi.yaml":          {200, 500},
		"/health/live":           {200, 500},
		"/health/ready":          {200, 500, 503},
		"/metrics":               {200, 500},
		"unmatched":              {404, 405},
	}
	var want []string
	for path, list := range statuses {
		for _, status := range list {
			want = append(want, fmt.Sprintf("http_requests_total{path=%q,status=\"%d\"}", path, status))
		}
	}
	for _, result := range []string{"created", "duplicate", "invalid_signature", "validation_error", "unavailable", "too_large",
		"unsupported", "bad_request", "not_configured", "limited", "ignored", "challenge", "invalid_challenge", "error"} {
		want = append(want, fmt.Sprintf("webhook_requests_total{result=%q}", result))
	}
	for _, source := range []string{"native", "whatsapp", "twilio", "standard"} {
		for _, key := range []string{"current", "previous"} {
			want = append(want, fmt.Sprintf("lyftr_secret_uses_total{key=%q,source=%q}", key, source))
		}
		for _, kind := range []string{"message", "status", "ignored"} {
			want = append(want, fmt.Sprintf("lyftr_updates_total{kind=%q,source=%q}", kind, source))
		}
	}
	for _, le := range []string{"1", "100", "500", "10000", "+Inf"} {
		want = append(want, fmt.Sprintf("request_latency_ms_bucket{le=%q}", le))
	}
	want = append(want, "request_latency_ms_sum", "request_latency_ms_count",
		"lyftr_commit_duration_seconds_count", "lyftr_commit_duration_seconds_sum", "lyftr_commit_batch_messages_count",
		`lyftr_removed_messages_total{reason="erased"}`, `lyftr_removed_messages_total{reason="expired"}`,
		"lyftr_arrival_delay_seconds_count", "lyftr_queue_depth", "lyftr_feed_readers", "lyftr_stored_messages", "lyftr_mismatches_total",
		"lyftr_panics_total", "lyftr_trace_spans_dropped_total", "lyftr_ready")
	for _, name := range want {
		if v, ok := atStart[name]; !ok || v != 0 {
			t.Errorf("%s is %v (there: %v), want 0", name, v, ok)
		}
	}
	for name := range atStart {
		if strings.HasPrefix(name, "http_requests_total") && !slices.Contains(want, name) {
			t.Errorf("unexpected series %s", name)
		}
	}
	if v := atStart["lyftr_database_size_bytes"]; v <= 0 {
		t.Errorf("lyftr_database_size_bytes is %v", v)
	}
	if v := atStart["lyftr_queue_capacity"]; v != 4096 {
		t.Errorf("lyftr_queue_capacity is %v", v)
	}
	// The disk of a PostgreSQL server is not this machine's.
	if v, ok := atStart["lyftr_disk_free_bytes"]; ok != (base == sqliteFile{}) || ok && v <= 0 {
		t.Errorf("lyftr_disk_free_bytes is %v (there: %v)", v, ok)
	}
	if v := atStart[`lyftr_build_info{version="test"}`]; v != 1 {
		t.Errorf("lyftr_build_info is %v", v)
	}
	if s.requests.Load() != 0 {
		t.Fatal("there was a request")
	}

	a := s.get("/metrics")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Errorf("got %d %s", a.status, a.header.Get("Content-Type"))
	}
	if strings.Contains(a.body, secret) {
		t.Error("the metrics hold the secret")
	}
	if got, want := slices.Sorted(maps.Keys(parseMetrics(t, a.body))), slices.Sorted(maps.Keys(atStart)); !slices.Equal(got, want) {
		t.Errorf("over HTTP: %q more, %q less", without(got, want), without(want, got))
	}
	for _, name := range []string{"\nhttp_requests_total{", "\nwebhook_requests_total{", "\ngo_goroutines ", "\nprocess_start_time_seconds "} {
		if !strings.Contains(a.body, name) {
			t.Errorf("no line begins with %q", name[1:])
		}
	}
	for name, kind := range map[string]string{"http_requests_total": "counter", "webhook_requests_total": "counter", "request_latency_ms": "histogram"} {
		if !strings.Contains(a.body, "# TYPE "+name+" "+kind+"\n") {
			t.Errorf("%s is no %s", name, kind)
		}
	}
}

// Whoever watches the metrics learns of what /health/ready says.
func TestReadyMetric(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	s := start(t, withFault(&faulty{ready: func(context.Context) error {
		if broken.Load() {
			return errors.New("the disk is full")
		}
		return nil
	}}))
	ready := func(want float64) {
		t.Helper()
		if got, ok := parseMetrics(t, s.get("/metrics").body)["lyftr_ready"]; !ok || got != want {
			t.Errorf("lyftr_ready is %v (there: %v), want %v", got, ok, want)
		}
	}
	ready(1)
	broken.Store(true)
	ready(0)
	broken.Store(false)
	ready(1)
	s.api.Drain()
	ready(0)
	s = start(t, func(c *config) { c.secret = "" })
	ready(0)
}

func TestRequestMetrics(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.post(hello)
	s.get("/messages?limit=1")
	s.get("/messages?limit=0")
	s.get("/messages/m1")
	s.get("/messages/a%2Fb")
	s.raw("GET", "/messages/a//b")
	s.do(http.MethodHead, "/messages/m1", nil)
	s.get("/stats")
	s.get("/stats/timeline?bucket=x")
	s.get("/health/live")
	s.get("/health/ready")
	s.get("/metrics")
	s.get("/nothing")
	s.get("/webhook")
	s.do(http.MethodDelete, "/stats", nil)
	s.raw("GET", "//webhook")
	want := map[string]float64{
		`path="/webhook",status="200"`:               1,
		`path="/messages",status="200"`:              1,
		`path="/messages",status="422"`:              1,
		`path="/messages/{message_id}",status="200"`: 2,
		`path="/messages/{message_id}",status="404"`: 2,
		`path="/stats",status="200"`:                 1,
		`path="/stats/timeline",status="422"`:        1,
		`path="/health/live",status="200"`:           1,
		`path="/health/ready",status="200"`:          1,
		`path="/metrics",status="200"`:               1,
		`path="unmatched",status="404"`:              2,
		`path="unmatched",status="405"`:              2,
	}
	for series, v := range s.scrape() {
		labels, ok := strings.CutPrefix(series, "http_requests_total{")
		if labels = strings.TrimSuffix(labels, "}"); ok && v != want[labels] {
			t.Errorf("%s is %v, want %v", series, v, want[labels])
		}
	}
	if got := s.metric(`request_latency_ms_bucket{le="+Inf"}`); got != 16 {
		t.Errorf("request_latency_ms counts %v of 16", got)
	}
}

// However odd the requests, the series are those of the start: service.stop
// compares them for every test, here with many requests.
func TestSeriesStayFew(t *testing.T) {
	t.Parallel()
	s := start(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	methods := []string{"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW", "PROPFIND", "M-SEARCH", "X", "+1", strings.Repeat("M", 300)}
	parts := []string{"/", "//", "/.", "/..", "/webhook", "/messages", "/stats", "/timeline", "/health", "/live", "/ready", "/metrics", "/%2F", "/%00", "/%0a", "/%zz", "/\xff", "/é", "/{message_id}", "/a"}
	const requests, batch = 10_000, 100
	c := s.dial()
	odd := map[int]string{} // an example of each status that may not be
	for range requests / batch {
		var b strings.Builder
		var sent []string
		for range batch {
			method := methods[rnd.IntN(len(methods))]
			if rnd.IntN(20) == 0 {
				method = fmt.Sprintf("M%d", rnd.Uint64())
			}
			target := ""
			for range 1 + rnd.IntN(4) {
				part := parts[rnd.IntN(len(parts))]
				if rnd.IntN(3) == 0 {
					part = fmt.Sprintf("/%x", rnd.Uint32())
				}
				target += part
			}
			if target == "/" || strings.Contains(target, "%zz") { // the latter net/http refuses by itself
				target = "/x"
			}
			if rnd.IntN(4) == 0 {
				target += fmt.Sprintf("?limit=%d", rnd.IntN(3))
			}
			fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", method, target)
			sent = append(sent, method+" "+target)
		}
		if _, err := c.Write([]byte(b.String())); err != nil {
			t.Fatal(err)
		}
		for _, request := range sent {
			method, _, _ := strings.Cut(request, " ")
			if status := c.status(method); status/100 == 3 || status >= 500 {
				odd[status] = request
			}
		}
	}
	if got := s.requests.Load(); got != requests || len(odd) > 0 {
		t.Errorf("%d of %d requests arrived, odd statuses: %v", got, requests, odd)
	}
	if got := slices.Sorted(maps.Keys(s.scrape())); !slices.Equal(got, s.series) {
		t.Errorf("new series: %q", without(got, s.series))
	}
	if s.metric(`http_requests_total{path="unmatched",status="404"}`) == 0 || s.metric(`http_requests_total{path="unmatched",status="405"}`) == 0 {
		t.Error("nothing was unmatched")
	}
}
