package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/telemetry"
)

// webhook takes a delivery: read, verify, parse, save, acknowledge.
func (s *Server) webhook(c *call) error {
	c.webhook = true
	if s.Native.Keys.Empty() {
		return errNoSecret
	}
	body, release, err := s.readBody(c)
	if err != nil {
		return err
	}
	defer release()
	keyID, ok := s.Native.Verify(c.r.Header, body)
	if !ok {
		return errSignature
	}
	s.Metrics.SecretUsed(s.Native.Source(), keyID)
	messages, err := s.Native.Parse(body)
	if err != nil {
		if invalid, ok := errors.AsType[*message.InvalidError](err); ok {
			c.messageID = invalid.MessageID
		}
		return err
	}
	c.messageID = messages[0].ID

	// A client that goes away does not take back what it has sent.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), s.SaveTimeout)
	defer cancel()
	outcomes, err := s.Store.Save(ctx, messages)
	if err != nil {
		return err
	}
	s.note(c, messages, outcomes)
	return s.Native.Acknowledge(c)
}

// note keeps what became of the messages for the log line and the metrics.
func (s *Server) note(c *call, messages []message.Message, outcomes []message.Outcome) {
	c.result, c.dup = telemetry.ResultDuplicate, true
	now := time.Now()
	for i, o := range outcomes {
		if o.Mismatch {
			c.mismatch = true
		}
		if !o.Duplicate {
			c.result, c.dup = telemetry.ResultCreated, false
			s.Metrics.Stored(messages[i].At, now)
		}
	}
}

// keptBody is the longest buffer that is kept for the next body, in bytes.
const keptBody = 64 << 10

// readBody reads the raw body, which may be used until release is called.
func (s *Server) readBody(c *call) (body []byte, release func(), err error) {
	r := c.r
	for _, e := range r.Header["Content-Encoding"] {
		if e != "" && !strings.EqualFold(e, "identity") {
			return nil, nil, errEncoding
		}
	}
	// A body of unknown length may become as long as the limit.
	size := r.ContentLength
	if size > s.MaxBodyBytes {
		c.Header().Set("Connection", "close") // what is not read cannot be skipped
		return nil, nil, errTooLarge
	}
	if size < 0 {
		size = s.MaxBodyBytes
		// net/http has dropped a Content-Length that stood beside the chunks.
		// Whoever sends both may have a proxy believe that something else
		// follows, so this request is the last on its connection (RFC 9112, 6.1).
		c.Header().Set("Connection", "close")
	}
	if s.inflight.Add(size) > s.MaxInflightBytes {
		s.inflight.Add(-size)
		return nil, nil, fmt.Errorf("%w: too many bytes in flight", errBusy)
	}
	buf := s.bodies.Get().(*[]byte)
	release = func() {
		s.inflight.Add(-size)
		if cap(*buf) <= keptBody {
			s.bodies.Put(buf)
		}
	}
	if r.ContentLength >= 0 {
		if int64(cap(*buf)) < size {
			*buf = make([]byte, size, max(size, 1024))
		}
		*buf = (*buf)[:size]
		_, err = io.ReadFull(r.Body, *buf)
	} else {
		*buf, err = appendAll((*buf)[:0], http.MaxBytesReader(c.ResponseWriter, r.Body, s.MaxBodyBytes))
	}
	if err != nil {
		release()
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, nil, errTooLarge
		}
		c.Header().Set("Connection", "close")
		return nil, nil, fmt.Errorf("%w: %w", errBody, err)
	}
	return *buf, release, nil
}

// appendAll is io.ReadAll into a buffer that there already is.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
