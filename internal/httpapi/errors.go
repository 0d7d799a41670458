package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/telemetry"
)

// answerError is an error that knows its answer.
type answerError struct {
	status int
	detail string
	result telemetry.Result // of a delivery
}

// Error implements error.
func (e *answerError) Error() string { return e.detail }

var (
	errSignature   = &answerError{http.StatusUnauthorized, "invalid signature", telemetry.ResultInvalidSignature}
	errChallenge   = &answerError{http.StatusForbidden, "wrong verify token", telemetry.ResultInvalidChallenge}
	errToken       = &answerError{http.StatusUnauthorized, "missing or wrong API token", ""}
	errNoToken     = &answerError{http.StatusForbidden, "erasing messages needs an API token, and none is configured: set API_TOKEN", ""}
	errLimited     = &answerError{http.StatusTooManyRequests, "too many failed attempts, try again later", telemetry.ResultLimited}
	errOrigin      = &answerError{http.StatusForbidden, "the request comes from the page of another site; if not, a proxy on its way changes the header Host", ""}
	errForm        = &answerError{http.StatusBadRequest, "the form did not arrive whole", ""}
	errTooLarge    = &answerError{http.StatusRequestEntityTooLarge, "body too large", telemetry.ResultTooLarge}
	errEncoding    = &answerError{http.StatusUnsupportedMediaType, "a body with a Content-Encoding is not read: send it as it is signed", telemetry.ResultUnsupported}
	errBody        = &answerError{http.StatusBadRequest, "the body did not arrive whole", telemetry.ResultBadRequest}
	errNoSecret    = &answerError{http.StatusServiceUnavailable, "webhook secret not configured", telemetry.ResultNotConfigured}
	errNoRoute     = &answerError{http.StatusNotFound, "Not Found", ""}
	errNoMessage   = &answerError{http.StatusNotFound, "message not found", ""}
	errMethod      = &answerError{http.StatusMethodNotAllowed, "Method Not Allowed", ""}
	errGone        = &answerError{statusClientGone, "the client did not wait for the answer", ""}
	errUnavailable = &answerError{http.StatusServiceUnavailable, unavailableDetail, telemetry.ResultUnavailable}
	errInternal    = &answerError{http.StatusInternalServerError, "internal error", telemetry.ResultError}
	errPanic       = errors.New("panic")
	errAborted     = errors.New("the answer was cut off")
	errOldHTTP     = &answerError{http.StatusHTTPVersionNotSupported, "an export needs HTTP/1.1: before, one that is cut off looks whole", ""}
	errExports     = &answerError{http.StatusServiceUnavailable, "too many exports at one time, try again later", ""}
	errStopping    = &answerError{http.StatusServiceUnavailable, "the server is stopping", ""}
)

// statusClientGone is what nginx made the usual status for a client that went
// away before its answer was ready; nobody receives it.
const statusClientGone = 499

const unavailableDetail = "temporarily unavailable, send again"

// retryAfter is how long a client that got 503 should wait, in seconds.
const retryAfter = 1

// detailAnswer is the shape of every error.
type detailAnswer struct {
	Detail any `json:"detail"`
}

// answer turns the handler's error, if there is one, into the answer. It is the
// only place that does.
func (s *Server) answer(c *call) {
	if c.err == nil {
		if c.status == 0 {
			c.WriteHeader(http.StatusOK)
		}
		return
	}
	if c.status != 0 { // the answer had begun
		s.noteCut(c)
		return
	}
	known, detail := s.explain(c, c.err)
	if c.webhook {
		c.result = known.result
		if c.result == "" {
			c.result = telemetry.ResultError
		}
		if c.reason == "" {
			c.reason = s.reason(c, known)
		}
	}
	h := c.Header()
	switch known.status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(retryAfter))
	case http.StatusUnauthorized:
		if known == errToken {
			h.Set("WWW-Authenticate", tokenChallenge)
		}
	}
	// That it cannot be sent is nobody's to mend: the line has its status.
	_ = writeJSON(c, known.status, detailAnswer{detail})
}

// noteCut logs why an answer was cut off, unless the reason is the client's or a
// panic, which is logged already. The request's line cannot tell: its status is
// that with which the answer began.
func (s *Server) noteCut(c *call) {
	if !errors.Is(c.err, errAborted) || errors.Is(c.err, errPanic) || errors.Is(c.err, errGone) || c.r.Context().Err() != nil {
		return
	}
	level := slog.LevelError
	if errors.Is(c.err, errStopping) {
		level = slog.LevelWarn
	}
	cause := c.err.Error()
	if ok, skipped := s.errors.Allow(cause, time.Now()); ok {
		s.Logger.Log(c.r.Context(), level, "an answer was cut off", "request_id", c.id, "path", c.label, "error", cause, "not_logged_before", skipped)
	}
}

// explain finds the status and the detail of an error.
func (s *Server) explain(c *call, err error) (*answerError, any) {
	var known *answerError
	var invalid *message.InvalidError
	switch {
	case errors.As(err, &known):
	case errors.As(err, &invalid):
		return &answerError{http.StatusUnprocessableEntity, "", telemetry.ResultValidationError}, invalid.Faults
	case errors.Is(err, message.ErrBadCursor):
		return s.explain(c, queryFault("cursor", message.FaultValue, "Value error, must be the next_cursor of an answer to the same filters and order"))
	case errors.Is(err, message.ErrTooManyBuckets):
		return s.explain(c, queryFault("bucket", message.FaultValue, "Value error, more than 10000 buckets: take a wider bucket or narrow since and until"))
	case errors.Is(err, message.ErrNotFound):
		known = errNoMessage
	case errors.Is(err, context.Canceled) && !c.webhook && c.r.Context().Err() != nil:
		known = errGone
	case errors.Is(err, message.ErrUnavailable):
		known = errUnavailable
	default:
		known = errInternal
	}
	return known, known.detail
}

// maxReasons is how many faults of a delivery a reason names.
const maxReasons = 5

// reason says why a delivery was refused, for whoever runs the service. It is
// empty for what is not the sender's fault.
func (s *Server) reason(c *call, known *answerError) string {
	if known.status >= http.StatusInternalServerError {
		return ""
	}
	if refusal, ok := errors.AsType[*provider.Refusal](c.err); ok {
		if hint := s.hint(c); hint != "" {
			return refusal.Reason + "; " + hint
		}
		return refusal.Reason
	}
	if invalid, ok := errors.AsType[*message.InvalidError](c.err); ok {
		return invalid.Explain(maxReasons)
	}
	return known.detail
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBody(w, status, body)
}

func writeBody(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

var jsonType = []string{"application/json"}
