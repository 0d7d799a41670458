package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/telemetry"
)

func TestNewLogger(t *testing.T) {
	var b bytes.Buffer
	l := telemetry.NewLogger(&b, slog.LevelDebug)
	for _, c := range []struct {
		level slog.Level
		want  string
	}{
		{slog.LevelDebug, "DEBUG"}, {slog.LevelInfo, "INFO"}, {slog.LevelWarn, "WARNING"}, {slog.LevelError, "ERROR"},
	} {
		b.Reset()
		before := time.Now().Truncate(time.Millisecond)
		l.Log(t.Context(), c.level, "migrated \"x\"\n", "version", 3, "file", "a\nb", slog.Group("g", "level", "x", "time", "y", "msg", "z"))
		after := time.Now()
		o := object(t, b.Bytes())
		ts, _ := o["ts"].(string)
		if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(ts) {
			t.Errorf("ts is %q, want RFC 3339 with milliseconds", ts)
		}
		at, err := time.Parse(time.RFC3339Nano, ts)
		if err != nil || at.Before(before) || at.After(after) {
			t.Errorf("ts is %q, between %v and %v: %v", ts, before, after, err)
		}
		delete(o, "ts")
		want := map[string]any{
			"level": c.want, "msg": "migrated \"x\"\n", "version": json.Number("3"), "file": "a\nb",
			"g": map[string]any{"level": "x", "time": "y", "msg": "z"},
		}
		if diff := cmp.Diff(want, o); diff != "" {
			t.Error(diff)
		}
	}
}

// The time on a line is UTC wherever the process runs.
func TestNewLoggerUTC(t *testing.T) {
	var b bytes.Buffer
	r := slog.NewRecord(lineTime, slog.LevelInfo, "x", 0)
	if err := telemetry.NewLogger(&b, slog.LevelInfo).Handler().Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if ts := object(t, b.Bytes())["ts"]; ts != "2025-01-15T10:00:00.007Z" {
		t.Errorf("ts is %q", ts)
	}
}

func TestNewLoggerLevel(t *testing.T) {
	for _, c := range []struct {
		level slog.Level
		want  int // lines of the four
	}{
		{slog.LevelDebug, 4}, {slog.LevelInfo, 3}, {slog.LevelWarn, 2}, {slog.LevelError, 1},
	} {
		var b bytes.Buffer
		l := telemetry.NewLogger(&b, c.level)
		l.Debug("x")
		l.Info("x")
		l.Warn("x")
		l.Error("x")
		if got := bytes.Count(b.Bytes(), []byte("\n")); got != c.want {
			t.Errorf("%v: %d lines, want %d", c.level, got, c.want)
		}
	}
}

func TestLevelName(t *testing.T) {
	for _, c := range []struct {
		level slog.Level
		want  string
	}{
		{slog.LevelDebug - 4, "DEBUG"}, {slog.LevelDebug, "DEBUG"}, {slog.LevelInfo - 1, "DEBUG"},
		{slog.LevelInfo, "INFO"}, {slog.LevelInfo + 1, "INFO"}, {slog.LevelWarn, "WARNING"}, {slog.LevelWarn + 1, "WARNING"},
		{slog.LevelError, "ERROR"}, {slog.LevelError + 4, "ERROR"},
	} {
		if got := telemetry.LevelName(c.level); got != c.want {
			t.Errorf("%v: got %q, want %q", c.level, got, c.want)
		}
	}
}

func TestParseLevel(t *testing.T) {
	for name, want := range map[string]slog.Level{
		"DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARNING": slog.LevelWarn, "WARN": slog.LevelWarn, "ERROR": slog.LevelError,
	} {
		for _, s := range []string{name, strings.ToLower(name), name[:1] + strings.ToLower(name[1:]), strings.ToLower(name[:1]) + name[1:]} {
			if got, err := telemetry.ParseLevel(s); err != nil || got != want {
				t.Errorf("%s: got %v, %v; want %v", s, got, err, want)
			}
		}
		if got, err := telemetry.ParseLevel(telemetry.LevelName(want)); err != nil || got != want {
			t.Errorf("%v: its own name is parsed as %v, %v", want, got, err)
		}
	}
	for _, s := range []string{"", " ", "INF", "INFO ", " INFO", "INFOS", "WARNINGS", "TRACE", "CRITICAL", "FATAL", "NOTSET", "0", "20", "INFO+1", "INFO\n"} {
		if got, err := telemetry.ParseLevel(s); err == nil {
			t.Errorf("%q is taken for %v", s, got)
		} else if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "DEBUG, INFO, WARNING or ERROR") {
			t.Errorf("%q: error %q does not say in one line what would be right", s, err)
		}
	}
}

// sink is the writer behind a LineWriter. It may be made to wait or to fail.
type sink struct {
	gate    chan struct{} // if there is one, each Write takes one from it
	entered atomic.Int64  // calls of Write that began
	fail    atomic.Bool

	mu     sync.Mutex
	b      bytes.Buffer
	broken bool // some Write did not end with a line
}

