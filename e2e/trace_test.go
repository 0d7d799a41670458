package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TestTracing sends spans to a collector, the last of them when it is told to
// stop, and says in its log to which trace a request belongs.
func TestTracing(t *testing.T) {
	var mu sync.Mutex
	spans := map[string][]string{} // names by trace
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collectorpb.ExportTraceServiceRequest
		if err != nil || r.URL.Path != "/in/v1/traces" || r.Header.Get("X-Key") != "of the collector" || proto.Unmarshal(body, &request) != nil {
			t.Errorf("the collector got %s with %v", r.URL, r.Header)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, s := range request.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans() {
			id := fmt.Sprintf("%x", s.GetTraceId())
			spans[id] = append(spans[id], s.GetName())
		}
	}))
	defer collector.Close()
	headers := filepath.Join(t.TempDir(), "headers")
	write(t, headers, "x-key=of%20the%20collector\n")
	p := start(t, filepath.Join(t.TempDir(), "app.db"),
		"OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL+"/in", "OTEL_EXPORTER_OTLP_HEADERS_FILE="+headers)
	client := newClient(t, 1)
	if status, answer := post(client, p.url("/webhook"), body("m1", "+919876543210", "2025-01-15T10:00:00Z", nil)); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(spans) }
	waitFor(t, func() bool { return count() == 1 })
	get(t, p.url("/stats"))
	if code, took := p.terminate(t); code != 0 {
		t.Errorf("exit code %d after %v", code, took)
	}

	want := []string{"GET /stats", "commit parse POST /webhook queue wait verify"}
	var got []string
	log := strings.Join(p.log(), "\n")
	for id, names := range spans {
		if !strings.Contains(log, fmt.Sprintf(`"trace_id":%q`, id)) {
			t.Errorf("trace %s is not in the log", id)
		}
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		got = append(got, strings.Join(names, " "))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the traces are %q, want %q\n%s%s", got, want, log, p.stderr.String())
	}
	if p.stderr.Len() != 0 || strings.Contains(log, "of the collector") {
		t.Errorf("stderr: %s", p.stderr.String())
	}
}
