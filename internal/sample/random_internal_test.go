package sample

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestDice adds up the sides that show each number.
func TestDice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Float64Range(0.001, 1000), 1, 200).Draw(t, "weights")
		sum := 0.0
		for _, w := range weights {
			sum += w
		}
		d := newDice(weights)
		got := make([]float64, len(d))
		for i, s := range d {
			keep := float64(s.keep) / (1 << 32)
			got[i] += keep / float64(len(d))
			got[s.other] += (1 - keep) / float64(len(d))
		}
		for i, w := range weights {
			if math.Abs(got[i]-w/sum) > 1e-8 {
				t.Fatalf("side %d of %v shows with a chance of %v", i, weights, got[i])
			}
		}
		u := rapid.Uint64().Draw(t, "u")
		if side := d.throw(u); side < 0 || side >= len(d) {
			t.Fatalf("throw(%d) = %d", u, side)
		}
	})
}

// TestClock goes through a span of any length: time never goes back, and begins
// and ends with the span.
func TestClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(rapid.Int64Range(0, 2_000_000_000).Draw(t, "start"), 0).UTC()
		span := time.Duration(rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, "span"))
		c := newClock(start, span)
		last := c.at(0)
		if !last.Equal(start) {
			t.Fatalf("begins at %s, want %s", last, start)
		}
		for i := range 101 {
			now := c.at(float64(i) / 100)
			if now.Before(last) {
				t.Fatalf("%s comes after %s", now, last)
			}
			last = now
		}
		if d := start.Add(span).Sub(last); d < 0 || d > time.Second {
			t.Fatalf("ends at %s, want %s", last, start.Add(span))
		}
	})
}
