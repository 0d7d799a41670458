package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lyftr/internal/message"
)

// Result is what became of a delivery to a webhook; it is a label of
// webhook_requests_total and stands on the log line.
type Result string

// The results of a delivery.
const (
	ResultCreated          Result = "created"           // stored now
	ResultDuplicate        Result = "duplicate"         // was stored before
	ResultInvalidSignature Result = "invalid_signature" // 401
	ResultValidationError  Result = "validation_error"  // 422
	ResultTooLarge         Result = "too_large"         // 413
	ResultUnsupported      Result = "unsupported"       // 415
	ResultBadRequest       Result = "bad_request"       // 400, the body did not arrive whole
	ResultUnavailable      Result = "unavailable"       // 503
	ResultNotConfigured    Result = "not_configured"    // 503, no secret is set
	ResultLimited          Result = "limited"           // 429, the client failed too often
	ResultIgnored          Result = "ignored"           // 200, it holds nothing that lyftr keeps
	ResultChallenge        Result = "challenge"         // 200, the provider asked whether the path is meant for it
	ResultInvalidChallenge Result = "invalid_challenge" // 403
	ResultError            Result = "error"             // 500
)

// Results are all results of a delivery.
var Results = []Result{
	ResultCreated, ResultDuplicate, ResultInvalidSignature, ResultValidationError, ResultTooLarge,
	ResultUnsupported, ResultBadRequest, ResultUnavailable, ResultNotConfigured, ResultLimited,
	ResultIgnored, ResultChallenge, ResultInvalidChallenge, ResultError,
}

// Reason is why messages were removed.
type Reason string

// The reasons.
const (
	ReasonErased  Reason = "erased"  // by DELETE /messages
	ReasonExpired Reason = "expired" // by age
)

// Route is a path's template and the statuses that it answers with.
type Route struct {
	Path     string
	Statuses []int
}

// Options say what the metrics are about.
type Options struct {
	Version string
	Routes  []Route
	Sources []string // of the providers
	Store   func() message.StoreStatus
	Lost    func() int64 // writes of the log that failed
}

// Metrics are all of lyftr's metrics, in a registry of their own. Every series
// whose labels are known exists from the start, at 0; that of the free disk only
// where the store knows it.
type Metrics struct {
	registry   *prometheus.Registry
	handler    http.Handler
	requests   *prometheus.CounterVec
	known      map[requestKey]prometheus.Counter
	latency    prometheus.Histogram
	webhook    map[Result]prometheus.Counter
	mismatches prometheus.Counter
	panics     prometheus.Counter
	removed    map[Reason]prometheus.Counter
	delay      prometheus.Histogram
	secrets    *prometheus.CounterVec
	secretUses sync.Map                                   // secretKey → prometheus.Counter
	updates    map[string][updateKinds]prometheus.Counter // by source
	commit     prometheus.Histogram
	batch      prometheus.Histogram
	readers    prometheus.Gauge
	spans      prometheus.Counter
	ready      prometheus.Gauge
}

type requestKey struct {
	path   string
	status int
}

type secretKey struct{ source, key string }

// updateKinds is how many kinds of updates there are: messages, statuses, and
// what is ignored.
const updateKinds = 3

