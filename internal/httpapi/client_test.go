package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/signature"
)

// absent as a member's value leaves it out.
var absent = new(int)

// msg is the JSON of a message like hello, with the changed members given as
// name, value, name, value…
func msg(id string, changes ...any) string {
	m := map[string]any{
		"message_id": id, "from": sender, "to": "+14155550100", "ts": "2025-01-15T10:00:00Z", "text": "Hello",
	}
	for i := 0; i < len(changes); i += 2 {
		name := changes[i].(string)
		if m[name] = changes[i+1]; m[name] == any(absent) {
			delete(m, name)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func sign(body string) string { return signature.SignHex([]byte(secret), []byte(body)) }

// answer is what a client got, and the log line of its request.
type answer struct {
	status int
	header http.Header
	body   string
	line   entry
}

// is holds the answer to a status and an exact body.
func (a answer) is(t testing.TB, status int, body string) {
	t.Helper()
	if a.status != status || a.body != body {
		t.Errorf("got %d %s, want %d %s", a.status, a.body, status, body)
	}
}

// post signs a body and posts it to /webhook.
func (s *service) post(body string, changes ...func(*http.Request)) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/webhook", strings.NewReader(body),
		append([]func(*http.Request){header("X-Signature", sign(body))}, changes...)...)
}

func (s *service) get(target string, changes ...func(*http.Request)) answer {
	s.t.Helper()
	return s.do(http.MethodGet, target, nil, changes...)
}

// header sets a request's header to the values, none of which removes it.
func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) {
		if name = http.CanonicalHeaderKey(name); len(values) == 0 {
			delete(r.Header, name)
		} else {
			r.Header[name] = values
		}
	}
}

// chunked sends the body without a Content-Length.
func chunked(r *http.Request) {
	r.ContentLength = -1
	r.Body = io.NopCloser(r.Body)
}

// do sends a request and returns the answer once its log line is there. It may
// be called from any goroutine.
func (s *service) do(method, target string, body io.Reader, changes ...func(*http.Request)) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, s.url+target, body)
	if err != nil {
		s.t.Error(err)
		return answer{}
	}
	r.Header.Set("X-Request-Id", s.newID())
	for _, change := range changes {
		change(r)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Errorf("%s %s: %v", method, target, err)
		return answer{}
	}
	return s.holds(method, r.URL.RequestURI(), s.read(resp))
}

func (s *service) newID() string { return fmt.Sprintf("test-%d", s.ids.Add(1)) }

func (s *service) read(resp *http.Response) answer {
	s.t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("read the answer: %v", err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if s.level <= slog.LevelInfo {
		a.line = s.line(resp.Header.Get("X-Request-Id"))
	}
	return a
}

// line waits for the log line of a request.
func (s *service) line(id string) entry {
	s.t.Helper()
	l, ok := s.journal.await(id)
	if !ok {
		s.t.Errorf("no log line for request %q", id)
	}
	return l
}

// rawConn is a connection on which a test writes what it likes.
type rawConn struct {
	*net.TCPConn
	s    *service
	r    *bufio.Reader
	sent []string // the first lines of requests whose answers have not been read
}

func (s *service) dial() *rawConn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return &rawConn{TCPConn: c.(*net.TCPConn), s: s, r: bufio.NewReader(c)}
}

// send writes lines, each of which gets its CRLF, and then the body.
func (c *rawConn) send(body string, lines ...string) {
	c.s.t.Helper()
	c.sent = append(c.sent, lines[0])
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"+body); err != nil {
		c.s.t.Fatal(err)
	}
}

func (c *rawConn) answer(method string) answer {
	c.s.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.s.t.Fatalf("read the answer: %v", err)
	}
	a := c.s.read(resp)
	if len(c.sent) == 0 {
		return a
	}
	words := strings.Split(c.sent[0], " ")
	c.sent = c.sent[1:]
	return c.s.holds(words[0], words[1], a)
}

// status reads an answer that comes from net/http and not from lyftr, so that
// it has no log line.
func (c *rawConn) status(method string) int {
	c.s.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.s.t.Fatalf("read the answer: %v", err)
	}
	defer resp.Body.Close()
	c.sent = c.sent[min(1, len(c.sent)):]
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		c.s.t.Errorf("read the answer: %v", err)
	}
	return resp.StatusCode
}

// isClosed waits for the server to close the connection without a further byte.
func (c *rawConn) isClosed() {
	c.s.t.Helper()
	rest, err := io.ReadAll(c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.s.t.Error("the server did not close the connection")
	}
	if len(rest) > 0 {
		c.s.t.Errorf("the server went on: %q", rest)
	}
}

// raw sends one request without a body, its target as it is.
func (s *service) raw(method, target string, headers ...string) answer {
	s.t.Helper()
	c := s.dial()
	defer c.Close()
	c.send("", append([]string{method + " " + target + " HTTP/1.1", "Host: lyftr.test", "Content-Length: 0"}, headers...)...)
	return c.answer(method)
}

// faults are the entries of a 422, each as place:type, in their order.
func (a answer) faults(t testing.TB) []string {
	t.Helper()
	var shape struct {
		Detail []struct {
			Loc  []any  `json:"loc"`
			Msg  string `json:"msg"`
			Type string `json:"type"`
		} `json:"detail"`
	}
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&shape); err != nil || a.status != http.StatusUnprocessableEntity {
		t.Errorf("got %d %s, want 422 in FastAPI's shape", a.status, a.body)
		return nil
	}
	list := []string{}
	for _, f := range shape.Detail {
		if f.Msg == "" {
			t.Errorf("a fault without a message: %s", a.body)
		}
		place := make([]string, len(f.Loc))
		for i, l := range f.Loc {
			place[i] = fmt.Sprint(l)
		}
		list = append(list, strings.Join(place, ".")+":"+f.Type)
	}
	return list
}

// isInvalid holds the answer to a 422 with exactly these faults.
func (a answer) isInvalid(t testing.TB, faults ...string) {
	t.Helper()
	if got := a.faults(t); got != nil && !slices.Equal(got, faults) {
		t.Errorf("got faults %q, want %q", got, faults)
	}
}

// sameJSON compares two documents whatever the order of their members.
func sameJSON(t testing.TB, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Errorf("not JSON: %s", got)
		return
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("the test's own JSON: %v", err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// into parses an answer that must be 200.
func into[T any](t testing.TB, a answer) (v T) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("got %d %s, want 200", a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return v
}