var errDisk = errors.New("no space left on device")

func (s *sink) Write(p []byte) (int, error) {
	s.entered.Add(1)
	if s.gate != nil {
		<-s.gate
	}
	if s.fail.Load() {
		return 0, errDisk
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = s.broken || len(p) == 0 || p[len(p)-1] != '\n'
	return s.b.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func write(t *testing.T, l *telemetry.LineWriter, line string) {
	t.Helper()
	if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
		t.Errorf("write: %d of %d bytes, %v", n, len(line), err)
	}
}

func TestLineWriterConcurrent(t *testing.T) {
	const routines, lines = 8, 2000
	s := &sink{}
	l := telemetry.NewLineWriter(s)
	var wg sync.WaitGroup
	for r := range routines {
		wg.Go(func() {
			var b []byte
			for n := range lines {
				// The buffer is used again at once, as the server does it.
				b = fmt.Appendf(b[:0], "%d %d %s\n", r, n, strings.Repeat("x", n%100))
				if _, err := l.Write(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var next [routines]int
	for line := range strings.Lines(s.String()) {
		var r, n int
		var rest string
		if _, err := fmt.Sscanf(line, "%d %d %s", &r, &n, &rest); err != nil && n%100 != 0 {
			t.Fatalf("line %q: %v", line, err)
		}
		if n != next[r] || len(rest) != n%100 {
			t.Fatalf("line %q of %d, want number %d", line, r, next[r])
		}
		next[r]++
	}
	for r, n := range next {
		if n != lines {
			t.Errorf("%d lines of %d, want %d", n, r, lines)
		}
	}
	if s.broken {
		t.Error("a line was written in parts")
	}
	if l.Lost() != 0 {
		t.Errorf("%d lost", l.Lost())
	}
}

// Lines wait for a writer that is busy and go out in one piece.
func TestLineWriterGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		l := telemetry.NewLineWriter(s)
		write(t, l, "first\n")
		synctest.Wait() // the writer is busy with the first
		for n := range 100 {
			write(t, l, fmt.Sprintf("%d\n", n))
		}
		close(s.gate)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := s.entered.Load(); got != 2 {
			t.Errorf("%d writes, want 2", got)
		}
		var want strings.Builder
		want.WriteString("first\n")
		for n := range 100 {
			fmt.Fprintf(&want, "%d\n", n)
		}
		if diff := cmp.Diff(want.String(), s.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// A line is written without any other line to push it.
func TestLineWriterWritesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := telemetry.NewLineWriter(s)
		want := ""
		for n := range 10 {
			line := fmt.Sprintf("%d\n", n)
			want += line
			write(t, l, line)
			synctest.Wait()
			if got := s.String(); got != want {
				t.Errorf("after %d lines: %q, want %q", n+1, got, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A reader of the log that stands still does not keep the process from ending.
func TestLineWriterCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		l := telemetry.NewLineWriter(s)
		write(t, l, "first\n")
		synctest.Wait()
		begin := time.Now()
		if err := l.Close(); err == nil {
			t.Error("Close succeeded although nothing could be written")
		}
		if took := time.Since(begin); took < time.Second || took > 10*time.Second {
			t.Errorf("Close took %v", took)
		}
		close(s.gate)
	})
}

func TestLineWriterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		l := telemetry.NewLineWriter(s)
		write(t, l, "first\n")
		synctest.Wait()
		write(t, l, "second\n")
		var closed atomic.Bool
		go func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			closed.Store(true)
		}()
		synctest.Wait()
		if closed.Load() {
			t.Error("closed while lines wait")
		}
		// A line of the last moment comes behind those that wait.
		go write(t, l, "third\n")
		synctest.Wait()
		close(s.gate)
		synctest.Wait()
		if !closed.Load() {
			t.Error("not closed")
		}
		write(t, l, "fourth\n")
		if got, want := s.String(), "first\nsecond\nthird\nfourth\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestLineWriterCloseEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		if err := telemetry.NewLineWriter(s).Close(); err != nil {
			t.Fatal(err)
		}
		if s.entered.Load() != 0 {
			t.Error("nothing was written")
		}
	})
}

// After Close an error has nobody else to tell.
func TestLineWriterErrorAfterClose(t *testing.T) {
	s := &sink{}
	l := telemetry.NewLineWriter(s)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.fail.Store(true)
	if _, err := l.Write([]byte("x\n")); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}

// A reader of the log that does not read holds up those who write: memory
// stays bounded, and no line is dropped.
func TestLineWriterBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const routines, lines = 3, 100 // of 64 KiB: 18 MiB in all
		const most = 8 << 20           // bytes that may be taken while nothing can be written
		s := &sink{gate: make(chan struct{})}
		l := telemetry.NewLineWriter(s)
		var taken, done atomic.Int64
		for r := range routines {
			go func() {
				for n := range lines {
					line := fmt.Sprintf("%d %d %s\n", r, n, strings.Repeat("x", 64<<10))
					write(t, l, line)
					taken.Add(int64(len(line)))
				}
				done.Add(1)
			}()
		}
		synctest.Wait() // until nobody can go on
		if done.Load() != 0 || taken.Load() > most {
			t.Errorf("%d bytes were taken, %d goroutines are done", taken.Load(), done.Load())
		}
		if got := s.entered.Load(); got != 1 {
			t.Errorf("%d writes began, want 1", got)
		}

		before := taken.Load()
		s.gate <- struct{}{}
		synctest.Wait()
		if taken.Load() == before {
			t.Error("nobody went on after a write")
		}

		close(s.gate)
		synctest.Wait()
		if done.Load() != routines {
			t.Errorf("%d goroutines are done, want %d", done.Load(), routines)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var next [routines]int
		for line := range strings.Lines(s.String()) {
			var r, n int
			if _, err := fmt.Sscanf(line, "%d %d", &r, &n); err != nil || n != next[r] {
				t.Fatalf("line %.20q, want number %d of %d: %v", line, next[r], r, err)
			}
			next[r]++
		}
		if want := [routines]int{lines, lines, lines}; next != want {
			t.Errorf("%v lines, want %v", next, want)
		}
	})
}

