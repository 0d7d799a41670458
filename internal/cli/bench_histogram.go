package cli

import (
	"sync/atomic"
	"time"
)

const (
	// histogramParts is into how many buckets the times from one power of two of
	// microseconds to the next are divided.
	histogramParts = 128
	// histogramBits is how long a time may be: more than an hour. Longer ones count
	// as such.
	histogramBits = 32
)

// histogram counts times in buckets, so that its size does not depend on how many
// they are. What it tells of them is never too short, and less than 1 % or a
// microsecond too long. Any number of goroutines may add to it at once.
type histogram struct {
	buckets [(histogramBits - 6) * histogramParts]atomic.Int64
	longest atomic.Int64
}

// bucket returns where a time of so many microseconds is counted.
func bucket(us int64) int {
	us = min(us, 1<<histogramBits-1)
	width := 0 // of the bucket, as a power of two
	for us>>width >= 2*histogramParts {
		width++
	}
	return width*histogramParts + int(us>>width)
}

// bucketEnd returns the longest time that is counted in a bucket, in microseconds.
func bucketEnd(i int) int64 {
	width := max(0, i/histogramParts-1)
	return int64(i-width*histogramParts+1)<<width - 1
}

// add counts a time.
func (h *histogram) add(d time.Duration) {
	d = max(0, d)
	h.buckets[bucket(int64((d+time.Microsecond-1)/time.Microsecond))].Add(1)
	for longest := h.longest.Load(); int64(d) > longest && !h.longest.CompareAndSwap(longest, int64(d)); {
		longest = h.longest.Load()
	}
}

// merge adds what another one counted.
func (h *histogram) merge(o *histogram) {
	for i := range o.buckets {
		h.buckets[i].Add(o.buckets[i].Load())
	}
	h.longest.Store(max(h.longest.Load(), o.longest.Load()))
}

// count returns how many times were added.
func (h *histogram) count() int64 {
	n := int64(0)
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

// within returns the time within which so many of a thousand are.
func (h *histogram) within(permille int64) time.Duration {
	left := (h.count()*permille + 999) / 1000
	for i := range h.buckets {
		n := h.buckets[i].Load()
		if left -= n; n > 0 && left <= 0 {
			return min(time.Duration(bucketEnd(i))*time.Microsecond, time.Duration(h.longest.Load()))
		}
	}
	return 0
}

// latencies are what is printed of a histogram, in milliseconds.
type latencies struct {
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

func (h *histogram) latencies() latencies {
	ms := func(permille int64) float64 {
		return float64(h.within(permille).Microseconds()) / 1000
	}
	return latencies{P50: ms(500), P90: ms(900), P99: ms(990), P999: ms(999), Max: ms(1000)}
}
