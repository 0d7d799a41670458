package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lyftr/internal/store/pgserver"
)

// wrote is what bench write prints.
type wrote struct {
	Rate                           float64 `json:"messages_per_second"`
	Acknowledged, Created, Repeats int64
	Unavailable, Failed, Unsent    int64
	P50                            float64 `json:"p50_ms"`
	P99                            float64 `json:"p99_ms"`
	Max                            float64 `json:"max_ms"`
	NoAnswer                       int64   `json:"no_answer"`
	RSS                            int64   `json:"rss_bytes"`
	PeakRSS                        int64   `json:"peak_rss_bytes"`
}

// runWrite runs lyftr bench write against some addresses.
func runWrite(tb testing.TB, addresses []string, args ...string) (w wrote, stderr string, err error) {
	tb.Helper()
	args = append([]string{"bench", "write", "--json", "--url=http://" + strings.Join(addresses, ",http://")}, args...)
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Env = tb.TempDir(), []string{"WEBHOOK_SECRET=" + secret}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if broken := json.Unmarshal(out.Bytes(), &w); broken != nil {
		tb.Fatalf("%v: %s%s", broken, out.String(), errs.String())
	}
	return w, errs.String(), err
}

// subject is a server that is measured.
type subject struct {
	name    string
	address string
	pid     int
}

// startSubject runs lyftr with its log going to a file, so that nobody has to read
// it, until the benchmark ends.
func startSubject(b *testing.B, name string, env []string, args ...string) *subject {
	b.Helper()
	dir := b.TempDir()
	logName := filepath.Join(dir, "log")
	file, err := os.Create(logName)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"WEBHOOK_SECRET=" + secret}, env...)
	cmd.Stdout, cmd.Stderr = file, os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &subject{name: name, pid: cmd.Process.Pid}
	every(b, 10*time.Millisecond, name+" did not start", func() bool {
		log, err := os.ReadFile(logName)
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if address, ok := listeningLine(line); ok {
				s.address = address
			}
		}
		return s.address != ""
	})
	return s
}

// startForBench runs lyftr serve on a database, the path of a SQLite file or a URL.
func startForBench(b *testing.B, name, database string) *subject {
	b.Helper()
	return startSubject(b, name, serveSettings(database, "0"), "serve")
}

func serveSettings(database, port string) []string {
	if !isURL(database) {
		database = "sqlite:///" + database
	}
	return []string{"DATABASE_URL=" + database, "HOST=127.0.0.1", "PORT=" + port}
}

// every looks again and again until there is what was waited for.
func every(b *testing.B, interval time.Duration, otherwise string, done func() bool) {
	b.Helper()
	look := time.NewTicker(interval)
	defer look.Stop()
	patience := time.After(30 * time.Second)
	for !done() {
		select {
		case <-look.C:
		case <-patience:
			b.Fatal(otherwise)
		}
	}
}

// settle waits until the subject has nothing left to do, so that its work does not
// count as that of the one who comes next.
func (s *subject) settle(b *testing.B) {
	b.Helper()
	const quiet = 200 * time.Millisecond
	before := ""
	every(b, quiet, s.name+" does not come to rest", func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.pid), "stat"))
		if err != nil {
			b.Fatal(err)
		}
		// See proc_pid_stat(5): the twelfth and thirteenth field behind the name are the
		// time spent as user and in the system, in hundredths of a second.
		_, fields, _ := strings.Cut(string(stat), ") ")
		now := strings.Join(strings.Fields(fields)[11:13], " ")
		rests := now == before
		before = now
		return rests
	})
}

// ingest sends messages to one or more subjects for as long as args say. All have to
// be acknowledged.
func ingest(b *testing.B, subjects []*subject, connections int, args ...string) wrote {
	b.Helper()
	var addresses []string
	for _, s := range subjects {
		addresses = append(addresses, s.address)
	}
	args = append(args, fmt.Sprintf("--connections=%d", connections), fmt.Sprintf("--pid=%d", subjects[0].pid))
	w, stderr, err := runWrite(b, addresses, args...)
	if err != nil {
		b.Fatalf("%s: %v: %s", subjects[0].name, err, stderr)
	}
	for _, s := range subjects {
		s.settle(b)
	}
	return w
}

