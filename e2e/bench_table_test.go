package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// ingestReport is what BenchmarkIngest found.
type ingestReport struct {
	rounds  int
	seconds float64 // of each round
	rows    []*ingestRow
	halves  []*halfLoad
	costs   []ownCost
}

// ingestRow is one server at one number of connections, with a figure for each
// round.
type ingestRow struct {
	name                     string
	connections              int
	rates, ratios, p50s, p99 []float64
}

// halfLoad is half of what a server could take, in an open loop, with a figure
// for each time.
type halfLoad struct {
	subject           *subject
	connections, rate int
	p50s, p99s, most  []float64
}

func (h *halfLoad) add(w wrote) {
	h.p50s, h.p99s, h.most = append(h.p50s, w.P50), append(h.p99s, w.P99), append(h.most, w.Max)
}

// ownCost is what a server needs for itself.
type ownCost struct {
	name       string
	ready      time.Duration
	rest, peak int64         // bytes
	commit     time.Duration // all commits took less, or as long
}

// row returns the row of a server, a new one at the first time.
func (r *ingestReport) row(name string, connections int) *ingestRow {
	i := slices.IndexFunc(r.rows, func(row *ingestRow) bool { return row.name == name && row.connections == connections })
	if i < 0 {
		r.rows = append(r.rows, &ingestRow{name: name, connections: connections})
		i = len(r.rows) - 1
	}
	return r.rows[i]
}

func (r *ingestReport) add(name string, connections int, w wrote, ratio float64) {
	row := r.row(name, connections)
	row.rates = append(row.rates, w.Rate)
	row.ratios = append(row.ratios, ratio)
	row.p50s = append(row.p50s, w.P50)
	row.p99 = append(row.p99, w.P99)
}

// table returns the report as tables of Markdown.
func (r *ingestReport) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Medians of %d rounds of %g s each, %d processors, %s:\n\n", r.rounds, r.seconds, runtime.NumCPU(), runtime.Version())
	b.WriteString("| connections | | messages/s | ratio to bare: median | least | most | p50 | p99 |\n|---|---|---|---|---|---|---|---|\n")
	for _, row := range r.rows {
		ratio := "1 | |"
		if row.name != "bare" {
			ratio = fmt.Sprintf("**%.2f** | %.2f | %.2f", median(row.ratios), slices.Min(row.ratios), slices.Max(row.ratios))
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s |\n",
			row.connections, row.name, grouped(median(row.rates)), ratio, inMilliseconds(median(row.p50s)), inMilliseconds(median(row.p99)))
	}
	b.WriteString("\n| half of that, open loop | connections | messages/s due | p50 | p99: median | least | most | longest of all |\n|---|---|---|---|---|---|---|---|\n")
	for _, h := range r.halves {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s |\n", h.subject.name, h.connections, grouped(float64(h.rate)), inMilliseconds(median(h.p50s)),
			inMilliseconds(median(h.p99s)), inMilliseconds(slices.Min(h.p99s)), inMilliseconds(slices.Max(h.p99s)), inMilliseconds(slices.Max(h.most)))
	}
	b.WriteString("\n| | start to ready, empty database | memory at rest | at most under load | longest of all commits |\n|---|---|---|---|---|\n")
	for _, c := range r.costs {
		fmt.Fprintf(&b, "| %s | %s | %d MiB | %d MiB | up to %v |\n", c.name, inMilliseconds(c.ready.Seconds()*1000), c.rest>>20, c.peak>>20, c.commit)
	}
	return b.String()
}

// grouped writes a number with spaces between thousands if it has five digits.
func grouped(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	if len(s) < 5 {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// inMilliseconds writes a time as precisely as it is worth.
func inMilliseconds(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// The table stands between these lines.
const (
	tableBegin = "<!-- make bench: begin -->\n"
	tableEnd   = "<!-- make bench: end -->\n"
)

// replaceTable writes the table into a file, in the place of the one before.
func replaceTable(name, table string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %q and %q", name, tableBegin, tableEnd)
	}
	return os.WriteFile(name, []byte(before+tableBegin+"\n"+table+"\n"+tableEnd+after), 0o644)
}

// TestBenchTable writes a table into a document twice: nothing else of it changes.
func TestBenchTable(t *testing.T) {
	r := &ingestReport{rounds: 3, seconds: 2}
	for _, rate := range []float64{12_345, 9000, 30_000} {
		r.add("bare", 64, wrote{Rate: 2 * rate}, 1)
		r.add("lyftr", 64, wrote{Rate: rate, P50: 1.25, P99: 12.5}, rate/20_000)
	}
	half := &halfLoad{subject: &subject{name: "lyftr"}, connections: 64, rate: 6172}
	for _, p99 := range []float64{40, 2, 3} {
		half.add(wrote{P50: 1, P99: p99, Max: 1231 + p99})
	}
	r.halves = []*halfLoad{half}
	r.costs = []ownCost{{"lyftr", 40 * time.Millisecond, 30 << 20, 100 << 20, 25 * time.Millisecond}}
	name := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(name, []byte("before\n"+tableBegin+"old\n"+tableEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := replaceTable(name, r.table()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"before\n" + tableBegin + "\nMedians of 3 rounds of 2 s each, ",
		"\n| 64 | bare | 24 690 | 1 | | | 0.0 ms | 0.0 ms |\n| 64 | lyftr | 12 345 | **0.62** | 0.45 | 1.50 | 1.2 ms | 12 ms |\n",
		"\n| lyftr | 64 | 6172 | 1.0 ms | 3.0 ms | 2.0 ms | 40 ms | 1271 ms |\n",
		"\n| lyftr | 40 ms | 30 MiB | 100 MiB | up to 25ms |\n\n" + tableEnd + "after\n",
	} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%q is not there once in\n%s", want, text)
		}
	}
	if err := os.WriteFile(name, []byte(tableBegin), 0o644); err != nil || replaceTable(name, "x") == nil {
		t.Errorf("a document without an end is written to: %v", err)
	}
}
