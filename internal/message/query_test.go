package message_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/message"
)

func TestBucketFloor(t *testing.T) {
	for _, c := range []struct {
		name   string
		bucket message.Bucket
		unix   int64
		want   int64
	}{
		{"epoch", message.Minute, 0, 0},
		{"within", message.Minute, 59, 0},
		{"boundary", message.Minute, 60, 60},
		{"second before 1970", message.Minute, -1, -60},
		{"boundary before 1970", message.Minute, -60, -60},
		{"behind a boundary before 1970", message.Minute, -61, -120},
		{"hour", message.Hour, 3599, 0},
		{"hour before 1970", message.Hour, -1, -3600},
		{"day", message.Day, 86_400 + 5, 86_400},
		{"day before 1970", message.Day, -86_401, -2 * 86_400},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.bucket.Floor(c.unix); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// noon is on a boundary of minutes and hours.
var noon = utc(2025, 1, 15, 12, 0, 0, 0)

func TestFillBuckets(t *testing.T) {
	// line is a timeline by the minute of its counts.
	line := func(start time.Time, counts ...int64) []message.BucketCount {
		buckets := []message.BucketCount{}
		for i, n := range counts {
			buckets = append(buckets, message.BucketCount{Start: start.Add(time.Duration(i) * time.Minute), Count: n})
		}
		return buckets
	}
	minute := func(n int) int64 { return noon.Unix() + int64(n)*60 }
	for _, c := range []struct {
		name         string
		since, until time.Time
		counts       map[int64]int64
		want         []message.BucketCount
	}{
		{name: "nothing", want: line(noon)},
		{name: "nothing since", since: noon, want: line(noon)},
		{name: "nothing until", until: noon, want: line(noon)},
		{name: "nothing between", since: noon, until: noon.Add(3 * time.Minute), want: line(noon, 0, 0, 0)},
		{name: "one", counts: map[int64]int64{minute(0): 7}, want: line(noon, 7)},
		{name: "neighbours", counts: map[int64]int64{minute(0): 1, minute(1): 2}, want: line(noon, 1, 2)},
		{name: "gap", counts: map[int64]int64{minute(0): 1, minute(3): 2}, want: line(noon, 1, 0, 0, 2)},
		{name: "since before the first", since: noon.Add(-2 * time.Minute), counts: map[int64]int64{minute(0): 1}, want: line(noon.Add(-2*time.Minute), 0, 0, 1)},
		{name: "since within a bucket", since: noon.Add(30 * time.Second), counts: map[int64]int64{minute(1): 1}, want: line(noon, 0, 1)},
		{name: "until behind the last", until: noon.Add(3 * time.Minute), counts: map[int64]int64{minute(0): 1}, want: line(noon, 1, 0, 0)},
		{name: "until on a boundary", until: noon.Add(time.Minute), counts: map[int64]int64{minute(0): 1}, want: line(noon, 1)},
		{name: "until behind a boundary", until: noon.Add(time.Minute + 1), counts: map[int64]int64{minute(0): 1}, want: line(noon, 1, 0)},
		{name: "until within a bucket", until: noon.Add(90 * time.Second), counts: map[int64]int64{minute(0): 1}, want: line(noon, 1, 0)},
		{name: "since and until", since: noon.Add(-time.Minute), until: noon.Add(3 * time.Minute), counts: map[int64]int64{minute(1): 5}, want: line(noon.Add(-time.Minute), 0, 0, 5, 0)},
		{name: "since is until", since: noon, until: noon, want: line(noon)},
		{name: "since behind until", since: noon.Add(time.Hour), until: noon, want: line(noon)},
		{name: "before 1970", since: utc(1969, 12, 31, 23, 58, 30, 0), until: utc(1970, 1, 1, 0, 0, 0, 1), counts: map[int64]int64{-60: 3},
			want: line(utc(1969, 12, 31, 23, 58, 0, 0), 0, 3, 0)},
		{name: "until 1970", since: utc(1969, 12, 31, 23, 59, 0, 0), until: utc(1970, 1, 1, 0, 0, 0, 0), counts: map[int64]int64{-60: 3},
			want: line(utc(1969, 12, 31, 23, 59, 0, 0), 3)},
		{name: "counts across 1970", counts: map[int64]int64{-120: 1, 60: 2}, want: line(utc(1969, 12, 31, 23, 58, 0, 0), 1, 0, 0, 2)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := message.FillBuckets(message.Filter{Since: c.since, Until: c.until}, message.Minute, c.counts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			// An empty timeline is [] in the answer and not null.
			if b, err := json.Marshal(got); err != nil || string(b) == "null" {
				t.Errorf("as JSON %s, %v", b, err)
			}
		})
	}
}

func TestFillBucketsWidths(t *testing.T) {
	for _, c := range []struct {
		name   string
		bucket message.Bucket
		width  time.Duration
	}{
		{"minute", message.Minute, time.Minute},
		{"hour", message.Hour, time.Hour},
		{"day", message.Day, 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			midnight := utc(2025, 1, 15, 0, 0, 0, 0)
			f := message.Filter{Since: midnight.Add(c.width / 2), Until: midnight.Add(2*c.width + c.width/2)}
			got, err := message.FillBuckets(f, c.bucket, map[int64]int64{midnight.Add(c.width).Unix(): 4})
			if err != nil {
				t.Fatal(err)
			}
			want := []message.BucketCount{{Start: midnight}, {Start: midnight.Add(c.width), Count: 4}, {Start: midnight.Add(2 * c.width)}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFillBucketsLimit(t *testing.T) {
	const most = 10_000
	span := func(buckets int) time.Time { return noon.Add(time.Duration(buckets) * time.Minute) }
	at := func(bucket int) int64 { return span(bucket).Unix() }
	for _, c := range []struct {
		name   string
		f      message.Filter
		counts map[int64]int64
		ok     bool
	}{
		{"filter of 10000", message.Filter{Since: noon, Until: span(most)}, nil, true},
		{"filter of 10001", message.Filter{Since: noon, Until: span(most).Add(1)}, nil, false},
		{"filter of 10001 by its start", message.Filter{Since: noon.Add(-1), Until: span(most)}, nil, false},
		{"counts of 10000", message.Filter{}, map[int64]int64{at(0): 1, at(most - 1): 1}, true},
		{"counts of 10001", message.Filter{}, map[int64]int64{at(0): 1, at(most): 1}, false},
		{"since and a count of 10000", message.Filter{Since: noon}, map[int64]int64{at(most - 1): 1}, true},
		{"since and a count of 10001", message.Filter{Since: noon}, map[int64]int64{at(most): 1}, false},
		{"until and a count of 10000", message.Filter{Until: span(most)}, map[int64]int64{at(0): 1}, true},
		{"until and a count of 10001", message.Filter{Until: span(most + 1)}, map[int64]int64{at(0): 1}, false},
		{"all of history", message.Filter{Since: utc(1, 1, 1, 0, 0, 0, 1), Until: utc(9999, 12, 31, 23, 59, 59, 0)}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := message.FillBuckets(c.f, message.Minute, c.counts)
			if c.ok && (err != nil || len(got) != most) {
				t.Errorf("got %d buckets, %v", len(got), err)
			}
			if !c.ok && (!errors.Is(err, message.ErrTooManyBuckets) || got != nil) {
				t.Errorf("got %d buckets, %v; want ErrTooManyBuckets", len(got), err)
			}
		})
	}
}

// Whatever is counted, the timeline has no gap and loses nothing.
func TestFillBucketsKeepsCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SampledFrom([]message.Bucket{message.Minute, message.Hour, message.Day}).Draw(t, "bucket")
		base := rapid.Int64Range(-4e9, 4e9).Draw(t, "base")
		counts := map[int64]int64{}
		var sum int64
		for range rapid.IntRange(0, 20).Draw(t, "messages") {
			unix := base + rapid.Int64Range(0, 5000).Draw(t, "bucket of one")*b.Seconds()/3
			counts[b.Floor(unix)]++
			sum++
		}
		got, err := message.FillBuckets(message.Filter{}, b, counts)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range got {
			if c.Start.Location() != time.UTC || c.Start.Unix() != b.Floor(c.Start.Unix()) {
				t.Fatalf("bucket starts at %v", c.Start)
			}
			if i > 0 && c.Start.Unix()-got[i-1].Start.Unix() != b.Seconds() {
				t.Fatalf("gap before %v", c.Start)
			}
			if c.Count != counts[c.Start.Unix()] {
				t.Fatalf("%v counts %d, want %d", c.Start, c.Count, counts[c.Start.Unix()])
			}
			sum -= c.Count
		}
		if sum != 0 {
			t.Fatalf("%d messages are lost", sum)
		}
	})
}
