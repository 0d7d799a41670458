package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// stream is an event stream as a browser reads it.
type stream struct {
	s        *service
	request  string // its id
	body     io.ReadCloser
	lines    *bufio.Scanner
	lastID   string
	retry    string
	comments int
	ended    bool // without an error
	cancel   context.CancelFunc
}

// event is one event: its type, its data, and the id that was the last when it
// came.
type event struct{ kind, data, id string }

// events opens a stream and reads what comes before its first event.
func (s *service) events(target string, changes ...func(*http.Request)) *stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	st := &stream{s: s, request: s.newID(), cancel: cancel}
	s.t.Cleanup(st.close)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("X-Request-Id", st.request)
	for _, change := range changes {
		change(r)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s: %v", target, err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	st.body = resp.Body
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("%s: got %d %s %s", target, resp.StatusCode, kind, b)
	}
	st.lines = bufio.NewScanner(resp.Body)
	st.lines.Buffer(nil, 1<<20)
	st.lines.Split(eventLines)
	st.block()
	return st
}

// eventLines splits at LF, CR and CRLF, as the rules for event streams have it.
func eventLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	for i, c := range data {
		switch {
		case c == '\n':
			return i + 1, data[:i], nil
		case c == '\r' && i+1 < len(data) && data[i+1] == '\n':
			return i + 2, data[:i], nil
		case c == '\r' && i+1 < len(data):
			return i + 1, data[:i], nil
		}
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// block reads up to the next empty line and returns the event, if it is one.
func (st *stream) block() (e event, ok bool) {
	e.kind = "message"
	var data []string
	for st.lines.Scan() {
		line := st.lines.Text()
		if line == "" {
			e.id, e.data = st.lastID, strings.Join(data, "\n")
			if data != nil {
				if err := contractOf(st.s.t).checkFull([]byte(e.data)); err != nil {
					st.s.t.Errorf("an event is otherwise than openapi.yaml says: %v: %.300s", err, e.data)
				}
			}
			return e, data != nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "":
			st.comments++
		case "event":
			e.kind = value
		case "data":
			data = append(data, value)
		case "id":
			st.lastID = value
		case "retry":
			st.retry = value
		default:
			st.s.t.Errorf("a line that no event stream has: %q", line)
		}
	}
	st.ended = st.lines.Err() == nil
	return event{}, false
}

// next returns the next event; it waits for it, past comments.
func (st *stream) next() event {
	st.s.t.Helper()
	for {
		before := st.comments
		e, ok := st.block()
		if ok {
			return e
		}
		if st.comments == before {
			st.s.t.Fatalf("the stream ended: %v", st.lines.Err())
		}
	}
}

// ids reads n events and returns the ids of their messages.
func (st *stream) ids(n int) []string {
	st.s.t.Helper()
	list := make([]string, n)
	for i := range list {
		list[i] = decode[fullMessage](st.s.t, st.next().data).ID
	}
	return list
}

// rest reads to the end and returns how many events came.
func (st *stream) rest() (n int) {
	for {
		before := st.comments
		switch _, ok := st.block(); {
		case ok:
			n++
		case st.comments == before:
			return n
		}
	}
}

func (st *stream) close() {
	st.cancel()
	if st.body != nil {
		_ = st.body.Close()
	}
}

// line closes the stream and returns its log line.
func (st *stream) line() entry {
	st.s.t.Helper()
	st.close()
	return st.s.line(st.request)
}

// readersAre waits until so many readers of the feed wait.
func (s *service) readersAre(n float64) {
	s.t.Helper()
	s.eventually("lyftr_feed_readers", func() bool { return s.metric("lyftr_feed_readers") == n })
}

// eventually waits until the condition holds.
func (s *service) eventually(what string, condition func() bool) {
	s.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-end:
			s.t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// slowReader opens a stream and reads the first line of its header only.
func (s *service) slowReader(id string) *rawConn {
	s.t.Helper()
	c := s.dial()
	c.send("", "GET /feed HTTP/1.1", "Host: x", "Accept: text/event-stream", "X-Request-Id: "+id)
	if line, err := c.r.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		s.t.Fatalf("got %q, %v", line, err)
	}
	return c
}

// isCut reads what is left and wants it to end in the middle.
func (c *rawConn) isCut(t testing.TB) {
	t.Helper()
	rest, err := io.ReadAll(c.r)
	if strings.HasSuffix(string(rest), "0\r\n\r\n") || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stream was not cut, after %d bytes: %v", len(rest), err)
	}
}
