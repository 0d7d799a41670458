package cli

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestLoadCountsFromWhenAMessageWasDue stalls a server: the messages that could
// not be sent meanwhile have to be counted as late, not as fast.
func TestLoadCountsFromWhenAMessageWasDue(t *testing.T) {
	const (
		rate  = 1000
		stall = 300 * time.Millisecond
	)
	release := make(chan struct{})
	arrived := make(chan struct{}, 10*rate)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		w.WriteHeader(http.StatusOK)
	}))
	defer server.Close()

	load := newWebhookLoad(&benchReadCommand{URL: server.URL, Secret: "s", RateWebhooks: rate, Senders: 10})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup
	running.Go(func() { load.run(ctx) })
	for range loadConnections {
		<-arrived
	}
	<-time.After(stall)
	close(release)
	for range 2 * loadConnections { // those that were due in the stall come at once
		<-arrived
	}
	stop()
	running.Wait()

	m := load.result()
	late := 0
	for _, took := range m.took {
		if took > stall/3 {
			late++
		}
	}
	if m.errors != 0 || late <= loadConnections {
		t.Errorf("%d of %d messages were late, want more than the %d that waited for an answer; first error: %v", late, len(m.took), loadConnections, m.first)
	}
	if due, counted := int64(load.end.Sub(load.begin)/load.interval), int64(len(m.took))+m.unsent; counted < due-2 || counted > due+2 {
		t.Errorf("%d sent and %d unsent, but %d were due", len(m.took), m.unsent, due)
	}
}

// TestReportLine gives a line a hundred times from 1 to 100 ms, backwards.
func TestReportLine(t *testing.T) {
	m := measured{name: "n", rows: 7, matches: 250, errors: 2, first: errors.New("first")}
	for i := 100; i > 0; i-- {
		m.took = append(m.took, time.Duration(i)*time.Millisecond)
	}
	var out bytes.Buffer
	r := readReport{out: &out, json: true}
	if err := r.line(m); err != nil {
		t.Fatal(err)
	}
	const want = `{"name":"n","slow":false,"count":100,"p50_ms":50,"p90_ms":90,"p99_ms":99,"max_ms":100,"rows":7,"mean_matches":2,"unsent":0,"errors":2}` + "\n"
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
	if r.errors != 2 || r.first == nil {
		t.Errorf("it remembers %d errors, the first %v", r.errors, r.first)
	}
	out.Reset()
	if err := r.line(measured{name: "none"}); err != nil || out.Len() == 0 {
		t.Errorf("nothing measured: %v, %q", err, out.String())
	}
}
