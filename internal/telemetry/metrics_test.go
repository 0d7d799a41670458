package telemetry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/telemetry"
)

func options() telemetry.Options {
	return telemetry.Options{
		Version: "v1.2.3",
		Routes: []telemetry.Route{
			{Path: "/webhook", Statuses: []int{200, 401, 413, 422, 503}},
			{Path: "/messages", Statuses: []int{200, 422}},
			{Path: "unmatched", Statuses: []int{404, 405}},
		},
		Sources: []string{"native"},
		Store: func() message.StoreStatus {
			return message.StoreStatus{Messages: 11, DatabaseBytes: 22, LogBytes: 33, QueueDepth: 44, QueueCapacity: 46, Unindexed: 45, DiskFreeBytes: 47, DiskKnown: true}
		},
		Lost: func() int64 { return 55 },
	}
}

// scrape returns every series of the metrics and its value.
func scrape(t *testing.T, m *telemetry.Metrics) map[string]float64 {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("got %d, %v", w.Code, w.Header())
	}
	series := map[string]float64{}
	for line := range strings.Lines(w.Body.String()) {
		if line[0] == '#' {
			continue
		}
		end := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(strings.TrimSpace(line[end+1:]), 64)
		if err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if _, twice := series[line[:end]]; twice {
			t.Errorf("%s stands twice", line[:end])
		}
		series[line[:end]] = value
	}
	return series
}

// part returns the series of some metrics, those whose names begin so.
func part(series map[string]float64, names ...string) map[string]float64 {
	some := map[string]float64{}
	for s, value := range series {
		if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(s, n) }) {
			some[s] = value
		}
	}
	return some
}

// delta returns what changed between two scrapes of some metrics.
func delta(before, after map[string]float64, names ...string) map[string]float64 {
	change := map[string]float64{}
	before = part(before, names...)
	for s, value := range part(after, names...) {
		if old, there := before[s]; !there || old != value {
			change[s] = value - old
		}
	}
	return change
}

// own are the metrics that lyftr counts itself.
var own = []string{"http_", "webhook_", "request_", "lyftr_"}

// A dashboard or an alert needs each series before the first request: a rate
// over a series that is not there is no 0.
func TestMetricsFromTheStart(t *testing.T) {
	series := scrape(t, telemetry.NewMetrics(options()))
	want := []string{
		`http_requests_total{path="/webhook",status="200"}`,
		`http_requests_total{path="/webhook",status="401"}`,
		`http_requests_total{path="/webhook",status="413"}`,
		`http_requests_total{path="/webhook",status="422"}`,
		`http_requests_total{path="/webhook",status="503"}`,
		`http_requests_total{path="/messages",status="200"}`,
		`http_requests_total{path="/messages",status="422"}`,
		`http_requests_total{path="unmatched",status="404"}`,
		`http_requests_total{path="unmatched",status="405"}`,
		`webhook_requests_total{result="created"}`,
		`webhook_requests_total{result="duplicate"}`,
		`webhook_requests_total{result="invalid_signature"}`,
		`webhook_requests_total{result="validation_error"}`,
		`webhook_requests_total{result="too_large"}`,
		`webhook_requests_total{result="unsupported"}`,
		`webhook_requests_total{result="bad_request"}`,
		`webhook_requests_total{result="unavailable"}`,
		`webhook_requests_total{result="not_configured"}`,
		`webhook_requests_total{result="error"}`,
		`request_latency_ms_bucket{le="1"}`,
		`request_latency_ms_bucket{le="100"}`,
		`request_latency_ms_bucket{le="500"}`,
		`request_latency_ms_bucket{le="10000"}`,
		`request_latency_ms_bucket{le="+Inf"}`,
		`request_latency_ms_count`,
		`request_latency_ms_sum`,
		`lyftr_mismatches_total`,
		`lyftr_panics_total`,
		`lyftr_trace_spans_dropped_total`,
		`lyftr_removed_messages_total{reason="erased"}`,
		`lyftr_removed_messages_total{reason="expired"}`,
		`lyftr_secret_uses_total{key="current",source="native"}`,
		`lyftr_secret_uses_total{key="previous",source="native"}`,
		`lyftr_commit_duration_seconds_count`,
		`lyftr_commit_batch_messages_count`,
		`lyftr_arrival_delay_seconds_count`,
	}
	for _, s := range want {
		if value, there := series[s]; !there || value != 0 {
			t.Errorf("%s: %v, there: %v", s, value, there)
		}
	}
	for _, c := range []struct {
		name string
		want int
	}{
		{"http_requests_total", 9},
		{"webhook_requests_total", len(telemetry.Results)},
		{"lyftr_secret_uses_total", 2},
	} {
		if got := len(part(series, c.name)); got != c.want {
			t.Errorf("%d series of %s, want %d", got, c.name, c.want)
		}
	}
	for _, s := range []string{"go_goroutines", "process_start_time_seconds"} {
		if series[s] == 0 {
			t.Errorf("%s is missing", s)
		}
	}
}

