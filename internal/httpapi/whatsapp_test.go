package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"lyftr/internal/provider"
)

const appSecret = "0123456789abcdef-of-whatsapp"

// onWhatsApp switches WhatsApp on.
func onWhatsApp(c *config) {
	c.setup = func(p provider.Provider) {
		if p, ok := p.(*provider.WhatsApp); ok {
			p.AppSecret, p.VerifyToken = appSecret, "our-token"
		}
	}
}

// postWhatsApp signs a body and posts it as WhatsApp does.
func (s *service) postWhatsApp(body string, changes ...func(*http.Request)) answer {
	s.t.Helper()
	h, err := (&provider.WhatsApp{AppSecret: appSecret}).Sign("", []byte(body), time.Time{})
	if err != nil {
		s.t.Fatal(err)
	}
	sign := header(provider.HeaderHubSignature, h[provider.HeaderHubSignature]...)
	return s.do(http.MethodPost, "/webhook/whatsapp", strings.NewReader(body), append([]func(*http.Request){sign}, changes...)...)
}

// whatsApp is a delivery of changes of the field messages.
func whatsApp(values ...string) string {
	var changes []string
	for _, v := range values {
		changes = append(changes, `{"field":"messages","value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"1"},`+v+`}}`)
	}
	return `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[` + strings.Join(changes, ",") + `]}]}`
}

// detail is a message with all that is known of it.
type detail struct {
	ID       string          `json:"message_id"`
	From     string          `json:"from"`
	Source   string          `json:"source"`
	Raw      json.RawMessage `json:"raw"`
	Status   string          `json:"status"`
	Statuses []struct {
		Status    string          `json:"status"`
		TS        string          `json:"ts"`
		Received  string          `json:"received_at"`
		Recipient *string         `json:"recipient"`
		Raw       json.RawMessage `json:"raw"`
	} `json:"statuses"`
}

