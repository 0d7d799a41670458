package httpapi_test

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// padded makes a body exactly so long, with white space that JSON allows.
func padded(body string, length int) string { return body + strings.Repeat(" ", length-len(body)) }

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	const limit = 2000
	s := start(t, func(c *config) { c.maxBody = limit })
	ways := map[string]func(*http.Request){"with its length": func(*http.Request) {}, "chunked": chunked}
	for way, change := range ways {
		s.post(padded(msg("exactly "+way), limit), change).is(t, 200, okBody)
		for _, length := range []int{limit + 1, 4 * limit} {
			for name, signed := range map[string]func(*http.Request){"signed": func(*http.Request) {}, "unsigned": header("X-Signature")} {
				a := s.post(padded(msg("more"), length), change, signed)
				if a.status != 413 || a.body != tooLargeBody {
					t.Errorf("%d bytes %s, %s: got %d %s", length, way, name, a.status, a.body)
				}
				a.line.has(t, "level", "WARNING", "status", 413, "message_id", nil, "dup", false, "result", "too_large")
			}
		}
	}
	if n := s.rows(); n != int64(len(ways)) {
		t.Errorf("there are %d rows, want %d", n, len(ways))
	}
	if got := s.metric(`webhook_requests_total{result="too_large"}`); got != 8 {
		t.Errorf("too_large is %v, want 8", got)
	}

	// A body that is announced to be too large is refused before it comes.
	c := s.dial()
	c.send("", "POST /webhook HTTP/1.1", "Host: x", "Content-Length: 1000000000000")
	c.answer("POST").is(t, 413, tooLargeBody)
	c.isClosed()
}

func TestDefaultBodyLimit(t *testing.T) {
	t.Parallel()
	s := start(t)
	const limit = 1 << 20
	s.post(padded(msg("a"), limit)).is(t, 200, okBody)
	s.post(padded(msg("b"), limit), chunked).is(t, 200, okBody)
	s.post(padded(msg("c"), limit+1)).is(t, 413, tooLargeBody)
	s.post(padded(msg("d"), limit+1), chunked).is(t, 413, tooLargeBody)
}

func TestContentEncoding(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, values := range [][]string{{"gzip"}, {"GZIP"}, {"br"}, {"deflate"}, {"zstd"}, {"x"}, {"gzip, identity"}, {"identity", "gzip"}} {
		for name, signed := range map[string]func(*http.Request){"signed": func(*http.Request) {}, "unsigned": header("X-Signature")} {
			a := s.post(hello, header("Content-Encoding", values...), signed)
			if a.status != 415 || a.body != encodingBody {
				t.Errorf("%q %s: got %d %s", values, name, a.status, a.body)
			}
			a.line.has(t, "level", "WARNING", "status", 415, "message_id", nil, "dup", false, "result", "unsupported")
		}
	}
	if n := s.rows(); n != 0 {
		t.Errorf("there are %d rows", n)
	}
}