func TestMetricsGauges(t *testing.T) {
	o := options()
	status := o.Store()
	var asked int
	o.Store = func() message.StoreStatus {
		asked++
		return status
	}
	m := telemetry.NewMetrics(o)
	m.FeedReaders(3)
	m.FeedReaders(-1)
	want := map[string]float64{
		"lyftr_stored_messages":              11,
		"lyftr_database_size_bytes":          22,
		"lyftr_database_log_size_bytes":      33,
		"lyftr_unindexed_messages":           45,
		"lyftr_queue_depth":                  44,
		"lyftr_queue_capacity":               46,
		"lyftr_disk_free_bytes":              47,
		"lyftr_ready":                        0,
		"lyftr_feed_readers":                 2,
		"lyftr_log_write_failures_total":     55,
		`lyftr_build_info{version="v1.2.3"}`: 1,
	}
	names := []string{"lyftr_stored", "lyftr_database", "lyftr_unindexed", "lyftr_queue", "lyftr_disk", "lyftr_ready", "lyftr_feed", "lyftr_log", "lyftr_build"}
	if diff := cmp.Diff(want, part(scrape(t, m), names...)); diff != "" {
		t.Error(diff)
	}
	if asked != 1 {
		t.Errorf("a scrape asked the store %d times", asked)
	}
	status.Messages, status.DiskKnown, want["lyftr_stored_messages"], want["lyftr_ready"] = 12, false, 12, 1
	delete(want, "lyftr_disk_free_bytes") // an unknown figure is no 0
	m.Ready(true)
	if diff := cmp.Diff(want, part(scrape(t, m), names...)); diff != "" {
		t.Errorf("after a change: %s", diff)
	}
	m.Ready(false)
	if got := scrape(t, m)["lyftr_ready"]; got != 0 {
		t.Errorf("lyftr_ready is %v", got)
	}
}