// TestWhatsApp: everything in a delivery is stored and found, with what was sent
// of it, and what is none of lyftr's business is counted.
func TestWhatsApp(t *testing.T) {
	t.Parallel()
	s := start(t, onWhatsApp)
	const (
		text  = `{"from":"16505551234","id":"wamid.1","timestamp":"1749416383","type":"text","text":{"body":"Hello"}}`
		image = `{"from_user_id":"US.13491208655302741918","id":"wamid.2","timestamp":"1749416384","type":"image","image":{"id":"77","caption":"Hello too"}}`
		state = `{"id":"wamid.%s","status":"%s","timestamp":"%d","recipient_id":"16505551234"}`
	)
	status := func(id, word string, at int) string { return fmt.Sprintf(state, id, word, at) }
	// A status before its message, read before delivered.
	a := s.postWhatsApp(whatsApp(`"statuses":[` + status("1", "read", 1749416390) + `]`))
	a.is(t, 200, okBody)
	a.line.has(t, "message_id", "wamid.1", "dup", false, "result", "created", "messages", 0.0, "statuses", 1.0, "ignored", 0.0)
	s.get("/messages/wamid.1").is(t, 404, noMessageBody)

	delivery := whatsApp(`"messages":[`+text+`],"statuses":[`+status("1", "delivered", 1749416389)+`,`+status("9", "sent", 1)+`]`, `"messages":[`+image+`]`)
	delivery = strings.Replace(delivery, `"changes":[`, `"changes":[{"field":"account_update","value":{}},`, 1)
	a = s.postWhatsApp(delivery)
	a.is(t, 200, okBody)
	a.line.has(t, "message_id", "wamid.1", "dup", false, "result", "created", "messages", 2.0, "statuses", 2.0, "ignored", 1.0, "mismatch", absent, "reason", absent)
	a = s.postWhatsApp(delivery)
	a.is(t, 200, okBody)
	a.line.has(t, "dup", true, "result", "duplicate", "mismatch", absent)

	one := into[detail](t, s.get("/messages/wamid.1"))
	if one.Source != "whatsapp" || one.From != "+16505551234" || one.Status != "read" || len(one.Statuses) != 2 {
		t.Errorf("got %+v", one)
	} else if d := one.Statuses[0]; d.Status != "delivered" || d.TS != "2025-06-08T20:59:49Z" || d.Received == "" || d.Recipient == nil || *d.Recipient != "+16505551234" {
		t.Errorf("got %+v", d)
	}
	if !strings.Contains(string(one.Raw), text) {
		t.Errorf("raw is %s", one.Raw)
	}
	page := into[struct{ Total int }](t, s.get("/messages?from=US.13491208655302741918"))
	if page.Total != 1 {
		t.Errorf("%d messages of who has no number", page.Total)
	}
	feed := into[struct{ Data []detail }](t, s.get("/feed"))
	if len(feed.Data) != 2 || !strings.Contains(string(feed.Data[1].Raw), image) {
		t.Errorf("the feed has %+v", feed.Data)
	}

	// Of what was sent by other means there is no message, only its statuses.
	sameJSON(t, withoutMember(t, s.get("/statuses?message_id=wamid.9").body, "received_at"),
		`{"message_id":"wamid.9","source":"whatsapp","status":"sent","data":[{"status":"sent","ts":"1970-01-01T00:00:01Z","recipient":"+16505551234",`+
			`"raw":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"1"},"statuses":[`+status("9", "sent", 1)+`]}}]}`)
	sameJSON(t, s.get("/statuses?message_id=none").body, `{"message_id":"none","source":null,"status":null,"data":[]}`)
	s.get("/statuses?source=whatsapp").isInvalid(t, "query.message_id:missing")
	s.get("/statuses?message_id=a&message_id=b").isInvalid(t, "query.message_id:value_error")

	for name, want := range map[string]float64{
		`lyftr_updates_total{kind="message",source="whatsapp"}`: 4, `lyftr_updates_total{kind="status",source="whatsapp"}`: 5,
		`lyftr_updates_total{kind="ignored",source="whatsapp"}`: 2, `lyftr_secret_uses_total{key="current",source="whatsapp"}`: 3,
	} {
		if got := s.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	a = s.postWhatsApp(`{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"account_update","value":{}}]}]}`)
	a.is(t, 200, okBody)
	a.line.has(t, "result", "ignored", "message_id", nil)
}

// withoutMember returns a JSON document without the members of that name.
func withoutMember(t *testing.T, document, name string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	var drop func(v any)
	drop = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			delete(v, name)
			for _, m := range v {
				drop(m)
			}
		case []any:
			for _, m := range v {
				drop(m)
			}
		}
	}
	drop(v)
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestChallenge: WhatsApp's question is answered with nothing but the challenge.
func TestChallenge(t *testing.T) {
	t.Parallel()
	s := start(t, onWhatsApp)
	a := s.get("/webhook/whatsapp?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=our-token")
	a.is(t, 200, "1158201444")
	if got := a.header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	a.line.has(t, "result", "challenge", "path", "/webhook/whatsapp")
	a = s.get("/webhook/whatsapp?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=other")
	a.is(t, 403, `{"detail":"wrong verify token"}`)
	a.line.has(t, "result", "invalid_challenge", "level", "WARNING")
	// Who has no challenge has no GET.
	if a := s.get("/webhook/twilio"); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("got %d, Allow %q", a.status, a.header.Get("Allow"))
	}
}

// rejection is an entry of GET /rejected.
type rejection struct {
	When      time.Time `json:"when"`
	Source    string    `json:"source"`
	Status    int       `json:"status"`
	Result    string    `json:"result"`
	Reason    string    `json:"reason"`
	Size      int       `json:"size"`
	Hash      *string   `json:"hash"`
	RequestID string    `json:"request_id"`
	Times     int       `json:"times"`
}