// A body that did not arrive whole is refused even if what did arrive is a
// message with the right signature.
func TestBodyCutShort(t *testing.T) {
	t.Parallel()
	s := start(t)
	size := strconv.FormatInt(int64(len(hello)), 16)
	tests := map[string]struct{ framing, body string }{
		"one byte of the length missing": {"Content-Length: " + strconv.Itoa(len(hello)+1), hello},
		"nothing came":                   {"Content-Length: 5", ""},
		"most of the length missing":     {"Content-Length: 100000", hello},
		"no last chunk":                  {"Transfer-Encoding: chunked", size + "\r\n" + hello + "\r\n"},
		"no end after the last chunk":    {"Transfer-Encoding: chunked", size + "\r\n" + hello + "\r\n0\r\n"},
		"half a chunk":                   {"Transfer-Encoding: chunked", "fff\r\n" + hello},
		"size not hexadecimal":           {"Transfer-Encoding: chunked", size + "\r\n" + hello + "\r\nxyz\r\n\r\n0\r\n\r\n"},
		"size missing":                   {"Transfer-Encoding: chunked", size + "\r\n" + hello + "\r\n\r\n0\r\n\r\n"},
		"size negative":                  {"Transfer-Encoding: chunked", size + "\r\n" + hello + "\r\n-1\r\n\r\n0\r\n\r\n"},
		"size too long":                  {"Transfer-Encoding: chunked", strings.Repeat("0", 17) + size + "\r\n" + hello + "\r\n0\r\n\r\n"},
		"chunk longer than its size":     {"Transfer-Encoding: chunked", size + "\r\n" + hello + "more\r\n0\r\n\r\n"},
	}
	ends := map[string]func(*rawConn) answer{
		// The client waits for an answer to what it could send.
		"half closed": func(c *rawConn) answer {
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			a := c.answer("POST")
			a.is(t, 400, cutBody)
			c.isClosed()
			return a
		},
		// The client is gone.
		"closed": func(c *rawConn) answer {
			_ = c.Close()
			return answer{}
		},
	}
	cut := 0
	for name, tt := range tests {
		for end, finish := range ends {
			t.Run(name+", "+end, func(t *testing.T) {
				cut++
				id := s.newID()
				c := s.dial()
				c.send(tt.body, "POST /webhook HTTP/1.1", "Host: x", "X-Request-ID: "+id, "X-Signature: "+helloSignature, tt.framing)
				finish(c)
				s.line(id).has(t, "level", "WARNING", "status", 400, "message_id", nil, "dup", false, "result", "bad_request")
			})
		}
	}
	if n := s.rows(); n != 0 {
		t.Errorf("there are %d rows", n)
	}
	if got := s.metric(`webhook_requests_total{result="bad_request"}`); got != float64(cut) {
		t.Errorf("bad_request is %v, want %d", got, cut)
	}
	s.post(hello).is(t, 200, okBody)
}

// A client that stops in the middle of its body is cut off by the server.
func TestBodyStalls(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.readTimeout = 200 * time.Millisecond })
	c := s.dial()
	c.send(hello[:20], "POST /webhook HTTP/1.1", "Host: x", "X-Request-ID: stalls", "X-Signature: "+helloSignature,
		"Content-Length: "+strconv.Itoa(len(hello)))
	c.answer("POST").is(t, 400, cutBody)
	c.isClosed()
	s.line("stalls").has(t, "status", 400, "result", "bad_request")
	if n := s.rows(); n != 0 {
		t.Errorf("there are %d rows", n)
	}
}

// Framing that net/http refuses by itself stores nothing either.
func TestBadFraming(t *testing.T) {
	t.Parallel()
	s := start(t)
	length := strconv.Itoa(len(hello))
	for name, headers := range map[string][]string{
		"two lengths":        {"Content-Length: " + length, "Content-Length: 5"},
		"a list of lengths":  {"Content-Length: " + length + ", " + length},
		"a negative length":  {"Content-Length: -1"},
		"a signed length":    {"Content-Length: +" + length},
		"a length with text": {"Content-Length: " + length + "x"},
		"another encoding":   {"Transfer-Encoding: gzip, chunked"},
		"chunked twice":      {"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"},
	} {
		c := s.dial()
		c.send(hello, append([]string{"POST /webhook HTTP/1.1", "Host: x", "X-Signature: " + helloSignature}, headers...)...)
		if status := c.status("POST"); status != 400 && status != 501 {
			t.Errorf("%s: got %d", name, status)
		}
	}
	if n := s.rows(); n != 0 {
		t.Errorf("there are %d rows", n)
	}
}

// A request with both a length and chunks is how requests are smuggled past a
// proxy: RFC 9112, section 6.1, has the connection closed after it, whatever
// the answer and wherever it comes from.
func TestLengthAndChunksCloseTheConnection(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *config) { c.tokens = []string{"zq-token"} })
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hello), hello)
	for name, request := range map[string][]string{
		"delivery":         {"POST /webhook HTTP/1.1", "X-Signature: " + helloSignature},
		"unsigned":         {"POST /webhook HTTP/1.1"},
		"encoded":          {"POST /webhook HTTP/1.1", "X-Signature: " + helloSignature, "Content-Encoding: gzip"},
		"health":           {"GET /health/live HTTP/1.1"},
		"messages":         {"GET /messages HTTP/1.1", "Authorization: Bearer zq-token"},
		"without token":    {"GET /messages HTTP/1.1"},
		"odd method":       {"PUT /webhook HTTP/1.1"},
		"no route":         {"POST /nothing HTTP/1.1"},
		"not a clean path": {"POST //webhook HTTP/1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial()
			c.send(chunks+"GET /health/live HTTP/1.1\r\nHost: smuggled\r\n\r\n",
				append(request, "Host: x", "Content-Length: "+strconv.Itoa(len(chunks)), "Transfer-Encoding: chunked")...)
			c.answer("POST")
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			rest, err := io.ReadAll(c.r)
			if err != nil || len(rest) > 0 {
				t.Errorf("the server went on: %v %q", err, rest)
			}
		})
	}
}

