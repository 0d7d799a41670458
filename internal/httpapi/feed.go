package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"lyftr/internal/message"
)

const (
	// maxFeedWait is how long a reader may have a request held, in seconds.
	maxFeedWait = 60
	// streamLimit is how many messages an event stream sends in one piece. A
	// reader holds one piece at most, which others at the same position share.
	streamLimit = 256
	// feedHeartbeat is how long a stream is silent at most, so that neither a
	// proxy nor the reader takes it for dead.
	feedHeartbeat = 15 * time.Second
	// feedRetryMS is how long a reader waits before it connects again.
	feedRetryMS = 2000
)

// errSlow is the end of a reader who does not take what is sent to him.
var errSlow = errors.New("the reader took nothing for too long")

// feedQuery is a question to the feed.
type feedQuery struct {
	after    string
	resuming bool // after comes from Last-Event-ID
	limit    int
	wait     time.Duration
	stream   bool
}

// parseFeedQuery parses the query of GET /feed, and its header where that says
// what is asked for.
func parseFeedQuery(r *http.Request) (*feedQuery, error) {
	v, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	q := &feedQuery{
		after:  v.text("after"),
		limit:  int(v.integer("limit", 1, message.MaxFeedLimit, message.DefaultFeedLimit)),
		wait:   time.Duration(v.integer("wait", 0, maxFeedWait, 0)) * time.Second,
		stream: wantsEvents(r.Header["Accept"]),
	}
	ids := r.Header["Last-Event-Id"]
	if q.stream && len(ids) > 1 {
		v.faults = append(v.faults, lastEventIDFault("Value error, the header is given more than once"))
	}
	if q.stream && len(ids) == 1 && ids[0] != "" {
		q.after, q.resuming = ids[0], true
	}
	return q, v.err()
}

// wantsEvents reports whether an Accept header names event streams.
func wantsEvents(accept []string) bool {
	for _, list := range accept {
		for kind := range strings.SplitSeq(list, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
				return true
			}
		}
	}
	return false
}

func lastEventIDFault(msg string) message.Fault {
	return message.Fault{Loc: []any{"header", "last-event-id"}, Msg: msg, Type: message.FaultValue}
}

// explained names the place that a bad position came from.
func (q *feedQuery) explained(err error) error {
	if !errors.Is(err, message.ErrBadCursor) {
		return err
	}
	fault := lastEventIDFault("Value error, must be empty, latest, or a position that this database gave out")
	if !q.resuming {
		fault.Loc = []any{"query", "after"}
	}
	return &message.InvalidError{Faults: []message.Fault{fault}}
}

// feed answers GET /feed: at once, when there is something new, or with a
// stream of events.
func (s *Server) feed(c *call) error {
	q, err := parseFeedQuery(c.r)
	switch {
	case err != nil:
		return err
	case q.stream:
		return s.streamFeed(c, q)
	}
	return s.pageFeed(c, q)
}

// pageFeed answers with one page, which it waits for if it may.
func (s *Server) pageFeed(c *call, q *feedQuery) error {
	ctx := c.r.Context()
	page, err := s.Store.Feed(ctx, q.after, q.limit)
	if err != nil {
		return q.explained(err)
	}
	body, err := encodeFeed(page)
	if err != nil {
		return err
	}
	if len(page.Messages) == 0 && q.wait > 0 && c.r.Method != http.MethodHead {
		c.waited = true
		s.Metrics.FeedReaders(1)
		defer s.Metrics.FeedReaders(-1)
		timer := time.NewTimer(q.wait)
		defer timer.Stop()
		found, err := s.readers.next(ctx, feedKey{after: page.Next, limit: q.limit}, false, timer.C)
		switch {
		case err != nil:
			return q.explained(err)
		case found != nil:
			body = found.body
		case ctx.Err() != nil:
			return fmt.Errorf("wait for messages: %w", ctx.Err())
		}
	}
	// The answer has its time from now on, however long the wait was.
	if err := http.NewResponseController(c).SetWriteDeadline(time.Now().Add(s.WriteTimeout)); err != nil {
		return err
	}
	return writeBody(c, http.StatusOK, body)
}

