package sample

import (
	"math"
	"slices"
	"time"
)

// clock says when messages arrive: more by day than by night, more on weekdays.
type clock struct {
	start time.Time
	span  time.Duration
	until []float64 // what has arrived at the end of each hour, in some unit
}

func newClock(start time.Time, span time.Duration) *clock {
	byHour := [24]float64{
		0.30, 0.20, 0.15, 0.15, 0.20, 0.40, 0.70, 1.00, 1.30, 1.60, 1.70, 1.60,
		1.50, 1.40, 1.40, 1.40, 1.40, 1.50, 1.60, 1.70, 1.60, 1.20, 0.80, 0.50,
	}
	const weekend = 0.7
	c := &clock{start: start, span: span}
	sum := 0.0
	for from := time.Duration(0); from < span; from += time.Hour {
		at := start.Add(from)
		weight := byHour[at.Hour()] * min(1, (span-from).Hours())
		if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
			weight *= weekend
		}
		sum += weight
		c.until = append(c.until, sum)
	}
	return c
}

// at returns when a share of all messages, from 0 to 1, has arrived.
func (c *clock) at(share float64) time.Time {
	want := share * c.until[len(c.until)-1]
	hour, _ := slices.BinarySearch(c.until, want)
	if hour == len(c.until) {
		return c.start.Add(c.span)
	}
	from := time.Duration(hour) * time.Hour
	width := min(time.Hour, c.span-from)
	before := 0.0
	if hour > 0 {
		before = c.until[hour-1]
	}
	within := (want - before) / (c.until[hour] - before)
	return c.start.Add(from + time.Duration(within*float64(width)))
}

// delay is how long a message was under way: seconds as a rule, minutes for two
// in a hundred, hours for one, days for one in a thousand.
func delay(r *random) time.Duration {
	u := r.unit()
	switch n := r.below(1000); {
	case n < 1:
		return 24*time.Hour + time.Duration(u*float64(3*24*time.Hour))
	case n < 11:
		return time.Hour + time.Duration(u*float64(11*time.Hour))
	case n < 31:
		return time.Minute + time.Duration(u*float64(29*time.Minute))
	}
	return time.Duration(-math.Log(1-u) * 2 * float64(time.Second))
}