func TestConnectionIsKept(t *testing.T) {
	t.Parallel()
	s := start(t)
	c := s.dial()
	var requests strings.Builder
	for i := range 5 {
		body, signed := msg(fmt.Sprintf("m%d", i)), ""
		if i%2 == 0 {
			signed = sign(body)
		}
		fmt.Fprintf(&requests, "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n%s", signed, len(body), body)
	}
	if _, err := io.WriteString(c, requests.String()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if i%2 == 0 {
			c.answer("POST").is(t, 200, okBody)
		} else {
			c.answer("POST").is(t, 401, signatureBody)
		}
	}
	if n := s.rows(); n != 3 {
		t.Errorf("there are %d rows, want 3", n)
	}
}

// hold posts a body that does not come yet; it returns once the server has
// begun to wait for it.
func hold(s *service, framing string) *rawConn {
	s.t.Helper()
	c := s.dial()
	c.send("", "POST /webhook HTTP/1.1", "Host: x", "Expect: 100-continue", "X-Request-ID: "+s.newID(), framing)
	if status := c.status("POST"); status != 100 {
		s.t.Fatalf("got %d, want 100 Continue", status)
	}
	return c
}

func TestBytesInFlight(t *testing.T) {
	t.Parallel()
	const maxBody, most, long = 64 << 10, 96 << 10, 60 << 10
	s := start(t, func(c *config) { c.maxBody, c.maxInflight = maxBody, most })
	full := func(id string, size int) answer { return s.post(padded(msg(id), size)) }
	stored := int64(0)
	for _, framing := range []string{"Content-Length: 65536", "Transfer-Encoding: chunked"} {
		// A body that is announced and does not come holds next to nothing.
		c := hold(s, framing)
		full("announced "+framing, long).is(t, 200, okBody)
		stored++

		// One of which most has come holds its bytes. The server may be slow to
		// read it: then it is the held one that does not fit.
		data := strings.Repeat(" ", long)
		if strings.HasPrefix(framing, "Transfer") {
			data = fmt.Sprintf("%x\r\n%s", long, data)
		}
		for i := 0; ; i++ {
			if _, err := io.WriteString(c, data); err != nil {
				t.Fatal(err)
			}
			full(fmt.Sprint("meanwhile ", framing, i), 500).is(t, 200, okBody)
			a := full(fmt.Sprint("too much ", framing, i), long)
			stored++
			if a.status != 200 {
				a.is(t, 503, unavailableBody)
				a.line.has(t, "level", "ERROR", "status", 503, "message_id", nil, "result", "unavailable")
				if a.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				break
			}
			stored++
			c.answer("POST").is(t, 503, unavailableBody)
			c = hold(s, framing)
		}
		full("just fits "+framing, 500).is(t, 200, okBody)
		stored++
		_ = c.CloseWrite()
		c.answer("POST").is(t, 400, cutBody)
	}
	// Whatever became of a delivery, it gives back what it held.
	for i := range 3 {
		s.post(padded("x", maxBody)).isInvalid(t, "body.0:json_invalid")
		s.post(padded("x", maxBody), header("X-Signature")).is(t, 401, signatureBody)
		s.post(padded("x", maxBody+1), chunked).is(t, 413, tooLargeBody)
		s.post("x", header("Content-Encoding", "gzip")).is(t, 415, encodingBody)
		full(fmt.Sprint(i), maxBody).is(t, 200, okBody)
		stored++
	}
	if n := s.rows(); n != stored {
		t.Errorf("there are %d rows, want %d", n, stored)
	}
}
