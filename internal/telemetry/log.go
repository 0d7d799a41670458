// Package telemetry is what lyftr says about itself: the JSON log and the
// Prometheus metrics.
package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// timeLayout is RFC 3339 with milliseconds, in UTC.
const timeLayout = "2006-01-02T15:04:05.000Z"

// NewLogger returns a logger that writes one JSON object a line: ts, level
// (DEBUG, INFO, WARNING or ERROR), msg and the attributes.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			// A caller's own attribute of one of these names stays as it is.
			if a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
				return slog.String("ts", a.Value.Time().UTC().Format(timeLayout))
			}
			if level, ok := a.Value.Any().(slog.Level); ok && a.Key == slog.LevelKey {
				return slog.String("level", LevelName(level))
			}
			return a
		},
	}))
}

// LevelName is the name of a level on a log line.
func LevelName(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < slog.LevelWarn:
		return "INFO"
	case l < slog.LevelError:
		return "WARNING"
	}
	return "ERROR"
}

// ParseLevel parses a level's name in any case; WARN is WARNING.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToUpper(s) {
	case "DEBUG":
		return slog.LevelDebug, nil
	case "INFO":
		return slog.LevelInfo, nil
	case "WARNING", "WARN":
		return slog.LevelWarn, nil
	case "ERROR":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is not a log level: use DEBUG, INFO, WARNING or ERROR", s)
}

// maxBuffered is how many bytes of lines wait for a slow reader of the log
// before those who write lines wait too.
const maxBuffered = 1 << 20

// LineWriter takes lines without waiting for the writer behind it: one
// goroutine writes what has gathered, at once, and while it does so the next
// lines gather. Nothing is dropped: when maxBuffered bytes wait, Write waits.
// An error of the writer behind it loses the lines at hand and is counted, since
// a full disk under the log must not stop the service.
type LineWriter struct {
	w      io.Writer
	mu     sync.Mutex
	more   *sync.Cond // there is something to write, or closed was set
	room   *sync.Cond // the buffer was taken
	buf    []byte
	lost   int64
	closed bool
	exited chan struct{}
}

// NewLineWriter starts the goroutine that writes to w. Close ends it.
func NewLineWriter(w io.Writer) *LineWriter {
	l := &LineWriter{w: w, exited: make(chan struct{})}
	l.more, l.room = sync.NewCond(&l.mu), sync.NewCond(&l.mu)
	go l.write()
	return l
}

// Write takes whole lines. After Close it writes them at once.
func (l *LineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.buf) >= maxBuffered && !l.closed {
		l.room.Wait()
	}
	if l.closed {
		l.mu.Unlock()
		<-l.exited
		l.mu.Lock()
		return l.w.Write(p)
	}
	l.buf = append(l.buf, p...)
	if len(l.buf) == len(p) {
		l.more.Signal()
	}
	return len(p), nil
}

// Lost is how many writes failed.
func (l *LineWriter) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// closeTimeout is how long Close waits for a reader of the log that stands still.
const closeTimeout = 5 * time.Second

// Close writes what has gathered and ends the goroutine. It gives up, with an
// error, if the writer behind it takes nothing for some seconds.
func (l *LineWriter) Close() error {
	l.mu.Lock()
	l.closed = true
	l.more.Signal()
	l.room.Broadcast()
	l.mu.Unlock()
	select {
	case <-l.exited:
		return nil
	case <-time.After(closeTimeout):
		return errors.New("close log: nobody reads it")
	}
}

func (l *LineWriter) write() {
	defer close(l.exited)
	var spare []byte
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for len(l.buf) == 0 && !l.closed {
			l.more.Wait()
		}
		if len(l.buf) == 0 {
			return
		}
		lines := l.buf
		l.buf = spare[:0]
		l.room.Broadcast()
		l.mu.Unlock()
		_, err := l.w.Write(lines)
		l.mu.Lock()
		if err != nil {
			l.lost++
		}
		if spare = lines; cap(spare) > maxBuffered {
			spare = nil // a burst's buffer is not kept
		}
	}
}

// Limiter lets through what repeats at most once in a while.
type Limiter struct {
	every time.Duration
	mu    sync.Mutex
	seen  map[string]*repeat
}

type repeat struct {
	last    time.Time
	skipped int
}

// maxRepeats bounds how many different things a Limiter remembers.
const maxRepeats = 256

// NewLimiter returns a limiter that allows each key once in every.
func NewLimiter(every time.Duration) *Limiter {
	return &Limiter{every: every, seen: map[string]*repeat{}}
}

// Allow reports whether the key may pass now, and how often it was held back
// since it last passed.
func (l *Limiter) Allow(key string, now time.Time) (ok bool, skipped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.seen[key]
	if r == nil {
		if len(l.seen) >= maxRepeats {
			clear(l.seen)
		}
		l.seen[key] = &repeat{last: now}
		return true, 0
	}
	if now.Sub(r.last) < l.every {
		r.skipped++
		return false, 0
	}
	skipped, r.skipped, r.last = r.skipped, 0, now
	return true, skipped
}
