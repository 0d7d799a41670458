package cli

import (
	"strings"
	"testing"
	"time"
)

func TestShowBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 61_440: "61.4 kB", 1_500_000: "1.5 MB", 7_250_000_000: "7.2 GB", 3_000_000_000_000_000: "3000.0 TB",
	} {
		if got := showBytes(n); got != want {
			t.Errorf("showBytes(%d): got %s, want %s", n, got, want)
		}
	}
}

func TestMeter(t *testing.T) {
	if got, want := meterLine(500_000_000, 2_000_000_000, 5*time.Second), "500.0 MB of 2.0 GB, 100.0 MB/s, 15s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := meterLine(0, 2_000, time.Second), "0 B of 2.0 kB"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var b strings.Builder
	work := func(p *progress) {
		p.line(func(time.Duration) string { return meterLine(1, 2, 0) })
		p.line(func(time.Duration) string { return "too soon" })
		p.say("checking")
		p.clear()
	}
	work(newProgress(&b)) // no terminal
	if b.Len() != 0 {
		t.Errorf("without a terminal it shows %q", b.String())
	}
	p := newProgress(&b)
	p.terminal = &b
	work(p)
	if got, want := b.String(), "\r\x1b[K1 B of 2 B\r\x1b[Kchecking\r\x1b[K"; got != want {
		t.Errorf("on a terminal it shows %q, want %q", got, want)
	}
}
