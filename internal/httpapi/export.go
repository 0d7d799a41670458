package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

const (
	// maxExports is how many exports run at one time: each reads the whole
	// database as fast as its client takes it.
	maxExports = 4
	// exportPiece is how much is gathered before it is written, in bytes.
	exportPiece = 64 << 10
	// exportPause is how long what was found is kept from a client at most,
	// where little is found.
	exportPause = time.Second
)

// parseExportQuery parses the query of GET /export.
func parseExportQuery(raw string) (f transfer.Format, filter message.Filter, o message.Order, err error) {
	v, err := parseQuery(raw)
	if err != nil {
		return "", message.Filter{}, "", err
	}
	filter = v.statsFilter()
	filter.Text = v.text("q")
	o = message.Order(v.choice("order", string(message.Ascending), string(message.Descending)))
	f = transfer.Format(v.choice("format", string(transfer.NDJSON), string(transfer.CSV)))
	return f, filter, o, v.err()
}

// export answers GET /export: everything that matches, in a stream.
func (s *Server) export(c *call) error {
	format, filter, order, err := parseExportQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	// An answer without a length ends with its connection in HTTP/1.0: one that
	// was cut off would look whole.
	if !c.r.ProtoAtLeast(1, 1) {
		return errOldHTTP
	}
	w := &exportWriter{call: c, control: http.NewResponseController(c), format: format, timeout: s.WriteTimeout, flushed: time.Now()}
	if c.r.Method == http.MethodHead {
		w.header()
		return nil
	}
	select {
	case s.exports <- struct{}{}:
		defer func() { <-s.exports }()
	default:
		return errExports
	}
	if s.ending.Err() != nil {
		return errStopping
	}
	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(s.ending, func() { cancel(errStopping) })
	defer stop()

	w.buf = append(w.buf, format.Header()...)
	err = s.Store.Walk(ctx, filter, order, func(m message.Message) error {
		w.buf = format.Append(w.buf, &m)
		if len(w.buf) < exportPiece && time.Since(w.flushed) < exportPause {
			return nil
		}
		return w.flush()
	})
	if err == nil {
		err = w.flush()
	}
	if err != nil && errors.Is(context.Cause(ctx), errStopping) {
		err = errStopping
	}
	switch {
	case err == nil:
		return nil
	case c.status != 0:
		return fmt.Errorf("%w: %w", errAborted, err)
	}
	return errors.Join(err, w.extend()) // for the answer that says so
}

// exportWriter writes the pieces of an export. The first one begins the answer:
// what fails before it gets an answer of its own.
type exportWriter struct {
	*call
	control *http.ResponseController
	format  transfer.Format
	timeout time.Duration
	buf     []byte
	flushed time.Time
}

func (w *exportWriter) header() {
	h := w.Header()
	h.Set("Content-Type", w.format.ContentType())
	h.Set("Content-Disposition", `attachment; filename="lyftr-`+time.Now().UTC().Format("20060102T150405Z")+"."+string(w.format)+`"`)
	w.WriteHeader(http.StatusOK)
}

// flush writes what was gathered. A client that takes nothing of it for as long
// as an answer may take is cut off; one that is slow is not.
func (w *exportWriter) flush() error {
	if err := w.extend(); err != nil {
		return err
	}
	if w.status == 0 {
		w.header()
	}
	_, err := w.Write(w.buf)
	if err == nil {
		err = w.control.Flush()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	w.buf, w.flushed = w.buf[:0], time.Now()
	return nil
}

// extend gives what is written next its time.
func (w *exportWriter) extend() error {
	return w.control.SetWriteDeadline(time.Now().Add(w.timeout))
}