const (
	// ingestTime is how long each subject is sent messages in a round.
	ingestTime = 2 * time.Second
	// halfTime is how long it is sent half of what it can take, and halfRounds how
	// often: one pause of the machine decides the percentiles of one time.
	halfTime   = 5 * time.Second
	halfRounds = 5
	// starts is how often it is started on an empty database.
	starts = 5
)

// tableVariable names the file into which BenchmarkIngest writes its table.
const tableVariable = "LYFTR_BENCH_TABLE"

// BenchmarkIngest compares lyftr on SQLite and on PostgreSQL with lyftr bench bare:
// in each iteration all take messages of lyftr bench write for the same time, one
// after the other, and the ratio is that to the bare server in the same iteration.
// Then lyftr takes half of its most, in an open loop. Durability and all else are
// on as they ship; the generator of the load runs on the same processors.
func BenchmarkIngest(b *testing.B) {
	server := pgserver.Start(b, pgserver.Options{Durable: true})
	databases := []func() string{
		func() string { return filepath.Join(b.TempDir(), "app.db") },
		func() string { return server.NewDatabase(b) },
	}
	report := &ingestReport{seconds: ingestTime.Seconds()}
	var subjects []*subject
	subjects = append(subjects, startSubject(b, "bare", nil, "bench", "bare"))
	for i, name := range []string{"lyftr, SQLite", "lyftr, PostgreSQL"} {
		o := ownCost{name: name, ready: timeToReady(b, databases[i])}
		s := startForBench(b, name, databases[i]())
		s.settle(b)
		o.rest = residentMemory(b, s.pid)
		subjects = append(subjects, s)
		report.costs = append(report.costs, o)
	}
	fmt.Println()
	for b.Loop() {
		report.rounds++
		for _, connections := range []int{1, 64, 256} {
			bare := 0.0
			for i, s := range subjects {
				w := ingest(b, []*subject{s}, connections, "--duration="+ingestTime.String())
				if i == 0 {
					bare = w.Rate
				} else if c := &report.costs[i-1]; w.PeakRSS > c.peak {
					c.peak = w.PeakRSS
				}
				report.add(s.name, connections, w, w.Rate/bare)
				fmt.Printf("round %d, %3d connections, %-17s %6.0f messages/s, ratio %.2f, p50 %6.2f ms, p99 %6.2f ms\n",
					report.rounds, connections, s.name, w.Rate, w.Rate/bare, w.P50, w.P99)
			}
		}
	}
	for _, connections := range []int{64, 256} {
		for _, s := range subjects[1:] {
			half := int(median(report.row(s.name, connections).rates) / 2)
			report.halves = append(report.halves, &halfLoad{subject: s, connections: connections, rate: half})
		}
	}
	for range halfRounds {
		for _, h := range report.halves {
			h.add(ingest(b, []*subject{h.subject}, h.connections, "--duration="+halfTime.String(), fmt.Sprintf("--rate=%d", h.rate)))
		}
	}
	for i, s := range subjects[1:] {
		report.costs[i].commit = longestCommit(b, s)
	}
	for _, r := range report.rows {
		name := strings.ReplaceAll(strings.ReplaceAll(r.name, ",", ""), " ", "-") + "-" + strconv.Itoa(r.connections)
		b.ReportMetric(median(r.rates), name+"-msg/s")
		b.ReportMetric(median(r.ratios), name+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
	table := report.table()
	fmt.Print("\n", table, "\n")
	if name := os.Getenv(tableVariable); name != "" {
		if err := replaceTable(name, table); err != nil {
			b.Fatal(err)
		}
	}
}

// timeToReady starts lyftr on empty databases and returns the median of the times
// until it says that it is ready.
func timeToReady(b *testing.B, empty func() string) time.Duration {
	b.Helper()
	var times []float64
	for range starts {
		port, err := freePort()
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(binary, "serve")
		cmd.Dir = b.TempDir()
		cmd.Env = append(serveSettings(empty(), port), "WEBHOOK_SECRET="+secret)
		begin := time.Now()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		every(b, time.Millisecond, "lyftr does not become ready", func() bool {
			resp, err := http.Get("http://127.0.0.1:" + port + "/health/ready")
			if err != nil {
				return false
			}
			return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
		})
		times = append(times, time.Since(begin).Seconds())
		if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
			b.Fatal(err)
		}
	}
	return time.Duration(median(times) * float64(time.Second))
}

// residentMemory is what a process holds, in bytes.
func residentMemory(b *testing.B, pid int) int64 {
	b.Helper()
	statm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// longestCommit is a time that no commit of the server has taken more than, by the
// buckets of its metrics; those of a checkpoint between two commits are in it.
func longestCommit(b *testing.B, s *subject) time.Duration {
	b.Helper()
	resp, err := http.Get("http://" + s.address + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	longest, most := time.Duration(0), int64(-1)
	for _, bucket := range regexp.MustCompile(`lyftr_commit_duration_seconds_bucket\{le="([0-9.]+)"\} ([0-9]+)`).FindAllStringSubmatch(string(text), -1) {
		seconds, err := strconv.ParseFloat(bucket[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		n, err := strconv.ParseInt(bucket[2], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		if n > most {
			longest, most = time.Duration(seconds*float64(time.Second)), n
		}
	}
	return longest
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

// TestBenchWrite sends messages to lyftr, in both kinds of loop, and to the bare
// server. What lyftr acknowledged has to be stored, each message once.
func TestBenchWrite(t *testing.T) {
	p := start(t, filepath.Join(t.TempDir(), "app.db"))
	pid := fmt.Sprintf("--pid=%d", p.cmd.Process.Pid)
	closed, stderr, err := runWrite(t, []string{p.address, p.address}, "--count=1000", "--connections=8", "--repeat=20", pid)
	if err != nil || closed.Acknowledged != 1000 || closed.Created+closed.Repeats != 1000 || closed.Repeats < 100 || closed.PeakRSS < 1<<20 ||
		closed.Rate <= 0 || closed.P50 <= 0 || closed.P50 > closed.P99 || closed.P99 > closed.Max {
		t.Errorf("closed loop: %v: %s%+v", err, stderr, closed)
	}
	open, stderr, err := runWrite(t, []string{p.address}, "--duration=300ms", "--rate=500")
	if err != nil || open.Acknowledged+open.Unsent != 150 || open.Acknowledged == 0 {
		t.Errorf("open loop: %v: %s%+v", err, stderr, open)
	}
	if got, want := storedTotal(t, p), closed.Created+open.Created; got != want {
		t.Errorf("%d messages are stored, want %d", got, want)
	}
	if w, stderr, err := runWrite(t, []string{p.address}, "--count=10", "--secret=wrong"); err == nil || w.Failed != 10 || !strings.Contains(stderr, "answered 401") {
		t.Errorf("wrong secret: %v: %s%+v", err, stderr, w)
	}

	cmd := exec.Command(binary, "bench", "bare")
	cmd.Dir, cmd.Env = t.TempDir(), []string{"WEBHOOK_SECRET=" + secret}
	bare, err := startCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bare.kill)
	if w, stderr, err := runWrite(t, []string{bare.address}, "--count=100"); err != nil || w.Acknowledged != 100 {
		t.Errorf("bare: %v: %s%+v", err, stderr, w)
	}
	if w, _, err := runWrite(t, []string{bare.address}, "--count=1", "--secret=wrong"); err == nil || w.Failed != 1 {
		t.Errorf("bare, wrong secret: %+v", w)
	}
	if code, _ := bare.terminate(t); code != 0 {
		t.Errorf("bare ends with %d", code)
	}
}