func TestMetricsCount(t *testing.T) {
	now := lineTime
	for _, c := range []struct {
		name string
		do   func(m *telemetry.Metrics)
		want map[string]float64 // what changes, the buckets of histograms aside
	}{
		{"request", func(m *telemetry.Metrics) { m.Request("/webhook", 401, 1500*time.Microsecond) },
			map[string]float64{`http_requests_total{path="/webhook",status="401"}`: 1, "request_latency_ms_count": 1, "request_latency_ms_sum": 1.5}},
		{"three requests", func(m *telemetry.Metrics) {
			for range 3 {
				m.Request("unmatched", 404, time.Second)
			}
		}, map[string]float64{`http_requests_total{path="unmatched",status="404"}`: 3, "request_latency_ms_count": 3, "request_latency_ms_sum": 3000}},
		{"request with a status of its own", func(m *telemetry.Metrics) {
			m.Request("/messages", 500, 0)
			m.Request("/messages", 500, 0)
		}, map[string]float64{`http_requests_total{path="/messages",status="500"}`: 2, "request_latency_ms_count": 2}},
		{"created", func(m *telemetry.Metrics) { m.Delivery(telemetry.ResultCreated) }, map[string]float64{`webhook_requests_total{result="created"}`: 1}},
		{"refused", func(m *telemetry.Metrics) { m.Delivery(telemetry.ResultInvalidSignature) }, map[string]float64{`webhook_requests_total{result="invalid_signature"}`: 1}},
		{"mismatch", func(m *telemetry.Metrics) { m.Mismatch() }, map[string]float64{"lyftr_mismatches_total": 1}},
		{"panic", func(m *telemetry.Metrics) { m.Panic() }, map[string]float64{"lyftr_panics_total": 1}},
		{"dropped spans", func(m *telemetry.Metrics) { m.SpansDropped(3) }, map[string]float64{"lyftr_trace_spans_dropped_total": 3}},
		{"erased", func(m *telemetry.Metrics) { m.Removed(telemetry.ReasonErased, 3) }, map[string]float64{`lyftr_removed_messages_total{reason="erased"}`: 3}},
		{"expired", func(m *telemetry.Metrics) { m.Removed(telemetry.ReasonExpired, 2) }, map[string]float64{`lyftr_removed_messages_total{reason="expired"}`: 2}},
		{"secret", func(m *telemetry.Metrics) { m.SecretUsed("native", "previous") }, map[string]float64{`lyftr_secret_uses_total{key="previous",source="native"}`: 1}},
		{"unknown secret", func(m *telemetry.Metrics) { m.SecretUsed("native", "x"); m.SecretUsed("x", "current") }, map[string]float64{}},
		{"commit", func(m *telemetry.Metrics) { m.Committed(1500*time.Millisecond, 7) }, map[string]float64{
			"lyftr_commit_duration_seconds_count": 1, "lyftr_commit_duration_seconds_sum": 1.5,
			"lyftr_commit_batch_messages_count": 1, "lyftr_commit_batch_messages_sum": 7}},
		{"late message", func(m *telemetry.Metrics) { m.Stored(now.Add(-90*time.Second), now) },
			map[string]float64{"lyftr_arrival_delay_seconds_count": 1, "lyftr_arrival_delay_seconds_sum": 90}},
		{"message from the future", func(m *telemetry.Metrics) { m.Stored(now.Add(time.Hour), now) },
			map[string]float64{"lyftr_arrival_delay_seconds_count": 1}},
		{"message from the year 1", func(m *telemetry.Metrics) { m.Stored(time.Time{}, now) },
			map[string]float64{"lyftr_arrival_delay_seconds_count": 1, "lyftr_arrival_delay_seconds_sum": now.Sub(time.Time{}).Seconds()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := telemetry.NewMetrics(options())
			before := scrape(t, m)
			c.do(m)
			got := delta(before, scrape(t, m), own...)
			for s := range got {
				if strings.Contains(s, "_bucket{") {
					delete(got, s)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every result has its own series; one without would end in a panic.
func TestMetricsEveryResult(t *testing.T) {
	m := telemetry.NewMetrics(options())
	for i, r := range telemetry.Results {
		for range i + 1 {
			m.Delivery(r)
		}
	}
	series := scrape(t, m)
	for i, r := range telemetry.Results {
		if got := series[fmt.Sprintf("webhook_requests_total{result=%q}", r)]; got != float64(i+1) {
			t.Errorf("%s: %v, want %d", r, got, i+1)
		}
	}
}

// Bounds are inclusive: a request of exactly 100 ms met a limit of 100 ms.
func TestMetricsLatencyBuckets(t *testing.T) {
	m := telemetry.NewMetrics(options())
	m.Request("/webhook", 200, 100*time.Millisecond)
	m.Request("/webhook", 200, 100*time.Millisecond+time.Microsecond)
	m.Request("/webhook", 200, 500*time.Millisecond)
	m.Request("/webhook", 200, time.Minute)
	series := scrape(t, m)
	for le, want := range map[string]float64{"50": 0, "100": 1, "250": 2, "500": 3, "10000": 3, "+Inf": 4} {
		if got := series[fmt.Sprintf("request_latency_ms_bucket{le=%q}", le)]; got != want {
			t.Errorf("le=%s: %v, want %v", le, got, want)
		}
	}
}

// Memory of the metrics, here and in Prometheus, is the number of series.
func TestMetricsSeriesDoNotGrow(t *testing.T) {
	o := options()
	m := telemetry.NewMetrics(o)
	before := part(scrape(t, m), own...)
	for range 100 {
		for _, r := range o.Routes {
			for _, status := range r.Statuses {
				m.Request(r.Path, status, time.Millisecond)
			}
		}
		for _, r := range telemetry.Results {
			m.Delivery(r)
		}
		m.SecretUsed("native", "current")
		m.SecretUsed("native", "a key of nobody")
		m.Stored(lineTime, lineTime)
		m.Committed(time.Millisecond, 1)
		m.Mismatch()
		m.Panic()
	}
	for s := range part(scrape(t, m), own...) {
		if _, there := before[s]; !there {
			t.Errorf("new series %s", s)
		}
		delete(before, s)
	}
	for s := range before {
		t.Errorf("series %s is gone", s)
	}
}

func TestMetricsConcurrent(t *testing.T) {
	const routines, rounds = 8, 200
	m := telemetry.NewMetrics(options())
	var wg sync.WaitGroup
	for range routines {
		wg.Go(func() {
			for range rounds {
				m.Request("/webhook", 200, time.Millisecond)
				m.Request("/webhook", 500, time.Millisecond) // not known before
				m.Delivery(telemetry.ResultCreated)
				m.SecretUsed("native", "current")
			}
		})
	}
	scrape(t, m) // while they count
	wg.Wait()
	series := scrape(t, m)
	for _, s := range []string{
		`http_requests_total{path="/webhook",status="200"}`, `http_requests_total{path="/webhook",status="500"}`,
		`webhook_requests_total{result="created"}`, `lyftr_secret_uses_total{key="current",source="native"}`,
	} {
		if series[s] != routines*rounds {
			t.Errorf("%s: %v, want %d", s, series[s], routines*rounds)
		}
	}
}

// Two servers in one process, as in tests, have nothing in common.
func TestMetricsOwnRegistry(t *testing.T) {
	a, b := telemetry.NewMetrics(options()), telemetry.NewMetrics(options())
	a.Mismatch()
	if got := scrape(t, b)["lyftr_mismatches_total"]; got != 0 {
		t.Errorf("counted %v in the other one", got)
	}
}
