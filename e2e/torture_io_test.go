package e2e

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const ioSection = "I/O faults on SQLite"

// watch notes what the senders of a load are answered.
type watch struct {
	http.RoundTripper
	ready string // address of /health/ready

	mu      sync.Mutex
	answers map[int]int   // how many had that status, 0 if there was no answer
	bare    int           // 503 without Retry-After
	slowest time.Duration // of the answers 503
	unready int           // status of /health/ready right after the first 503, 0 if there was no answer
}

func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	begin := time.Now()
	resp, err := w.RoundTripper.RoundTrip(r)
	took := time.Since(begin)
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[status]++
	if status != http.StatusServiceUnavailable {
		return resp, err
	}
	w.slowest = max(w.slowest, took)
	if resp.Header.Get("Retry-After") == "" {
		w.bare++
	}
	if w.answers[status] == 1 {
		w.unready = statusOf(w.ready)
	}
	return resp, err
}

// count returns how many answers had that status.
func (w *watch) count(status int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answers[status]
}

// statusOf returns the status of an answer, 0 if there is none.
func statusOf(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// loading is a load that goes on until it is ended.
type loading struct {
	*watch
	stop   context.CancelFunc
	loaded chan struct{}
}

// begin loads the process from that many connections.
func (l *ledger) begin(t *testing.T, p *process, prefix string, senders int) *loading {
	t.Helper()
	client := newClient(t, senders)
	w := &watch{RoundTripper: client.Transport, ready: p.url("/health/ready"), answers: map[int]int{}}
	client.Transport = w
	ctx, stop := context.WithCancel(context.Background())
	run := &loading{watch: w, stop: stop, loaded: make(chan struct{})}
	go func() {
		defer close(run.loaded)
		l.load(ctx, client, p.url("/webhook"), prefix, senders)
		client.Transport = w.RoundTripper
		client.CloseIdleConnections()
	}()
	t.Cleanup(run.end)
	return run
}

// end returns when all senders have their last answer.
func (l *loading) end() {
	l.stop()
	<-l.loaded
}

// endedBy waits until lyftr has ended by itself, for a reason that it logged, and
// ends the run.
func (l *loading) endedBy(t *testing.T, p *process, reason string) {
	t.Helper()
	select {
	case <-p.drained:
	case <-time.After(20 * time.Second):
		t.Fatal("lyftr goes on with a database of which nobody knows what is on disk")
	}
	l.end()
	_ = p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	logged(t, p, reason)
}

// more waits for that many more acknowledgements.
func (l *loading) more(t *testing.T, n int) {
	t.Helper()
	before := l.count(http.StatusOK)
	waitFor(t, func() bool { return l.count(http.StatusOK) >= before+n })
}

// recovered ends a test of a fault whose cause has gone: what was not answered is
// sent again, and the invariant is checked.
func (l *ledger) recovered(t *testing.T, p *process, database string) (result string) {
	t.Helper()
	open := len(l.unanswered())
	l.settle(t, p)
	total := list(t, p, "?limit=1").Total
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if stored := l.verify(t, database); stored != total {
		t.Errorf("%d are stored, lyftr counted %d", stored, total)
	}
	return fmt.Sprintf("%d messages acknowledged, %d of them at a later try; false acknowledgements: 0", len(l.acknowledged()), open)
}

// ending is a fault after which nobody knows what is on disk. lyftr acknowledges
// nothing more and exits, and another one starts from what is there.
type ending struct {
	name string
	// make makes the fault under load, and returns what undoes it.
	make  func(t *testing.T, p *process, d *disk) (mend func())
	after int    // how many acknowledgements come before it; 0 stands for 300
	quiet bool   // it is met when the load has ended
	disk  bool   // on a file system that can be taken away
	said  string // by the log
	// refused is what a lyftr says that is started before the fault is undone; ""
	// if it is not tried.
	refused string
}

// endings are those faults; the last ones take a second each.
func endings() []ending {
	tampered := func(call, how string, further ...string) func(*testing.T, *process, *disk) func() {
		return func(t *testing.T, p *process, d *disk) func() {
			arguments := []string{}
			for _, f := range further {
				arguments = append(arguments, "-P", d.path(f))
			}
			return inject(t, p, ioSection, t.Name(), call, how, arguments...)
		}
	}
	list := []ending{
		{name: "fsync fails once (EIO)", make: tampered("fsync", "error=EIO:when=1"), said: "disk I/O error"},
		{name: "fsync fails for ever (EIO)", make: tampered("fsync", "error=EIO"), said: "disk I/O error"},
		{name: "writes to the log fail (EIO)", make: tampered("pwrite64", "error=EIO", "app.db-wal"), said: "disk I/O error"},
		{name: "`app.db-wal` becomes read-only (`chattr +i`)", disk: true, said: "disk I/O error", make: readOnly},
		{name: "`app.db` removed", make: takenAway("app.db", nil), said: "is gone", refused: "the file is missing, but its log"},
		{name: "`app.db-wal` removed", make: takenAway("app.db-wal", nil), said: "is gone"},
		{name: "`app.db` replaced by another file", make: takenAway("app.db", []byte("another")), said: "was replaced"},
	}
	return append(list, tortured(nil, []ending{
		{name: "writes to `app.db` fail when the log is copied (EIO)", quiet: true, said: "checkpoint",
			make: tampered("pwrite64", "error=EIO", "app.db")},
		{name: "fsync fails when the log is copied (EIO)", quiet: true, said: "checkpoint",
			make: tampered("fsync", "error=EIO", "app.db")},
		{name: "writing out what was copied of the log fails (EIO)", quiet: true, said: "sync the database", after: 5000,
			make: tampered("sync_file_range", "error=EIO", "app.db")},
	})...)
}

// readOnly makes the log a file that cannot be written, also by whoever has it open.
func readOnly(t *testing.T, _ *process, d *disk) (mend func()) {
	if err := asRoot("chattr", "+i", d.path("app.db-wal")); err != nil {
		notRun(t, ioSection, "`app.db-wal` becomes read-only", err.Error())
	}
	return func() {
		if err := asRoot("chattr", "-i", d.path("app.db-wal")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTortureDyingFileSystem has ext4 give up under load, as it does when its device
// fails. An orderly remount,ro is refused as long as a file is open for writing. In
// that moment an fsync may return without an error and without having synced:
// lyftr notices that nearly always, and what is lost is what the last commit held.
func TestTortureDyingFileSystem(t *testing.T) {
	const fault, senders = "file system gives up (ext4, `remount,abort`)", 16
	rounds := tortured(2, 40)
	acknowledged, losses, lost := 0, 0, 0
	for round := range rounds {
		d, err := newDisk(t)
		if err != nil {
			notRun(t, ioSection, fault, err.Error())
		}
		database := d.path("app.db")
		l := &ledger{deliveries: map[string]*delivery{}}
		p := start(t, database)
		run := l.begin(t, p, fmt.Sprint("x", round), senders)
		run.more(t, 300)
		if err := asRoot("mount", "-o", "remount,abort", d.dir); err != nil {
			notRun(t, ioSection, fault, err.Error())
		}
		run.endedBy(t, p, "disk I/O error|read-only file system")
		if _, err := startProcess(t.TempDir(), database); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("started on a file system that has given up: %v", err)
		}
		d.unmount(t)
		if err := d.mountImage(t); err != nil {
			t.Fatal(err)
		}
		p = start(t, database)
		if code, _ := p.terminate(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		_, missing := l.compare(t, database)
		if len(missing) > senders {
			t.Errorf("%d messages were acknowledged and are lost, more than one commit holds", len(missing))
		}
		if len(missing) > 0 {
			losses++
		}
		acknowledged, lost = acknowledged+len(l.acknowledged()), lost+len(missing)
		d.unmount(t)
	}
	if losses > max(1, rounds/10) {
		t.Errorf("in %d of %d rounds acknowledged messages were lost", losses, rounds)
	}
	found(t, ioSection, fault, fmt.Sprintf("%d times: exit code 1, started again; %d messages acknowledged; fsync said nothing and lyftr did not notice: %d times, %d messages",
		rounds, acknowledged, losses, lost))
}

// takenAway removes a file and perhaps puts another in its place.
func takenAway(name string, another []byte) func(*testing.T, *process, *disk) func() {
	return func(t *testing.T, _ *process, d *disk) func() {
		path, aside, other := d.path(name), d.path("aside"), d.path("other")
		err := os.Link(path, aside)
		if another == nil {
			err = errors.Join(err, os.Remove(path))
		} else {
			err = errors.Join(err, os.WriteFile(other, another, 0o600), os.Rename(other, path))
		}
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.Rename(aside, path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTortureEnding makes every fault of endings under load.
func TestTortureEnding(t *testing.T) {
	for _, e := range endings() {
		t.Run(e.name, func(t *testing.T) { testEnding(t, e) })
	}
}

func testEnding(t *testing.T, e ending) {
	d := &disk{dir: t.TempDir()}
	if e.disk {
		var err error
		if d, err = newDisk(t); err != nil {
			notRun(t, ioSection, e.name, err.Error())
		}
	}
	database := d.path("app.db")
	l := &ledger{deliveries: map[string]*delivery{}}
	p := start(t, database)
	run := l.begin(t, p, "x", 16)
	run.more(t, cmp.Or(e.after, 300))
	mend := e.make(t, p, d)
	if e.quiet {
		run.end()
	}
	run.endedBy(t, p, e.said)
	if run.bare > 0 {
		t.Errorf("%d answers 503 have no Retry-After", run.bare)
	}
	if run.unready == http.StatusOK {
		t.Error("ready after the first 503")
	}
	if e.refused != "" {
		if _, err := startProcess(t.TempDir(), database); err == nil || !strings.Contains(err.Error(), e.refused) {
			t.Errorf("started with the fault still there: %v", err)
		}
	}
	mend()
	p = start(t, database)
	found(t, ioSection, e.name, fmt.Sprintf("%d × 503, exit code 1, started again; %s",
		run.count(http.StatusServiceUnavailable), l.recovered(t, p, database)))
}

// logged makes sure that the log has the error "store failed" with a reason.
func logged(t *testing.T, p *process, reason string) {
	t.Helper()
	said := regexp.MustCompile(reason)
	for _, line := range p.log() {
		if strings.Contains(line, `"level":"ERROR","msg":"store failed"`) && said.MatchString(line) {
			return
		}
	}
	t.Errorf("the log has no error with the reason %q", reason)
}

// TestTortureFullDisk fills the disk that has the database and the log of the
// process. When there is space again the same process goes on.
func TestTortureFullDisk(t *testing.T) {
	const fault = "disk full, which has lyftr's own log too (ENOSPC)"
	d, err := newMemoryDisk(t, "3m")
	if err != nil {
		notRun(t, ioSection, fault, err.Error())
	}
	database := d.path("app.db")
	l := &ledger{deliveries: map[string]*delivery{}}
	p := startLogging(t, database, d.path("log"))
	run := l.begin(t, p, "x", 16)
	waitFor(t, func() bool { return run.count(http.StatusServiceUnavailable) > 200 })
	eventually(t, 10*time.Second, "it is not ready", func() bool { return statusOf(p.url("/health/ready")) == http.StatusServiceUnavailable })
	for _, path := range []string{"/health/live", "/messages", "/stats"} {
		if status := statusOf(p.url(path)); status != http.StatusOK {
			t.Errorf("%s on a full disk: %d", path, status)
		}
	}
	refused := run.count(http.StatusServiceUnavailable)
	if err := asRoot("mount", "-o", "remount,size=64m", d.dir); err != nil {
		t.Fatal(err)
	}
	run.more(t, 300)
	run.end()
	eventually(t, 10*time.Second, "it is ready", func() bool { return statusOf(p.url("/health/ready")) == http.StatusOK })
	if run.count(0) > 0 || run.bare > 0 {
		t.Errorf("%d senders had no answer, %d answers 503 have no Retry-After", run.count(0), run.bare)
	}
	log, err := os.ReadFile(d.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(log, []byte("store works again")) {
		t.Error("the log does not say that the store works again")
	}
	found(t, ioSection, fault, fmt.Sprintf("%d × 503, ready again by itself; %s", refused, l.recovered(t, p, database)))
}

// startLogging is start for a process whose standard output is a file.
func startLogging(t *testing.T, database, log string) *process {
	t.Helper()
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &process{cmd: exec.Command(binary, "serve"), drained: make(chan struct{})}
	setServe(p.cmd, t.TempDir(), database)
	p.cmd.Stdout, p.cmd.Stderr = file, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	close(p.drained)
	t.Cleanup(p.kill)
	waitFor(t, func() bool {
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if address, ok := listeningLine(line); ok {
				p.address = address
			}
		}
		return p.address != ""
	})
	return p
}

// TestTortureLockedFile holds a write lock on the file by another process, for
// longer than lyftr waits for it.
func TestTortureLockedFile(t *testing.T) {
	t.Parallel() // most of it is waiting
	database := filepath.Join(t.TempDir(), "app.db")
	l := &ledger{deliveries: map[string]*delivery{}}
	p := start(t, database, "SAVE_TIMEOUT=500ms")
	run := l.begin(t, p, "x", 4)
	run.more(t, 100)

	db, err := sql.Open("sqlite", "file:"+database+"?_pragma=busy_timeout(20000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return run.count(http.StatusServiceUnavailable) > 0 })
	eventually(t, 15*time.Second, "it is not ready", func() bool { return statusOf(p.url("/health/ready")) == http.StatusServiceUnavailable })
	if status := statusOf(p.url("/messages")); status != http.StatusOK {
		t.Errorf("/messages of a locked file: %d", status)
	}
	eventually(t, 15*time.Second, "the log says why", func() bool {
		return strings.Contains(strings.Join(p.log(), "\n"), "database is locked")
	})
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	run.more(t, 100)
	run.end()
	eventually(t, 10*time.Second, "it is ready", func() bool { return statusOf(p.url("/health/ready")) == http.StatusOK })
	logged(t, p, "database is locked")
	if run.count(0) > 0 || run.bare > 0 {
		t.Errorf("%d senders had no answer, %d answers 503 have no Retry-After", run.count(0), run.bare)
	}
	refused := run.count(http.StatusServiceUnavailable)
	found(t, ioSection, "locked by another process", fmt.Sprintf("%d × 503, ready again by itself; %s", refused, l.recovered(t, p, database)))
}

// TestTortureSlowDisk has every fsync take a tenth of a second. Commits hold more
// messages each, and what the queue does not hold is turned away at once.
func TestTortureSlowDisk(t *testing.T) {
	const fault = "slow disk (100 ms more an fsync)"
	const queue, senders, delay = 24, 64, 100 * time.Millisecond
	period := tortured(1500*time.Millisecond, 5*time.Second)
	database := filepath.Join(t.TempDir(), "app.db")
	l := &ledger{deliveries: map[string]*delivery{}}
	p := start(t, database, "QUEUE_SIZE="+strconv.Itoa(queue))
	run := l.begin(t, p, "x", senders)
	run.more(t, 100)
	detach := inject(t, p, ioSection, fault, "fsync", "delay_enter="+strconv.FormatInt(delay.Microseconds(), 10))
	before := run.count(http.StatusOK)
	<-time.After(period)
	acknowledged := run.count(http.StatusOK) - before
	memory := residentKiB(t, p)
	detach()
	run.more(t, 300)
	run.end()
	commits := int(period / delay)
	if acknowledged < 4*commits {
		t.Errorf("%d messages in %v, in which there is time for %d commits: they did not grow", acknowledged, period, commits)
	}
	refused := run.count(http.StatusServiceUnavailable)
	if refused == 0 || run.bare > 0 {
		t.Errorf("%d answers 503 of %d senders with a queue of %d; %d have no Retry-After", refused, senders, queue, run.bare)
	}
	if run.slowest > 2*time.Second {
		t.Errorf("a 503 of a full queue took %v", run.slowest)
	}
	const most = 150 << 10
	if memory > most {
		t.Errorf("%d KiB of memory", memory)
	}
	found(t, ioSection, fault, fmt.Sprintf("%.0f messages/s where there are at most %.0f commits/s, %d × 503 beyond a queue of %d, %d MiB of memory; %s",
		float64(acknowledged)/period.Seconds(), 1/delay.Seconds(), refused, queue, memory>>10, l.recovered(t, p, database)))
}

// residentKiB returns the memory of a process.
func residentKiB(t *testing.T, p *process) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatalf("the memory of the server: %v", err)
	}
	return kib
}

// TestTorturePause stops the process under load and lets it go on: nobody's
// request is lost.
func TestTorturePause(t *testing.T) {
	t.Parallel() // most of it is waiting
	pauses, pause := tortured(1, 10), 1500*time.Millisecond
	database := filepath.Join(t.TempDir(), "app.db")
	l := &ledger{deliveries: map[string]*delivery{}}
	p := start(t, database)
	run := l.begin(t, p, "x", 16)
	for range pauses {
		run.more(t, 200)
		p.pause(t)
		<-time.After(pause)
		p.resume(t)
	}
	run.more(t, 200)
	run.end()
	if n := run.count(0) + run.count(http.StatusServiceUnavailable); n > 0 {
		t.Errorf("%d messages were not taken", n)
	}
	found(t, ioSection, "paused (SIGSTOP, SIGCONT)", fmt.Sprintf("%d × %v, nobody turned away; %s", pauses, pause, l.recovered(t, p, database)))
}
