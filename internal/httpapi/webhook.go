package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
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

const (
	// keptBody is the longest buffer that is kept for the next body, in bytes.
	keptBody = 64 << 10
	// firstRead is what a body is given room for before any of it has arrived.
	firstRead = 4 << 10
)

// readBody reads the raw body, which may be used until release is called. What
// has arrived of it counts against MaxInflightBytes, not what was announced: a
// sender that announces a long body and sends none of it must not use up what
// others need.
func (s *Server) readBody(c *call) (body []byte, release func(), err error) {
	for _, e := range c.r.Header["Content-Encoding"] {
		if e != "" && !strings.EqualFold(e, "identity") {
			return nil, nil, errEncoding
		}
	}
	if c.r.ContentLength > s.MaxBodyBytes {
		c.Header()["Connection"] = closeConnection // what is not read cannot be skipped
		return nil, nil, errTooLarge
	}
	buf := s.bodies.Get().(*[]byte)
	held := int64(0)
	release = func() {
		s.inflight.Add(-held)
		if cap(*buf) <= keptBody {
			s.bodies.Put(buf)
		}
	}
	reserve := func(n int) error {
		held += int64(n)
		if s.inflight.Add(int64(n)) > s.MaxInflightBytes {
			return fmt.Errorf("%w: too many bytes in flight", errUnavailable)
		}
		return nil
	}
	*buf, err = readAll((*buf)[:0], http.MaxBytesReader(c.ResponseWriter, c.r.Body, s.MaxBodyBytes), reserve)
	if err == nil {
		return *buf, release, nil
	}
	release()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, nil, errTooLarge
	}
	c.Header()["Connection"] = closeConnection
	if errors.Is(err, errUnavailable) {
		return nil, nil, err
	}
	return nil, nil, fmt.Errorf("%w: %w", errBody, err)
}

// readAll reads to the end into b, as far as reserve allows it to hold more.
func readAll(b []byte, r io.Reader, reserve func(bytes int) error) ([]byte, error) {
	b = slices.Grow(b, firstRead)
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, cap(b))
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if full := reserve(n); full != nil {
			return b, full
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}
