package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// statsAnswer is the answer of GET /stats.
type statsAnswer struct {
	Total     int64 `json:"total_messages"`
	Senders   int64 `json:"senders_count"`
	PerSender []struct {
		From       string `json:"from"`
		FromMSISDN string `json:"from_msisdn"`
		Count      int64  `json:"count"`
	} `json:"messages_per_sender"`
	First *string `json:"first_message_ts"`
	Last  *string `json:"last_message_ts"`
}

const emptyStats = `{"total_messages":0,"senders_count":0,"messages_per_sender":[],"first_message_ts":null,"last_message_ts":null}`

func TestStats(t *testing.T) {
	t.Parallel()
	s := start(t)
	sameJSON(t, s.get("/stats").body, emptyStats)
	s.seed(hello)
	sameJSON(t, s.get("/stats").body, `{"total_messages":1,"senders_count":1,
		"messages_per_sender":[{"from":"+919876543210","from_msisdn":"+919876543210","count":1}],
		"first_message_ts":"2025-01-15T10:00:00Z","last_message_ts":"2025-01-15T10:00:00Z"}`)
}

func TestStatsTopTen(t *testing.T) {
	t.Parallel()
	s := start(t)
	// Twelve senders; those with equal counts stand in the order of their bytes.
	counts := map[string]int{
		"+9": 5, "+10": 3, "+2": 3, "+100": 3, "+55": 2, "+51": 2, "+5": 2, "+050": 2, "+52": 2, "+54": 2, "+53": 2, "+1": 1,
	}
	want := []string{"+9 5", "+10 3", "+100 3", "+2 3", "+050 2", "+5 2", "+51 2", "+52 2", "+53 2", "+54 2"}
	var bodies []string
	for from, n := range counts {
		for i := range n {
			bodies = append(bodies, msg(fmt.Sprintf("%s %d", from, i), "from", from))
		}
	}
	s.seed(bodies...)
	a := into[statsAnswer](t, s.get("/stats"))
	var got []string
	for _, p := range a.PerSender {
		if p.From != p.FromMSISDN {
			t.Errorf("from %q and from_msisdn %q differ", p.From, p.FromMSISDN)
		}
		got = append(got, fmt.Sprintf("%s %d", p.From, p.Count))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if a.Total != int64(len(bodies)) || a.Senders != int64(len(counts)) {
		t.Errorf("total %d and senders %d, want %d and %d", a.Total, a.Senders, len(bodies), len(counts))
	}
}

func TestStatsFilters(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(
		msg("a", "from", "+1", "to", "+10", "ts", "2025-01-15T10:00:00.5Z"), // as text before the next, as instant behind it
		msg("b", "from", "+1", "to", "+10", "ts", "2025-01-15T10:00:00Z"),
		msg("c", "from", "+2", "to", "+11", "ts", "2025-01-15T10:00:01Z"),
		msg("d", "from", "+919876543210", "to", "+11", "ts", "2025-01-16T00:00:00.000Z"),
	)
	for query, want := range map[string]struct {
		total, senders int64
		first, last    string
	}{
		"": {4, 3, "2025-01-15T10:00:00Z", "2025-01-16T00:00:00.000Z"},
		"from=&to=&since=&until=&unknown=1&unknown=2": {4, 3, "2025-01-15T10:00:00Z", "2025-01-16T00:00:00.000Z"},
		"from=+1":                     {2, 1, "2025-01-15T10:00:00Z", "2025-01-15T10:00:00.5Z"},
		"from_msisdn=%2B919876543210": {1, 1, "2025-01-16T00:00:00.000Z", "2025-01-16T00:00:00.000Z"},
		"to=+11":                      {2, 2, "2025-01-15T10:00:01Z", "2025-01-16T00:00:00.000Z"},
		"to_msisdn=+10":               {2, 1, "2025-01-15T10:00:00Z", "2025-01-15T10:00:00.5Z"},
		"since=2025-01-15T10:00:00.5Z&until=2025-01-16T00:00:00Z": {2, 2, "2025-01-15T10:00:00.5Z", "2025-01-15T10:00:01Z"},
		"since=2025-01-15T15:30:01+05:30":                         {2, 2, "2025-01-15T10:00:01Z", "2025-01-16T00:00:00.000Z"},
		"until=2025-01-15T10:00:00.5Z":                            {1, 1, "2025-01-15T10:00:00Z", "2025-01-15T10:00:00Z"},
		"from=+1&to=+10&since=2025-01-15T10:00:00.1Z":             {1, 1, "2025-01-15T10:00:00.5Z", "2025-01-15T10:00:00.5Z"},
	} {
		a := into[statsAnswer](t, s.get("/stats?"+query))
		var sum int64
		for _, p := range a.PerSender {
			sum += p.Count
		}
		if a.Total != want.total || sum != want.total || a.Senders != want.senders || int64(len(a.PerSender)) != want.senders ||
			a.First == nil || *a.First != want.first || a.Last == nil || *a.Last != want.last {
			t.Errorf("?%s: got %+v, want %+v", query, a, want)
		}
	}
	for _, query := range []string{"from=+3", "from=1", "to=+1", "since=2026-01-01T00:00:00Z", "until=2025-01-15T10:00:00Z", "from=+1&to=+11"} {
		sameJSON(t, s.get("/stats?"+query).body, emptyStats)
	}
	for _, target := range []string{"/stats", "/stats/timeline"} {
		for query, place := range map[string]string{
			"since=x": "since", "until=2025-01-15": "until", "since=2025-01-15T10:00:00Z&since=": "since", "from=+1&from=+1": "from",
			"to=+1&to=+1": "to", "from=%00": "from", "to=%ff": "to", "from=%zz": "from", "until=%": "until", "x=%zz": "x",
		} {
			s.get(target+"?"+query).isInvalid(t, "query."+place+":value_error")
		}
		a := s.get(target + "?since=x&until=x&from=%00")
		got := a.faults(t)
		slices.Sort(got)
		if !slices.Equal(got, []string{"query.from:value_error", "query.since:value_error", "query.until:value_error"}) {
			t.Errorf("%s: got faults %q", target, got)
		}
		if got := s.get(target + "?from=+1&from_msisdn=+1").faults(t); len(got) != 1 || !strings.HasPrefix(got[0], "query.from") {
			t.Errorf("%s: both names of the sender: got faults %q", target, got)
		}
	}
}

// timelineAnswer is the answer of GET /stats/timeline.
type timelineAnswer struct {
	Bucket string `json:"bucket"`
	Data   []struct {
		TS    string `json:"ts"`
		Count int64  `json:"count"`
	} `json:"data"`
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, bucket := range []string{"", "minute", "hour", "day"} {
		sameJSON(t, s.get("/stats/timeline?bucket="+bucket).body, fmt.Sprintf(`{"bucket":%q,"data":[]}`, max(bucket, "day")))
	}
	s.seed(
		msg("a", "from", "+1", "ts", "2024-12-31T23:59:59.999Z"),
		msg("b", "from", "+1", "ts", "2025-01-01T00:00:00Z"),
		msg("c", "from", "+2", "ts", "2025-01-01T00:00:59.9Z"),
		msg("d", "from", "+2", "to", "+3", "ts", "2025-01-01T00:02:00Z"),
	)
	const minutes = `{"bucket":"minute","data":[{"ts":"2024-12-31T23:59:00Z","count":1},{"ts":"2025-01-01T00:00:00Z","count":2},
		{"ts":"2025-01-01T00:01:00Z","count":0},{"ts":"2025-01-01T00:02:00Z","count":1}]}`
	const days = `{"bucket":"day","data":[{"ts":"2024-12-31T00:00:00Z","count":1},{"ts":"2025-01-01T00:00:00Z","count":3}]}`
	for query, want := range map[string]string{
		"bucket=minute":         minutes,
		"bucket=hour":           `{"bucket":"hour","data":[{"ts":"2024-12-31T23:00:00Z","count":1},{"ts":"2025-01-01T00:00:00Z","count":3}]}`,
		"bucket=day":            days,
		"":                      days,
		"bucket=":               days,
		"unknown=1":             days,
		"bucket=minute&from=+2": `{"bucket":"minute","data":[{"ts":"2025-01-01T00:00:00Z","count":1},{"ts":"2025-01-01T00:01:00Z","count":0},{"ts":"2025-01-01T00:02:00Z","count":1}]}`,
		"bucket=minute&from_msisdn=%2B1&until=2025-01-01T00:01:00Z": `{"bucket":"minute","data":[{"ts":"2024-12-31T23:59:00Z","count":1},{"ts":"2025-01-01T00:00:00Z","count":1}]}`,
		"bucket=minute&to=+3": `{"bucket":"minute","data":[{"ts":"2025-01-01T00:02:00Z","count":1}]}`,
		"bucket=hour&since=2025-01-01T00:00:30Z&until=2025-01-01T00:02:00Z": `{"bucket":"hour","data":[{"ts":"2025-01-01T00:00:00Z","count":1}]}`,
		"bucket=hour&since=2025-01-01T05:30:00+05:30":                       `{"bucket":"hour","data":[{"ts":"2025-01-01T00:00:00Z","count":3}]}`,
	} {
		sameJSON(t, s.get("/stats/timeline?"+query).body, want)
	}
	for _, value := range []string{"week", "second", "Hour", "1", "hour%20", "%00", "60"} {
		s.get("/stats/timeline?bucket="+value).isInvalid(t, "query.bucket:enum")
	}
	s.get("/stats/timeline?bucket=day&bucket=day").isInvalid(t, "query.bucket:value_error")
	s.get("/stats/timeline?bucket=%zz").isInvalid(t, "query.bucket:value_error")
}

func TestTimelineBuckets(t *testing.T) {
	t.Parallel()
	s := start(t)
	first := time.Date(1969, 12, 31, 23, 59, 30, 0, time.UTC) // before and after the Unix epoch
	at := func(minutes int) string { return first.Add(time.Duration(minutes) * time.Minute).Format(time.RFC3339) }
	s.seed(msg("first", "ts", at(0)), msg("last", "ts", at(9_999)))
	a := into[timelineAnswer](t, s.get("/stats/timeline?bucket=minute"))
	if len(a.Data) != 10_000 || a.Data[0].Count != 1 || a.Data[9_999].Count != 1 {
		t.Fatalf("got %d buckets", len(a.Data))
	}
	for i, b := range a.Data {
		if want := first.Add(-30 * time.Second).Add(time.Duration(i) * time.Minute).Format(time.RFC3339); b.TS != want {
			t.Fatalf("bucket %d is %s, want %s", i, b.TS, want)
		}
	}
	// One more is one too many, by what is stored and by what is asked.
	s.seed(msg("one more", "ts", at(10_000)))
	for _, query := range []string{
		"bucket=minute",
		"bucket=minute&since=" + at(0),
		"bucket=minute&since=1970-01-01T00:00:00Z&until=1971-01-01T00:00:00Z",
		"bucket=minute&since=0001-01-01T00:00:00Z",
		"bucket=day&since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z",
		"since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z",
	} {
		s.get("/stats/timeline?"+query).isInvalid(t, "query.bucket:value_error")
	}
	if a := into[timelineAnswer](t, s.get("/stats/timeline?bucket=hour")); len(a.Data) != 168 {
		t.Errorf("got %d hours, want 168", len(a.Data))
	}
	if a := into[timelineAnswer](t, s.get("/stats/timeline?bucket=minute&since="+at(1))); len(a.Data) != 10_000 {
		t.Errorf("got %d minutes, want 10000", len(a.Data))
	}
}