// Close must not leave behind those who wait for room.
func TestLineWriterCloseUnderBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lines = 64 // of 64 KiB
		s := &sink{gate: make(chan struct{})}
		l := telemetry.NewLineWriter(s)
		var done atomic.Bool
		go func() {
			for n := range lines {
				write(t, l, fmt.Sprintf("%d %s\n", n, strings.Repeat("x", 64<<10)))
			}
			done.Store(true)
		}()
		synctest.Wait()
		if done.Load() {
			t.Fatal("nothing held the writing up")
		}
		go func() { _ = l.Close() }() // always nil
		synctest.Wait()
		close(s.gate)
		synctest.Wait()
		if !done.Load() {
			t.Error("the writing did not go on")
		}
		n := 0
		for line := range strings.Lines(s.String()) {
			if !strings.HasPrefix(line, fmt.Sprintf("%d ", n)) {
				t.Fatalf("line %.20q, want number %d", line, n)
			}
			n++
		}
		if n != lines {
			t.Errorf("%d lines, want %d", n, lines)
		}
	})
}

// A full disk under the log loses lines and nothing else.
func TestLineWriterFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := telemetry.NewLineWriter(s)
		write(t, l, "before\n")
		synctest.Wait()
		s.fail.Store(true)
		for n := range 3 {
			write(t, l, "lost\n")
			synctest.Wait()
			if got := l.Lost(); got != int64(n+1) {
				t.Errorf("%d lost, want %d", got, n+1)
			}
		}
		s.fail.Store(false)
		write(t, l, "after\n")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := s.String(), "before\nafter\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if l.Lost() != 3 {
			t.Errorf("%d lost, want 3", l.Lost())
		}
	})
}

func TestLimiter(t *testing.T) {
	const every = time.Minute
	start := lineTime
	l := telemetry.NewLimiter(every)
	for _, c := range []struct {
		name    string
		key     string
		after   time.Duration
		ok      bool
		skipped int
	}{
		{"first", "a", 0, true, 0},
		{"at once again", "a", 0, false, 0},
		{"other key", "b", 0, true, 0},
		{"empty key", "", 0, true, 0},
		{"soon", "a", time.Second, false, 0},
		{"just before", "a", every - 1, false, 0},
		{"on time", "a", every, true, 3},
		{"at once after that", "a", every + 1, false, 0},
		{"other key was not held back", "b", every, true, 0},
		{"just before the second time", "a", 2*every - 1, false, 0},
		{"second time", "a", 2 * every, true, 2},
		{"much later", "a", 100 * every, true, 0},
	} {
		if ok, skipped := l.Allow(c.key, start.Add(c.after)); ok != c.ok || skipped != c.skipped {
			t.Errorf("%s: got %v, %d; want %v, %d", c.name, ok, skipped, c.ok, c.skipped)
		}
	}
}

func TestLimiterConcurrent(t *testing.T) {
	const routines, rounds = 8, 500
	l := telemetry.NewLimiter(time.Minute)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range routines {
		wg.Go(func() {
			for range rounds {
				if ok, _ := l.Allow("a", lineTime); ok {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 1 {
		t.Errorf("%d were allowed, want 1", allowed.Load())
	}
	if ok, skipped := l.Allow("a", lineTime.Add(time.Minute)); !ok || skipped != routines*rounds-1 {
		t.Errorf("got %v, %d; want %d held back", ok, skipped, routines*rounds-1)
	}
}
