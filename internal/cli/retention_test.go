package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/telemetry"
)

func TestParseRetention(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"":          0,
		"8d":        192 * time.Hour,
		"90d":       2160 * time.Hour,
		"2160h":     2160 * time.Hour,
		"192h0m0s":  192 * time.Hour,
		"8d12h":     204 * time.Hour,
		"008d":      192 * time.Hour,
		"106751d":   106751 * 24 * time.Hour,
		"7d24h":     192 * time.Hour,
		"11520m":    192 * time.Hour,
		"0d192.5h":  192*time.Hour + 30*time.Minute,
		"36500d":    36500 * 24 * time.Hour,
		"2562047h":  2562047 * time.Hour,
		"691200.5s": 192*time.Hour + 500*time.Millisecond,
	} {
		if got, err := parseRetention(s); got != want || err != nil {
			t.Errorf("%q: got %v, %v, want %v", s, got, err, want)
		}
	}
	for s, part := range map[string]string{
		"7d": "at least 8d", "191h59m59.999999999s": "at least 8d", "0": "at least 8d", "0d": "at least 8d", "7d23h": "at least 8d",
		"90": "not a time", "d": "not a time", "-90d": "not a time", "+90d": "not a time", "1.5d": "not a time", "90 d": "not a time", "90D": "not a time",
		"90d d": "not a time", "9d-1h": "not a time", "-200h": "not a time", "106752d": "not a time", "106751d2562047h": "not a time",
		"99999999999999999999d": "not a time", "for ever": "not a time", "3w": "not a time", "٩٠d": "not a time", " 90d": "not a time", "12h8d": "not a time",
	} {
		got, err := parseRetention(s)
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), part) || !strings.HasPrefix(err.Error(), "RETENTION: ") {
			t.Errorf("%q: got %v, %v, want a usage error with %q", s, got, err, part)
		}
	}
}

// fakeStore notes each call of Expire and answers with what is next.
type fakeStore struct {
	mu      sync.Mutex
	calls   []time.Time // what the calls asked for, as seen from when they came
	answers []func(context.Context) (int64, error)
}

func (f *fakeStore) Expire(ctx context.Context, before time.Time) (int64, error) {
	f.mu.Lock()
	f.calls = append(f.calls, before)
	answer := f.answers[0]
	f.answers = f.answers[1:]
	f.mu.Unlock()
	return answer(ctx)
}

func (f *fakeStore) asked() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		lines := telemetry.NewLineWriter(&out)
		metrics := telemetry.NewMetrics(telemetry.Options{
			Store: func() message.StoreStatus { return message.StoreStatus{} }, Lost: func() int64 { return 0 },
		})
		stopped := false
		store := &fakeStore{answers: []func(context.Context) (int64, error){
			func(context.Context) (int64, error) { return 7, nil },
			func(context.Context) (int64, error) { return 0, nil },
			func(context.Context) (int64, error) { return 2, errors.New("the disk is full") },
			// It takes longer than the time to the next one, and is broken off.
			func(ctx context.Context) (int64, error) {
				<-ctx.Done()
				stopped = true
				return 1, ctx.Err()
			},
		}}
		r := &retention{store: store, age: 90 * day, log: telemetry.NewLogger(lines, 0), metrics: metrics}
		began := time.Now()
		stop := r.start(t.Context())
		synctest.Wait()
		if n := len(store.asked()); n != 1 {
			t.Fatalf("%d calls at the start, want one", n)
		}
		<-time.After(3*expireEvery + time.Second)
		synctest.Wait()
		stop()
		if !stopped {
			t.Error("stop did not wait for what was going on")
		}
		<-time.After(3 * expireEvery)
		synctest.Wait()
		var want []time.Time
		for i := range 4 {
			want = append(want, began.Add(time.Duration(i)*expireEvery-90*day))
		}
		if diff := cmp.Diff(want, store.asked()); diff != "" {
			t.Errorf("what was asked of the store (-want +got):\n%s", diff)
		}

		if err := lines.Close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			var l struct {
				Level, Msg, Error string
				Messages          int
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			got = append(got, strings.TrimSpace(strings.Join([]string{l.Level, l.Msg, string(rune('0' + l.Messages)), l.Error}, " ")))
		}
		if diff := cmp.Diff([]string{
			"INFO removed expired messages 7",
			"INFO removed expired messages 2",
			"ERROR expired messages could not be removed 0 the disk is full",
			"INFO removed expired messages 1",
		}, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
		w := httptest.NewRecorder()
		metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if !strings.Contains(w.Body.String(), `lyftr_removed_messages_total{reason="expired"} 10`) {
			t.Error("the metric does not count 10 expired messages")
		}
	})
}