// NewMetrics registers the metrics.
func NewMetrics(o Options) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		known:    map[requestKey]prometheus.Counter{},
		webhook:  map[Result]prometheus.Counter{},
		updates:  map[string][updateKinds]prometheus.Counter{},
		removed:  map[Reason]prometheus.Counter{},
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)

	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "http_requests_total", Help: "HTTP requests by route template and status.",
	}, []string{"path", "status"})
	m.registry.MustRegister(m.requests)
	for _, r := range o.Routes {
		for _, status := range r.Statuses {
			m.known[requestKey{r.Path, status}] = m.requests.WithLabelValues(r.Path, strconv.Itoa(status))
		}
	}

	results := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhook_requests_total", Help: "Deliveries to a webhook by what became of them.",
	}, []string{"result"})
	m.registry.MustRegister(results)
	for _, r := range Results {
		m.webhook[r] = results.WithLabelValues(string(r))
	}

	removed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lyftr_removed_messages_total", Help: "Messages removed, by why.",
	}, []string{"reason"})
	m.registry.MustRegister(removed)
	for _, r := range []Reason{ReasonErased, ReasonExpired} {
		m.removed[r] = removed.WithLabelValues(string(r))
	}

	secrets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lyftr_secret_uses_total", Help: "Valid signatures by source and key id.",
	}, []string{"source", "key"})
	m.registry.MustRegister(secrets)
	m.secrets = secrets
	updates := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lyftr_updates_total", Help: "Messages and statuses in deliveries, repeats too, and updates that lyftr does not keep, by source.",
	}, []string{"source", "kind"})
	m.registry.MustRegister(updates)
	for _, source := range o.Sources {
		m.Secrets(source, []string{"current", "previous"})
		m.updates[source] = [updateKinds]prometheus.Counter{
			updates.WithLabelValues(source, "message"), updates.WithLabelValues(source, "status"), updates.WithLabelValues(source, "ignored"),
		}
	}

	m.latency = m.histogram("request_latency_ms", "Time from when a request's header was read to when its answer was written, in milliseconds.",
		[]float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000})
	m.delay = m.histogram("lyftr_arrival_delay_seconds", "Time between a stored message's ts and its arrival.",
		[]float64{0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400, 604800})
	m.commit = m.histogram("lyftr_commit_duration_seconds", "Time of a commit, from its begin to the disk's word.",
		[]float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10})
	m.batch = m.histogram("lyftr_commit_batch_messages", "Messages and statuses in a commit.",
		[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024})
	m.mismatches = m.counter("lyftr_mismatches_total", "Duplicates whose content differed from what is stored; the stored content stayed.")
	m.panics = m.counter("lyftr_panics_total", "Requests that ended in a panic.")
	m.spans = m.counter("lyftr_trace_spans_dropped_total", "Spans that the collector of traces did not get.")

	m.readers = m.gauge("lyftr_feed_readers", "Readers of the feed that are waiting now.")
	m.ready = m.gauge("lyftr_ready", "1 if a message could be stored when these metrics were asked for, as /health/ready says, else 0.")
	m.registry.MustRegister(newStoreCollector(o.Store))
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "lyftr_log_write_failures_total", Help: "Writes of log lines that failed.",
	}, func() float64 { return float64(o.Lost()) }))
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lyftr_build_info", Help: "Always 1; the label is the version.",
		ConstLabels: prometheus.Labels{"version": o.Version},
	}, func() float64 { return 1 }))
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true})
	return m
}

func (m *Metrics) histogram(name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}

// Request counts one answered request. path must be a route's template or one
// fixed word for everything else, so that the series stay few.
func (m *Metrics) Request(path string, status int, took time.Duration) {
	m.WaitedRequest(path, status)
	m.latency.Observe(float64(took) / float64(time.Millisecond))
}

// WaitedRequest counts one answered request that waited on purpose, so that its
// time would only hide that of the others.
func (m *Metrics) WaitedRequest(path string, status int) {
	c, ok := m.known[requestKey{path, status}]
	if !ok {
		c = m.requests.WithLabelValues(path, strconv.Itoa(status))
	}
	c.Inc()
}

// FeedReaders notes that readers of the feed came or, if change is negative,
// went.
func (m *Metrics) FeedReaders(change int) { m.readers.Add(float64(change)) }

// Ready notes whether the server is ready, as it was found just now.
func (m *Metrics) Ready(ready bool) {
	if ready {
		m.ready.Set(1)
	} else {
		m.ready.Set(0)
	}
}

// Delivery counts one delivery to a webhook.
func (m *Metrics) Delivery(r Result) { m.webhook[r].Inc() }

// Stored notes a message that was stored now: how late it came. A ts in the
// future counts as no delay.
func (m *Metrics) Stored(ts, now time.Time) { m.delay.Observe(max(0, now.Sub(ts).Seconds())) }

// Mismatch counts a duplicate with other content.
func (m *Metrics) Mismatch() { m.mismatches.Inc() }

// Removed counts messages that were removed.
func (m *Metrics) Removed(r Reason, n int64) { m.removed[r].Add(float64(n)) }

// Panic counts a request that ended in a panic.
func (m *Metrics) Panic() { m.panics.Inc() }

// SpansDropped counts spans that the collector of traces did not get.
func (m *Metrics) SpansDropped(n int) { m.spans.Add(float64(n)) }

// SecretUsed counts a signature that the key made.
func (m *Metrics) SecretUsed(source, keyID string) {
	if c, ok := m.secretUses.Load(secretKey{source, keyID}); ok {
		c.(prometheus.Counter).Inc()
	}
}

// Secrets makes the series of the secrets of a source. Others are not counted.
func (m *Metrics) Secrets(source string, keyIDs []string) {
	for _, id := range keyIDs {
		m.secretUses.Store(secretKey{source, id}, m.secrets.WithLabelValues(source, id))
	}
}

// Updates counts what a delivery of the source held.
func (m *Metrics) Updates(source string, messages, statuses, ignored int) {
	kinds, ok := m.updates[source]
	if !ok {
		return
	}
	for i, n := range [updateKinds]int{messages, statuses, ignored} {
		if n > 0 {
			kinds[i].Add(float64(n))
		}
	}
}

// Committed notes one commit of messages and statuses.
func (m *Metrics) Committed(took time.Duration, rows int) {
	m.commit.Observe(took.Seconds())
	m.batch.Observe(float64(rows))
}

// Handler serves the metrics as Prometheus text.
func (m *Metrics) Handler() http.Handler { return m.handler }
