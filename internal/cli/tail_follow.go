package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// feedSilence is how long nothing may come, not even the comment that the
	// server sends each 15 seconds, before the connection counts as lost.
	feedSilence = 45 * time.Second
	// firstRetry and longestRetry are the pauses before a lost connection is tried
	// again.
	firstRetry   = 200 * time.Millisecond
	longestRetry = 5 * time.Second
	// longestAsked is the longest pause that a server may ask for.
	longestAsked = time.Minute
	// maxEvent is more bytes than any message takes.
	maxEvent = 256 << 20
)

var (
	errNotLyftr = errors.New("what came is not the feed of lyftr")
	errSilent   = fmt.Errorf("nothing came for %s", feedSilence)
)

// lostError is why there is no stream, where to try again may help.
type lostError struct {
	err   error
	pause time.Duration // at least, as the server asks for
}

// Error implements error.
func (e lostError) Error() string { return e.err.Error() }

// follower follows the feed of a server, over every loss of the connection.
type follower struct {
	client   *http.Client
	url      *url.URL
	token    string        // empty without one
	after    string        // where to begin, as the parameter has it
	position string        // right behind what was taken; empty before that is known
	say      func(string)  // tells people about the connection
	silence  time.Duration // feedSilence
	retry    time.Duration // firstRetry

	begun bool // there was a stream
	away  bool // there is none, and that was said
}

func newFollower(address *url.URL, say func(line string)) *follower {
	const dial, header = 10 * time.Second, 30 * time.Second
	return &follower{
		client: &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: dial}).DialContext,
			TLSHandshakeTimeout:   dial,
			ResponseHeaderTimeout: header,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true, // who compresses holds events back
		}},
		url:     address,
		say:     say,
		silence: feedSilence,
		retry:   firstRetry,
	}
}

// follow has take called with each event, in order and once, until take returns
// an error, which it returns, or the context ends, which is no error. It returns
// an error as well when the server answers what trying again does not change.
func (f *follower) follow(ctx context.Context, take func(event) error) error {
	pause := f.retry
	for {
		lively, err := f.stream(ctx, take)
		var lost lostError
		switch {
		case ctx.Err() != nil && (errors.As(err, &lost) || err == nil):
			return nil
		case !errors.As(err, &lost):
			return err
		}
		if !f.away {
			f.away = true
			f.say(fmt.Sprintf("%s; trying again until it works", lost))
		}
		if lively {
			pause = f.retry
		}
		timer := time.NewTimer(max(pause, min(lost.pause, longestAsked)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		pause = min(2*pause, longestRetry)
	}
}

// stream reads one stream to its end, which is always an error. It reports
// whether anything came but where it begins.
func (f *follower) stream(ctx context.Context, take func(event) error) (lively bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(f.silence, func() { cancel(errSilent) })
	defer silence.Stop()
	request, err := f.request(ctx)
	if err != nil {
		return false, err
	}
	response, err := f.client.Do(request)
	if err != nil {
		return false, f.unanswered(ctx, err)
	}
	defer response.Body.Close()
	if err := f.judge(response); err != nil {
		return false, err
	}
	events := newEventReader(&watched{response.Body, silence, f.silence})
	for {
		ev, err := events.next()
		switch {
		case errors.Is(err, errNotLyftr):
			return lively, err
		case errors.Is(err, io.EOF):
			return lively, lostError{err: errors.New("the server ended the stream")}
		case err != nil && context.Cause(ctx) != nil:
			return lively, lostError{err: context.Cause(ctx)}
		case err != nil:
			return lively, lostError{err: fmt.Errorf("the connection is lost: %w", err)}
		}
		if ev.id == "" && ev.data == nil || ev.kind != "" && ev.kind != "message" {
			lively = true // a comment, or news of a later version
			continue
		}
		if !isPosition(ev.id) {
			return lively, errNotLyftr
		}
		if err := take(ev); err != nil {
			return lively, err
		}
		f.position, f.begun, lively = ev.id, true, lively || ev.data != nil
		if f.away {
			f.away = false
			f.say("connected again")
		}
	}
}

func (f *follower) request(ctx context.Context) (*http.Request, error) {
	u := *f.url
	if f.after != "" {
		u.RawQuery = url.Values{"after": {f.after}}.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	if f.position != "" {
		r.Header.Set("Last-Event-Id", f.position)
	}
	if f.token != "" {
		r.Header.Set("Authorization", "Bearer "+f.token)
	}
	return r, nil
}

// unanswered is the error of a request without an answer.
func (f *follower) unanswered(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	if !f.begun && (errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err // the address is said already
	}
	return lostError{err: fmt.Errorf("no answer from %s: %w", f.url.Redacted(), err)}
}

// judge returns an error for an answer that is no stream.
func (f *follower) judge(response *http.Response) error {
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	switch code := response.StatusCode; {
	case code == http.StatusOK && kind == "text/event-stream":
		return nil
	case code == http.StatusUnauthorized && f.token == "":
		return errors.New("the server shows messages to those only who have an API token: set API_TOKEN or give --api-token")
	case code == http.StatusUnauthorized:
		return errors.New("the server takes another API_TOKEN than the one that is set here")
	case code == http.StatusUnprocessableEntity && f.position != "":
		return errors.New("the server's database does not know the position that was reached: it is another, or was put back to an earlier state; leave out --position-file, or remove the file, and begin with --all or --after")
	case code == http.StatusUnprocessableEntity:
		return errors.New("--after is no position that the server's database gave out")
	case code == http.StatusTooManyRequests || code >= http.StatusInternalServerError:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return lostError{fmt.Errorf("%s answered %d", f.url.Redacted(), code), time.Duration(seconds) * time.Second}
	default:
		return fmt.Errorf("what answers at %s is not lyftr: it said %d, and no stream of events", f.url.Redacted(), code)
	}
}

// isPosition reports whether a text can be a position: it has to fit a header.
func isPosition(s string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return s != "" && strings.Trim(s, letters) == ""
}

// watched ends what it reads if a read waits for too long.
type watched struct {
	io.Reader
	timer *time.Timer
	limit time.Duration
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.limit)
	defer w.timer.Stop()
	return w.Reader.Read(p)
}

// event is a server-sent event, or a block that is none: the position where the
// stream begins, or a comment.
type event struct {
	id, kind string
	data     []byte
	last     bool // nothing behind it has arrived yet
}

// eventReader reads server-sent events.
type eventReader struct {
	in   *bufio.Reader
	line []byte
}

func newEventReader(r io.Reader) *eventReader {
	const buffer = 64 << 10
	return &eventReader{in: bufio.NewReaderSize(r, buffer)}
}

// next returns the next event once its empty line is there. What ends before
// that is no event: it comes again.
func (r *eventReader) next() (event, error) {
	var ev event
	for {
		line, err := r.readLine()
		if err != nil {
			return event{}, err
		}
		if len(line) == 0 {
			ev.last = r.in.Buffered() == 0
			return ev, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			ev.id = string(value)
		case "event":
			ev.kind = string(value)
		case "data":
			if ev.data != nil {
				ev.data = append(ev.data, '\n')
			}
			ev.data = append(ev.data, value...)
		}
		if len(ev.data) > maxEvent {
			return event{}, errNotLyftr
		}
	}
}

// readLine returns the next line without its end. It is good until the next call.
func (r *eventReader) readLine() ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		r.line = append(r.line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(r.line, []byte("\n")), []byte("\r")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(r.line) > maxEvent:
			return nil, errNotLyftr
		}
	}
}
