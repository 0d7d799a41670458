package httpapi

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/telemetry"
)

// deliver takes a delivery to the provider with that index: read, verify, parse,
// save, acknowledge.
func (s *Server) deliver(c *call, index int) error {
	p := s.access.Load().providers[index]
	c.webhook, c.source = true, p.Source()
	if !isOn(p) {
		c.reason = p.Switch() + " is not set"
		return errNoSecret
	}
	body, release, err := s.readBody(c, s.maxBody(p))
	if err != nil {
		return err
	}
	defer release()
	if err := s.take(c, p, body); err != nil {
		if !errors.Is(err, message.ErrUnavailable) && !errors.Is(err, errLimited) {
			c.hash = sha256.Sum256(body) // as long as there is a body
		}
		return err
	}
	return p.Acknowledge(c)
}

// take is what deliver does with a body.
func (s *Server) take(c *call, p provider.Provider, body []byte) error {
	c.delivery = provider.Request{
		Header: c.r.Header, URL: c.r.URL, Host: c.r.Host, Body: body, Now: time.Now(), Brief: c.brief,
	}
	if s.Tracing != nil {
		c.steps = &steps{}
	}
	c.steps.begin(stepVerify)
	keyID, err := p.Verify(&c.delivery)
	c.steps.end()
	if err != nil {
		return s.badSignature(c, fmt.Errorf("%w: %w", errSignature, err))
	}
	s.Metrics.SecretUsed(p.Source(), keyID)
	c.steps.begin(stepParse)
	content, err := p.Parse(&c.delivery)
	c.steps.end()
	if err != nil {
		if invalid, ok := errors.AsType[*message.InvalidError](err); ok {
			c.messageID = invalid.MessageID
		}
		return err
	}
	return s.store(c, content)
}

// maxBody is the longest body that the provider may send.
func (s *Server) maxBody(p provider.Provider) int64 {
	if p.Source() == message.SourceNative {
		return s.MaxBodyBytes
	}
	return provider.MaxBodyBytes
}

// isOn reports whether the provider has a secret.
func isOn(p provider.Provider) bool { return len(p.KeyIDs()) > 0 }

// store saves what a delivery holds, all or nothing, and notes what became of it
// for the log line and the metrics.
func (s *Server) store(c *call, content provider.Content) error {
	c.messages, c.statuses, c.ignored = len(content.Messages), len(content.Statuses), content.Ignored
	switch {
	case len(content.Messages) > 0:
		c.messageID = content.Messages[0].ID
	case len(content.Statuses) > 0:
		c.messageID = content.Statuses[0].ID
	default:
		c.result = telemetry.ResultIgnored
		return nil
	}
	// A client that goes away does not take back what it has sent.
	ctx := s.saving.context(time.Now())
	outcomes, err := s.Store.Save(c.steps.asking(ctx), content.Messages, content.Statuses)
	c.steps.saved(err)
	if err != nil {
		return err
	}
	c.result, c.dup = telemetry.ResultDuplicate, true
	now := time.Now()
	for i, o := range outcomes {
		if o.Mismatch {
			c.mismatch = true
		}
		if o.Duplicate {
			continue
		}
		c.result, c.dup = telemetry.ResultCreated, false
		if i < len(content.Messages) {
			s.Metrics.Stored(content.Messages[i].At, now)
		}
	}
	return nil
}

// challenge answers a provider that asks whether the path is meant for it.
func (s *Server) challenge(c *call, index int) error {
	p := s.access.Load().providers[index]
	c.webhook, c.source, c.result = true, p.Source(), telemetry.ResultChallenge
	if !isOn(p) {
		c.reason = p.Switch() + " is not set"
		return errNoSecret
	}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return s.badSignature(c, fmt.Errorf("%w: %w", errChallenge, &provider.Refusal{Reason: "the query of the URL cannot be parsed"}))
	}
	answer, err := p.(provider.Challenger).Challenge(query)
	if err != nil {
		return s.badSignature(c, fmt.Errorf("%w: %w", errChallenge, err))
	}
	c.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err = io.WriteString(c, answer)
	return err
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
func (s *Server) readBody(c *call, longest int64) (body []byte, release func(), err error) {
	for _, e := range c.r.Header["Content-Encoding"] {
		if e != "" && !strings.EqualFold(e, "identity") {
			return nil, nil, errEncoding
		}
	}
	c.size = max(0, c.r.ContentLength)
	if c.r.ContentLength > longest {
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
	*buf, err = readAll((*buf)[:0], http.MaxBytesReader(c.ResponseWriter, c.r.Body, longest), reserve)
	c.size = max(c.size, int64(len(*buf)))
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