// TestRejected: every refusal has its status, its counter, its line and its
// entry, and what is no refusal has none.
func TestRejected(t *testing.T) {
	t.Parallel()
	s := start(t, onWhatsApp, func(c *config) { c.maxBody = 200 })
	long := msg("long", "text", strings.Repeat("x", 200))
	type refusal struct {
		answer
		source, result, reason string
		size                   int
		hash                   bool
	}
	var want []refusal
	refuse := func(a answer, status int, source, result, reason string, size int, hash bool) {
		t.Helper()
		if a.status != status {
			t.Errorf("got %d %s, want %d", a.status, a.body, status)
		}
		a.line.has(t, "reason", reason)
		want = append(want, refusal{a, source, result, reason, size, hash})
	}
	counted := func(result string) float64 { return s.metric(fmt.Sprintf("webhook_requests_total{result=%q}", result)) }
	s.post(hello).is(t, 200, okBody)
	refuse(s.post(hello, header("X-Signature")), 401, "native", "invalid_signature", "the header X-Signature is missing", len(hello), true)
	refuse(s.post("{"), 422, "native", "validation_error", "not JSON at byte 1: unexpected end of input", 1, true)
	refuse(s.post(long), 413, "native", "too_large", "body too large", len(long), false)
	refuse(s.post(hello, header("Content-Encoding", "gzip")), 415, "native", "unsupported", "a body with a Content-Encoding is not read: send it as it is signed", 0, false)
	c := s.dial()
	c.send("{", "POST /webhook HTTP/1.1", "Host: x", "X-Request-Id: cut", "Content-Length: 10")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	refuse(c.answer("POST"), 400, "native", "bad_request", "the body did not arrive whole", 10, false)
	refuse(s.postWhatsApp("[]", header(provider.HeaderHubSignature, "sha1=00")), 401, "whatsapp", "invalid_signature", "the header X-Hub-Signature-256 does not start with sha256=", 2, true)
	refuse(s.get("/webhook/whatsapp?hub.mode=x&hub.challenge=1&hub.verify_token=1"), 403, "whatsapp", "invalid_challenge", "the parameter hub.mode is not subscribe", 0, false)
	refuse(s.do("POST", "/webhook/standard", strings.NewReader("{}")), 503, "standard", "not_configured", "STANDARD_WEBHOOKS_SECRET is not set", 0, false)
	refuse(s.do("POST", "/webhook/hub", strings.NewReader("{}"), header(provider.HeaderHubSignature, "sha256=00")), 404, "whatsapp", "no_route",
		"nothing is received at /webhook/hub: it looks like a delivery of the source whatsapp, whose path is /webhook/whatsapp", 2, false)
	s.do("POST", "/wp-login.php", strings.NewReader("log=admin")).is(t, 404, notFoundBody)
	s.get("/webhook/hub").is(t, 404, notFoundBody)

	got := into[struct{ Data []rejection }](t, s.get("/rejected")).Data
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		r := got[len(got)-1-i]
		if r.Source != w.source || r.Status != w.status || r.Result != w.result || r.Reason != w.reason || r.Size != w.size || (r.Hash != nil) != w.hash ||
			r.RequestID != w.header.Get("X-Request-Id") || r.Times != 1 || time.Since(r.When) > time.Minute || r.When.IsZero() {
			t.Errorf("entry %d is %+v, want %+v", i, r, w)
		}
		if w.result != "no_route" && counted(w.result) == 0 {
			t.Errorf("%s is not counted", w.result)
		}
	}
	if got := into[struct{ Data []rejection }](t, s.get("/rejected?source=whatsapp&limit=2")).Data; len(got) != 2 || got[1].Result != "invalid_challenge" {
		t.Errorf("narrowed to %+v", got)
	}
	s.get("/rejected?limit=1001").isInvalid(t, "query.limit:less_than_equal")
}

// TestRejectedWhileDown: what cannot be written is not lost, and its fault is
// nobody else's.
func TestRejectedWhileDown(t *testing.T) {
	t.Parallel()
	s := start(t)
	unlock := base.lock(t, s.dsn)
	s.post(hello, header("X-Signature", "00")).is(t, 401, signatureBody)
	unlock()
	if got := into[struct{ Data []rejection }](t, s.get("/rejected")).Data; len(got) != 1 || got[0].Status != 401 {
		t.Errorf("got %+v", got)
	}
}
