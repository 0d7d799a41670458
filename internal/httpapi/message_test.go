package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// oddIDs are message ids that a path has to carry.
var oddIDs = []string{
	"a/b", "a//b", "/", "//", "///", "/a", "a/", ".", "..", "...", "../webhook", "a/../b", "./x", "a/./b", "..//", "/..", "x/..", "a//b c", "../100%", "//é?", "./%2F",
	"100%", "%2F", "%", "%zz", "%252F", "what?", "?", "a?b=c", "a#b", "#", "with space", " lead", "trail ", " ", "a+b", "+", "a%20b", "a&b=c", "a;b", ";", ":", "a:b",
	"@", "~", "!$&'()*,=", "*", "[x]", "{x}", "{message_id...}", "|", "^", "`", `quo"te`, `back\slash`, "<script>alert(1)</script>", "'; DROP TABLE messages; --",
	"😀", "é", "e\u0301", "日本語", "\u202ebidi", "\u200b", "\u00a0", "\ufeff", "\ufffd", "\U0010ffff", "null", "0", "timeline", "http://evil.test/", "//evil.test/x",
	strings.Repeat("x", 255), strings.Repeat("😀", 255), strings.Repeat("/", 255), strings.Repeat("../", 85),
}

func TestGetMessage(t *testing.T) {
	t.Parallel()
	s := start(t)
	before := time.Now().Add(-time.Second)
	var bodies []string
	for _, id := range oddIDs {
		bodies = append(bodies, msg(id, "text", "text of "+id))
	}
	s.seed(bodies...)

	escapeAll := func(id string) string {
		var b strings.Builder
		for i := range len(id) {
			fmt.Fprintf(&b, "%%%02x", id[i])
		}
		return b.String()
	}
	// As it is, where an HTTP request line can carry it and a path may hold it.
	asItIs := func(id string) string {
		return strings.NewReplacer("%", "%25", "?", "%3F", " ", "%20").Replace(id)
	}
	c := s.dial()
	for _, id := range oddIDs {
		for _, path := range []string{url.PathEscape(id), escapeAll(id), asItIs(id)} {
			c.send("", "GET /messages/"+path+" HTTP/1.1", "Host: x")
			a := c.answer("GET")
			var m struct {
				ID       string    `json:"message_id"`
				Text     string    `json:"text"`
				Source   string    `json:"source"`
				Received time.Time `json:"received_at"`
			}
			if err := json.Unmarshal([]byte(a.body), &m); err != nil || a.status != 200 {
				t.Errorf("id %.40q as %.60s: got %d %.100s", id, path, a.status, a.body)
				continue
			}
			if m.ID != id || m.Text != "text of "+id || m.Source != "native" || m.Received.Before(before) || m.Received.After(time.Now().Add(time.Second)) {
				t.Errorf("id %.40q as %.60s: got %.200s", id, path, a.body)
			}
		}
	}
	if got := s.metric(`http_requests_total{path="/messages/{message_id}",status="200"}`); got != float64(3*len(oddIDs)) {
		t.Errorf("%v requests for %d", got, 3*len(oddIDs))
	}

	a := s.get("/messages/" + url.PathEscape("a/b"))
	var members map[string]any
	if err := json.Unmarshal([]byte(a.body), &members); err != nil {
		t.Fatal(err)
	}
	delete(members, "received_at")
	rest, _ := json.Marshal(members)
	sameJSON(t, string(rest), `{"message_id":"a/b","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"text of a/b","source":"native"}`)

	s.seed(msg("no text", "text", absent))
	if a := s.get("/messages/no%20text"); !strings.Contains(a.body, `"text":null`) {
		t.Errorf("got %s", a.body)
	}
}

func TestGetMessageNotFound(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	for _, path := range []string{
		"", "m", "M1", "m1/", "/m1", "m1%00", "m1%0a", "m1%20", "%20m1", "m1//", "./m1", "../messages/m1", "m1/../m1", "m%2531", "m1;x=1",
		"%ff", "%ed%a0%80", "%c0%af", strings.Repeat("x", 256), strings.Repeat("x", 8000), "timeline", "m1%3Fsource=native", "%2e%2e/messages/m1",
	} {
		a := s.raw("GET", "/messages/"+path)
		if a.status != 404 || a.body != noMessageBody {
			t.Errorf("/messages/%.60s: got %d %.100s", path, a.status, a.body)
		}
		if got := a.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("/messages/%.60s: Content-Type is %q", path, got)
		}
	}
	if got := s.metric(`http_requests_total{path="/messages/{message_id}",status="404"}`); got != 23 {
		t.Errorf("counted %v of 23", got)
	}
}

// A database that lyftr adopted may hold ids that it would not accept itself.
func TestGetAdoptedMessage(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, id := range []string{"line\nbreak", "\ttab", "\x1b[31m", "\x7f", "\u0085", strings.Repeat("x", 256), strings.Repeat("é", 1000)} {
		m, err := message.Decode([]byte(msg("m")))
		if err != nil {
			t.Fatal(err)
		}
		m.ID = id
		s.save(m)
		type stored struct {
			ID string `json:"message_id"`
		}
		if got := into[stored](t, s.get("/messages/"+url.PathEscape(id))); got.ID != id {
			t.Errorf("asked for %.40q, got %.40q", id, got.ID)
		}
	}
}

func TestGetMessageBySource(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, source := range []string{"twilio", "native", "whatsapp"} {
		m, err := message.Decode([]byte(msg("shared", "text", "from "+source)))
		if err != nil {
			t.Fatal(err)
		}
		m.Source = source
		s.save(m)
	}
	type stored struct{ Source, Text string }
	for query, source := range map[string]string{
		"": "native", "?source=": "native", "?source=native": "native", "?source=twilio": "twilio", "?source=whatsapp": "whatsapp", "?x=1": "native",
	} {
		if m := into[stored](t, s.get("/messages/shared"+query)); m.Source != source || m.Text != "from "+source {
			t.Errorf("%s: got %v", query, m)
		}
	}
	for _, query := range []string{"?source=standard", "?source=Native", "?source=%20", "?source=%25", "?source=native;"} {
		s.get("/messages/shared"+query).is(t, 404, noMessageBody)
	}
	for _, query := range []string{"?source=native&source=native", "?source=%00", "?source=%ff", "?source=%zz"} {
		s.get("/messages/shared"+query).isInvalid(t, "query.source:value_error")
	}
	if p := s.list(""); p.Total != 3 {
		t.Errorf("total is %d, want 3", p.Total)
	}
}

func TestMessagesAreNotCached(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	for _, target := range []string{
		"/messages", "/messages?limit=0", "/messages/m1", "/messages/m2", "/messages//m1", "/messages/m1?source=%zz", "/stats", "/stats?since=x", "/stats/timeline", "/stats/timeline?bucket=x", "/export", "/export?format=x",
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := s.do(method, target, nil)
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s %s (%d): Cache-Control is %q", method, target, a.status, got)
			}
		}
	}
}
