package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	statuses []message.Status
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

// Save takes a status for a duplicate if there is one of its message.
func (m *memory) Save(_ context.Context, messages []message.Message, statuses []message.Status) ([]message.Outcome, error) {
	if err := m.save(); err != nil {
		return nil, err
	}
	m.messages = append(m.messages, messages...)
	outcomes := make([]message.Outcome, len(messages), len(messages)+len(statuses))
	for _, s := range statuses {
		known := slices.ContainsFunc(m.statuses, func(o message.Status) bool { return o.ID == s.ID })
		if outcomes = append(outcomes, message.Outcome{Duplicate: known}); !known {
			m.statuses = append(m.statuses, s)
		}
	}
	return outcomes, nil
}

func (m *memory) Walk(_ context.Context, _ message.Filter, _ message.Order, yield func(message.Message) error) error {
	return each(m.messages, yield)
}

func (m *memory) WalkStatuses(_ context.Context, yield func(message.Status) error) error {
	return each(m.statuses, yield)
}

func each[T any](values []T, yield func(T) error) error {
	for _, v := range values {
		if err := yield(v); err != nil {
			return err
		}
	}
	return nil
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

// TestCopyWaitsForStatuses: statuses that are saved are a reason for patience, as
// messages are, but not those that were saved before.
func TestCopyWaitsForStatuses(t *testing.T) {
	const batch = 1000 // that are saved at one time
	statuses := make([]message.Status, 3*batch)
	for i := range statuses {
		statuses[i].ID = fmt.Sprint(i)
	}
	synctest.Test(t, func(t *testing.T) {
		j, _ := newCopyJob(t.Context(), t, nil)
		from, to := j.from.(*memory), j.to.(*memory)
		from.messages, from.statuses = nil, statuses
		begun, saved := time.Now(), 0
		to.save = func() error {
			if saved = len(to.statuses); saved == batch && time.Since(begun) < 40*time.Second || saved == 2*batch && time.Since(begun) < 80*time.Second {
				return away()
			}
			return nil
		}
		if err := j.copy(); err != nil {
			t.Fatal(err)
		}
		if len(to.statuses) != len(statuses) {
			t.Errorf("%d statuses, want %d", len(to.statuses), len(statuses))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		j, _ := newCopyJob(t.Context(), t, nil)
		from, to := j.from.(*memory), j.to.(*memory)
		from.messages, from.statuses = nil, statuses
		saves := 0
		to.save = func() error {
			if saves++; saves%2 == 0 {
				return away()
			}
			return nil
		}
		begun := time.Now()
		if err := j.copy(); err == nil || !strings.HasPrefix(err.Error(), "away for too long") || time.Since(begun) > patience {
			t.Errorf("got %v after %s", err, time.Since(begun))
		}
	})
}

// TestCopyStatuses: a line for the statuses, and a pair of lines for their sums,
// stand behind those of the messages if there are any; what differs is named and
// fails.
func TestCopyStatuses(t *testing.T) {
	status := func(id string) message.Status {
		at := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)
		return message.Status{Source: "whatsapp", ID: id, Status: "read", Recipient: "+100", At: at, ReceivedAt: at, Raw: []byte(`{"secret":1}`)}
	}
	const (
		sums      = "a: 0 messages, sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
		statusSum = "a: 2 statuses, sha256 cef2ca5ceaff1b89bdd96a7cc90bcb3af872f8dfd5183359a767af53b8fadd7d\n"
	)
	run := func(from, to []message.Status) (stdout, stderr string, err error) {
		j, errs := newCopyJob(t.Context(), t, func() error { return nil })
		var out bytes.Buffer
		j.stdout = &out
		j.from.(*memory).messages, j.from.(*memory).statuses, j.to.(*memory).statuses = nil, from, to
		j.state.From.Name, j.state.To.Name = "a", "a"
		err = j.run()
		return out.String(), errs.String(), err
	}
	stdout, stderr, err := run([]message.Status{status("1"), status("2")}, []message.Status{status("1")})
	_, line, _ := strings.Cut(stderr, "\n")
	if err != nil || line != "statuses: 1 created, 1 duplicates\n" {
		t.Errorf("got %v: %s", err, stderr)
	}
	if rest, ok := strings.CutPrefix(stdout, sums+sums); !ok || strings.Count(rest, statusSum) != 2 || strings.Count(rest, "\n") != 2 {
		t.Errorf("it prints %s", stdout)
	}
	if stdout, stderr, err := run(nil, nil); err != nil || stdout != sums+sums || strings.Contains(stderr, "statuses") {
		t.Errorf("without any: %v: %s%s", err, stdout, stderr)
	}
	if stdout, _, err := run(nil, []message.Status{status("1")}); err != nil || !strings.HasPrefix(stdout, sums+sums+"a: 0 statuses, ") ||
		!strings.HasSuffix(stdout, ", and 1 that are not in the source\n") {
		t.Errorf("where the source has none: %v: %s", err, stdout)
	}
	other := status("1")
	other.Raw, other.Recipient = nil, "+200"
	_, stderr, err = run([]message.Status{status("1"), status("2")}, []message.Status{other})
	const first = `status "read" of message_id "1" of source "whatsapp" differs in recipient, raw`
	if err == nil || err.Error() != "copy: the databases differ: 0 statuses are missing and 1 are different; the first: "+first || !strings.Contains(stderr, "\n"+first+"\n") {
		t.Errorf("got %v: %s", err, stderr)
	}
	if strings.Contains(stderr, "00") || strings.Contains(stderr, "secret") {
		t.Errorf("it tells %s", stderr)
	}
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
