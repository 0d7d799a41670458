package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

// memory is a store whose position is a number of messages.
type memory struct {
	message.Store
	messages []message.Message
	failed   chan struct{}
	save     func() error // asked before each save
}

func (m *memory) Status() message.StoreStatus {
	return message.StoreStatus{Identity: "of memory", Messages: int64(len(m.messages))}
}

func (m *memory) Failed() <-chan struct{} { return m.failed }

func (m *memory) Feed(_ context.Context, after string, _ int) (message.FeedPage, error) {
	n := 0
	_, _ = fmt.Sscan(after, &n) // an empty one is 0
	return message.FeedPage{Messages: m.messages[n:], Next: fmt.Sprint(len(m.messages))}, nil
}

func (m *memory) Save(_ context.Context, messages []message.Message, _ []message.Status) ([]message.Outcome, error) {
	if err := m.save(); err != nil {
		return nil, err
	}
	m.messages = append(m.messages, messages...)
	return make([]message.Outcome, len(messages)), nil
}

// away is what a database that is away answers.
func away() error { return fmt.Errorf("%w: gone", message.ErrUnavailable) }

// newCopyJob returns a copy of two messages, whose saves ask save.
func newCopyJob(ctx context.Context, t *testing.T, save func() error) (*copyJob, *bytes.Buffer) {
	t.Helper()
	var errs bytes.Buffer
	j := &copyJob{
		environment: &environment{ctx: ctx, stderr: &errs},
		command:     &copyCommand{},
		progress:    newProgress(&errs),
		from:        &memory{messages: make([]message.Message, 2)},
		to:          &memory{save: save, failed: make(chan struct{})},
		file:        filepath.Join(t.TempDir(), "state"),
	}
	return j, &errs
}

// TestCopyWaits: a destination that is away is tried again after growing pauses,
// for a minute.
func TestCopyWaits(t *testing.T) {
	const pauses = "100ms 200ms 400ms 800ms 1.6s 3.2s 6.4s 10s 10s 10s 10s"
	waited := func(errs *bytes.Buffer) string {
		var found []string
		for line := range strings.Lines(errs.String()) {
			_, pause, ok := strings.Cut(strings.TrimSpace(line), "gone: trying again in ")
			if !ok {
				t.Errorf("it says %q", line)
			}
			found = append(found, pause)
		}
		return strings.Join(found, " ")
	}
	t.Run("for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			j, errs := newCopyJob(t.Context(), t, func() error {
				if time.Since(begun) < 50*time.Second {
					return away()
				}
				return nil
			})
			if err := j.copy(); err != nil {
				t.Fatal(err)
			}
			if got := waited(errs); got != pauses {
				t.Errorf("the pauses are %s, want %s", got, pauses)
			}
			if want := (transfer.CopyCounts{Created: 2}); j.state.Counts != want || j.state.Position != "2" {
				t.Errorf("the state is %+v", j.state)
			}
		})
	})
	t.Run("for too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			j, errs := newCopyJob(t.Context(), t, away)
			if err := j.copy(); !errors.Is(err, message.ErrUnavailable) || !strings.HasPrefix(err.Error(), "away for too long") {
				t.Errorf("got %v", err)
			}
			if got := waited(errs); got != pauses {
				t.Errorf("the pauses are %s, want %s", got, pauses)
			}
			if took := time.Since(begun); took != 52700*time.Millisecond {
				t.Errorf("it took %s", took)
			}
		})
	})
	t.Run("until it may not go on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			j, errs := newCopyJob(t.Context(), t, away)
			time.AfterFunc(5*time.Second, func() { close(j.to.(*memory).failed) })
			if err := j.copy(); !errors.Is(err, message.ErrUnavailable) || time.Since(begun) != 5*time.Second {
				t.Errorf("got %v after %s: %s", err, time.Since(begun), errs)
			}
		})
	})
	t.Run("until a signal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
			defer stop()
			j, errs := newCopyJob(ctx, t, away)
			if err := j.copy(); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 5*time.Second {
				t.Errorf("got %v after %s: %s", err, time.Since(begun), errs)
			}
		})
	})
	t.Run("not for what stays", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			broken := errors.New("broken")
			j, errs := newCopyJob(t.Context(), t, func() error { return broken })
			// The messages break no rule: the fault is the destination's.
			for i := range j.from.(*memory).messages {
				j.from.(*memory).messages[i] = message.Message{Source: "native", ID: fmt.Sprint(i), From: "+1", To: "+1", TS: "2025-01-15T10:00:00Z"}
			}
			if err := j.copy(); !errors.Is(err, broken) || errs.Len() > 0 {
				t.Errorf("got %v: %s", err, errs)
			}
		})
	})
}

// TestCopyStateNotKept: that the state cannot be written does not end a copy.
func TestCopyStateNotKept(t *testing.T) {
	j, errs := newCopyJob(t.Context(), t, func() error { return nil })
	j.file = filepath.Join(t.TempDir(), "nowhere", "state")
	if err := j.copy(); err != nil {
		t.Fatal(err)
	}
	j.keep()
	if got := strings.Count(errs.String(), "how far the copy has come cannot be kept: "); got != 1 || j.state.Counts.Created != 2 {
		t.Errorf("%+v: %s", j.state, errs)
	}
}

// TestCopyState: a state is read as it was written, and is of its two databases
// alone.
func TestCopyState(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	if s, err := readCopyState(file); s != nil || err != nil {
		t.Errorf("got %v, %v where there is none", s, err)
	}
	want := copyState{
		From: copySide{"1", "sqlite:///a.db"}, To: copySide{"2", "sqlite:///b.db"}, Stored: 3, Position: "p",
		Counts: transfer.CopyCounts{Created: 4, Duplicates: 5, Mismatches: 6, Refused: 7},
	}
	if err := want.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := readCopyState(file)
	if err != nil || *got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, tt := range []struct{ from, to, want string }{
		{"1", "2", ""},
		{"1", "3", "FILE is of a copy to another database, from sqlite:///a.db to sqlite:///b.db: finish that one first"},
		{"3", "2", "FILE is of a copy from another database, "},
		{"2", "1", "FILE is of a copy between other databases, "},
	} {
		err := got.foreign("FILE", &copyState{From: copySide{Identity: tt.from}, To: copySide{Identity: tt.to}})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("from %s to %s: got %v, want %q", tt.from, tt.to, err, tt.want)
		}
	}
	for _, content := range []string{"", "what", "{}", `{"from":{"identity":"1"}}`} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCopyState(file); err == nil || !strings.Contains(err.Error(), "is not what a copy has left") {
			t.Errorf("%q: got %v", content, err)
		}
	}
}
