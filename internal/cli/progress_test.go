package cli

import (
	"bytes"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	for _, tt := range []struct {
		messages, done, all int64
		took                time.Duration
		want                string
	}{
		{0, 0, 0, 0, "0 messages"},
		{5, 50, 100, time.Millisecond, "5 messages"},
		{1000, 0, 0, 2 * time.Second, "1000 messages, 500/s"},
		{1000, 50, 200, 2 * time.Second, "1000 messages, 500/s, 25 %, 6s left"},
		{1000, 200, 200, 2 * time.Second, "1000 messages, 500/s, 100 %, 0s left"},
		{1000, 300, 200, 2 * time.Second, "1000 messages, 500/s"}, // it has grown
	} {
		if got := progressLine(tt.messages, tt.done, tt.all, tt.took); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

// TestProgressElsewhere: what is no terminal gets no line.
func TestProgressElsewhere(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	p.show(1, 1, 1)
	p.clear()
	if b.Len() > 0 {
		t.Errorf("it wrote %q", b.String())
	}
}

// TestProgressOnTerminal: at most so many lines a second, and it is gone before
// anything else is written.
func TestProgressOnTerminal(t *testing.T) {
	var b bytes.Buffer
	p := &progress{terminal: &b, begun: time.Now()}
	for range 1000 {
		p.show(1, 0, 0)
	}
	p.clear()
	p.clear()
	if got, want := b.String(), clearLine+"1 messages"+clearLine; got != want {
		t.Errorf("it wrote %q, want %q", got, want)
	}
}
