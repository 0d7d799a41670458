package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// page is the answer of GET /messages.
type page struct {
	Data []struct {
		ID   string  `json:"message_id"`
		From string  `json:"from"`
		To   string  `json:"to"`
		TS   string  `json:"ts"`
		Text *string `json:"text"`
	} `json:"data"`
	Total  int `json:"total"`
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
}

func (p page) ids() []string {
	ids := []string{}
	for _, m := range p.Data {
		ids = append(ids, m.ID)
	}
	return ids
}

func list(t *testing.T, p *process, query string) page {
	t.Helper()
	status, answer := get(t, p.url("/messages"+query))
	var l page
	if err := json.Unmarshal(answer, &l); err != nil || status != http.StatusOK {
		t.Fatalf("GET /messages%s: %d %s %v", query, status, answer, err)
	}
	return l
}

// TestContract is the acceptance script of the contract, with the bodies and
// signatures that it gives.
func TestContract(t *testing.T) { onEach(t, testContract) }

func testContract(t *testing.T, database string) {
	p := start(t, database)

	// 1. Health.
	for path, want := range map[string]string{
		"/health/live": `{"status":"ok"}`, "/health/ready": `{"status":"ready"}`,
	} {
		if status, answer := get(t, p.url(path)); status != http.StatusOK || string(answer) != want {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}

	// 2. A wrong signature, the right one, and the same again.
	client := newClient(t, 1)
	hook := p.url("/webhook")
	m1 := []byte(`{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}`)
	const m1MAC = "ff1016e524bc9299d18988ecf27a880af9428140e3850af0c73ea1eef091a4cb"
	if status, answer := postSigned(client, hook, m1, "123"); status != http.StatusUnauthorized || answer != `{"detail":"invalid signature"}` {
		t.Errorf("wrong signature: %d %s", status, answer)
	}
	if got := list(t, p, ""); got.Total != 0 {
		t.Errorf("%d rows after a wrong signature", got.Total)
	}
	for range 2 {
		if status, answer := postSigned(client, hook, m1, m1MAC); status != http.StatusOK || answer != `{"status":"ok"}` {
			t.Errorf("right signature: %d %s", status, answer)
		}
		if got := list(t, p, ""); got.Total != 1 {
			t.Errorf("%d rows for one message", got.Total)
		}
	}

	// 3. Several more, and the lists.
	for i, m := range []struct{ id, from, ts, text string }{
		{"m2", "+919876543210", "2025-01-15T09:00:00Z", "Earlier"},
		{"m3", "+911234567890", "2025-01-15T09:30:00Z", "hello again"},
		{"m5", "+911234567890", "2025-01-15T11:00:00Z", "100% _sure_"},
		{"m4", "+911234567890", "2025-01-15T11:00:00Z", "bye"},
	} {
		if status, answer := post(client, hook, body(m.id, m.from, m.ts, &m.text)); status != http.StatusOK {
			t.Fatalf("message %d: %d %s", i, status, answer)
		}
	}
	for _, c := range []struct {
		query         string
		ids           []string
		total         int
		limit, offset int
	}{
		{"", []string{"m2", "m3", "m1", "m4", "m5"}, 5, 50, 0},
		{"?limit=2&offset=0", []string{"m2", "m3"}, 5, 2, 0},
		{"?limit=2&offset=4", []string{"m5"}, 5, 2, 4},
		{"?from=+919876543210", []string{"m2", "m1"}, 2, 50, 0},
		{"?from=%2B919876543210", []string{"m2", "m1"}, 2, 50, 0},
		{"?from_msisdn=+911234567890", []string{"m3", "m4", "m5"}, 3, 50, 0},
		{"?since=2025-01-15T09:30:00Z", []string{"m3", "m1", "m4", "m5"}, 4, 50, 0},
		{"?q=Hello", []string{"m3", "m1"}, 2, 50, 0},
		{"?q=%25+_", []string{"m5"}, 1, 50, 0},
	} {
		got := list(t, p, c.query)
		if diff := cmp.Diff(c.ids, got.ids()); diff != "" {
			t.Errorf("%s: %s", c.query, diff)
		}
		if got.Total != c.total || got.Limit != c.limit || got.Offset != c.offset {
			t.Errorf("%s: total %d limit %d offset %d", c.query, got.Total, got.Limit, got.Offset)
		}
	}

	// 4. Statistics and metrics.
	var stats struct {
		Total     int `json:"total_messages"`
		Senders   int `json:"senders_count"`
		PerSender []struct {
			From  string `json:"from"`
			Count int    `json:"count"`
		} `json:"messages_per_sender"`
		First string `json:"first_message_ts"`
		Last  string `json:"last_message_ts"`
	}
	_, answer := get(t, p.url("/stats"))
	if err := json.Unmarshal(answer, &stats); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, s := range stats.PerSender {
		sum += s.Count
	}
	if stats.Total != 5 || sum != 5 || stats.Senders != 2 || stats.PerSender[0].From != "+911234567890" ||
		stats.First != "2025-01-15T09:00:00Z" || stats.Last != "2025-01-15T11:00:00Z" {
		t.Errorf("stats: %s", answer)
	}
	_, metrics := get(t, p.url("/metrics"))
	for _, want := range []string{
		"http_requests_total{path=\"/webhook\",status=\"200\"} 6\n",
		"webhook_requests_total{result=\"created\"} 5\n",
		"webhook_requests_total{result=\"duplicate\"} 1\n",
		"webhook_requests_total{result=\"invalid_signature\"} 1\n",
		"webhook_requests_total{result=\"validation_error\"} 0\n",
		"request_latency_ms_bucket{le=\"100\"}", "request_latency_ms_bucket{le=\"500\"}",
	} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}

	// 5. The log, whole since the process has ended.
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if p.stderr.Len() > 0 {
		t.Errorf("standard error: %s", p.stderr.String())
	}
	for i, line := range p.log() {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("log line %d: %v: %s", i, err, line)
		}
		if l["path"] != "/webhook" {
			continue
		}
		for _, member := range []string{"ts", "level", "request_id", "method", "status", "latency_ms", "message_id", "dup", "result"} {
			if _, ok := l[member]; !ok {
				t.Errorf("log line %d has no %s: %s", i, member, line)
			}
		}
	}
	private := []string{secret, "Hello", "919876543210"}
	if isURL(database) {
		u, err := url.Parse(database)
		if err != nil {
			t.Fatal(err)
		}
		password, _ := u.User.Password()
		private = append(private, password)
	}
	for _, private := range private {
		if log := fmt.Sprint(p.log()); strings.Contains(log, private) {
			t.Errorf("the log holds %q", private)
		}
	}
}