// encodeFeed makes the answer with a page.
func encodeFeed(page message.FeedPage) ([]byte, error) {
	answer := struct {
		Data []fullMessageJSON `json:"data"`
		Next string            `json:"next_cursor"`
	}{make([]fullMessageJSON, len(page.Messages)), page.Next}
	for i, m := range page.Messages {
		answer.Data[i] = toFullJSON(m)
	}
	return json.Marshal(answer)
}

// encodeEvents makes events of a page. Each has the position right behind it as
// its id. JSON as encoding/json writes it has no line break.
func encodeEvents(page message.FeedPage) ([]byte, error) {
	var b []byte
	for i, m := range page.Messages {
		data, err := json.Marshal(toFullJSON(m))
		if err != nil {
			return nil, err
		}
		b = append(b, "id: "...)
		b = append(b, page.Positions[i]...)
		b = append(b, "\nevent: message\ndata: "...)
		b = append(b, data...)
		b = append(b, "\n\n"...)
	}
	return b, nil
}

// streamFeed sends events until the reader goes away, does not keep up, or the
// feed ends. What goes wrong once the answer has begun ends the stream: the
// reader connects again and goes on behind the last event that he has seen.
//
// Its frame is kept small, for it stays while the reader waits.
func (s *Server) streamFeed(c *call, q *feedQuery) error {
	out, err := s.beginStream(c, q)
	if err != nil || c.r.Method == http.MethodHead {
		return err
	}
	c.waited = true
	s.Metrics.FeedReaders(1)
	defer s.Metrics.FeedReaders(-1)
	defer out.extend() // for the end of the answer, which net/http writes
	return s.follow(out)
}

// beginStream checks the position and sets the header.
func (s *Server) beginStream(c *call, q *feedQuery) (*eventStream, error) {
	page, err := s.Store.Feed(c.r.Context(), q.after, 0)
	if err != nil {
		return nil, q.explained(err)
	}
	h := c.Header()
	h["Content-Type"] = eventStreamType
	h["X-Accel-Buffering"] = noBuffering
	return &eventStream{
		call:    c,
		conn:    http.NewResponseController(c),
		timeout: s.WriteTimeout,
		key:     feedKey{after: page.Next, limit: streamLimit, events: true},
	}, nil
}

// follow sends what comes.
func (s *Server) follow(out *eventStream) error {
	// An id without data is no event, but the reader keeps it: he resumes here
	// even if nothing arrives before the connection is lost.
	err := out.send([]byte("retry: " + strconv.Itoa(feedRetryMS) + "\nid: " + out.key.after + "\n\n"))
	heartbeat := time.NewTimer(s.heartbeat)
	defer heartbeat.Stop()
	for err == nil && !s.readers.over() {
		heartbeat.Reset(s.heartbeat)
		found, fault := s.readers.next(out.r.Context(), out.key, out.tail, heartbeat.C)
		switch {
		case fault != nil:
			return fault
		case found != nil:
			out.key.after, out.tail = found.next, !found.more
			err = out.send(found.body)
		case out.r.Context().Err() == nil && !s.readers.over():
			err = out.send([]byte(":\n\n"))
		default:
			return nil
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlow
	}
	return nil // he has gone, which is how most streams end
}

var (
	eventStreamType = []string{"text/event-stream"}
	noBuffering     = []string{"no"} // a proxy that knows it passes each event on at once
)

// eventStream is a stream on its way. Each piece of it has to be taken in time.
type eventStream struct {
	*call
	conn    *http.ResponseController
	timeout time.Duration
	key     feedKey // of what comes next
	tail    bool    // the reader has seen the end
}

func (e *eventStream) extend() {
	// An error shows again in what is written next.
	_ = e.conn.SetWriteDeadline(time.Now().Add(e.timeout))
}

func (e *eventStream) send(p []byte) error {
	e.extend()
	if _, err := e.Write(p); err != nil {
		return err
	}
	return e.conn.Flush()
}
