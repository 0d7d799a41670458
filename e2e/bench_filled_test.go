package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// filledVariable names a database to be used for BenchmarkIngestFilled, to which
// it adds messages. Without it one of a million messages is made.
const filledVariable = "LYFTR_FILLED"

// BenchmarkIngestFilled compares taking messages into a database that holds
// millions with taking them into an empty one, and both with the bare server.
func BenchmarkIngestFilled(b *testing.B) {
	filled := os.Getenv(filledVariable)
	if filled == "" {
		filled = filepath.Join(b.TempDir(), "filled.db")
		fill := exec.Command(binary, "bench", "fill", "--count", "1000000", "--database-url", "sqlite:///"+filled)
		if out, err := fill.CombinedOutput(); err != nil {
			b.Fatalf("fill: %v: %s", err, out)
		}
	}
	const connections = 64
	send := func(s *subject) wrote {
		return ingest(b, []*subject{s}, connections, "--duration="+ingestTime.String())
	}
	bare := startSubject(b, "bare", nil, "bench", "bare")
	full := startForBench(b, "filled", filled)
	var bareRates, fullRates, rates, toBare, ratios []float64
	for b.Loop() {
		// Empty at the begin of each round.
		empty := startForBench(b, "empty", filepath.Join(b.TempDir(), fmt.Sprintf("empty%d.db", len(rates))))
		bareRates = append(bareRates, send(bare).Rate)
		fullRates = append(fullRates, send(full).Rate)
		rates = append(rates, send(empty).Rate)
		last := len(rates) - 1
		toBare = append(toBare, fullRates[last]/bareRates[last])
		ratios = append(ratios, fullRates[last]/rates[last])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(bareRates), "bare-msg/s")
	b.ReportMetric(median(rates), "empty-msg/s")
	b.ReportMetric(median(fullRates), "filled-msg/s")
	b.ReportMetric(median(toBare), "filled-to-bare")
	b.ReportMetric(slices.Min(toBare), "filled-to-bare-min")
	b.ReportMetric(slices.Max(toBare), "filled-to-bare-max")
	b.ReportMetric(median(ratios), "filled-to-empty")
	b.ReportMetric(slices.Min(ratios), "filled-to-empty-min")
	b.ReportMetric(slices.Max(ratios), "filled-to-empty-max")
}
