package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lyftr/internal/signature"
)

// besideOthers has a test that mostly waits run while others do, in the short
// size: what the full one measures is not to be disturbed.
func besideOthers(t *testing.T) {
	if tortured(true, false) {
		t.Parallel()
	}
}

// storm sends messages, each with an id of its own, over many connections. A
// request is one write and its answer is read by hand, so that the sender takes
// as little of the machine as can be.
type storm struct {
	address string
	prefix  string // of the ids
	most    int    // connections at one time

	next    atomic.Int64 // number of the next message
	mu      sync.Mutex
	answers []stormAnswer // by the number of the message
}

// unsent is the status of a message that was due when no connection was free.
const unsent = -1

// stormAnswer is what came of one message.
type stormAnswer struct {
	status int           // 0 if there was no answer, unsent if it was not sent
	retry  bool          // it said when to send again
	took   time.Duration // from the first byte that was sent
	done   time.Time
}

// message is the body of a message.
func (s *storm) message(i int) []byte {
	text := "message in a storm"
	return body(fmt.Sprintf("%s-%d", s.prefix, i), fmt.Sprintf("+9198%08d", i%1000), "2025-01-15T10:00:00Z", &text)
}

// signedPost is a whole request with a body.
func signedPost(body []byte, header ...string) []byte {
	var r bytes.Buffer
	r.WriteString("POST /webhook HTTP/1.1\r\nHost: lyftr\r\nContent-Type: application/json\r\n")
	for _, line := range header {
		r.WriteString(line + "\r\n")
	}
	fmt.Fprintf(&r, "X-Signature: %s\r\nContent-Length: %d\r\n\r\n%s", signature.SignHex([]byte(secret), body), len(body), body)
	return r.Bytes()
}

// note keeps what came of a message.
func (s *storm) note(i int, a stormAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.answers) <= i {
		s.answers = append(s.answers, stormAnswer{})
	}
	s.answers[i] = a
}

// stormTimeout is how long an answer is waited for.
const stormTimeout = 30 * time.Second

// stormConnection is one of the connections, dialled when it is needed.
type stormConnection struct {
	*storm
	conn   net.Conn
	reader *bufio.Reader
}

func (c *stormConnection) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// send sends message i.
func (c *stormConnection) send(i int) stormAnswer {
	a := c.exchange(signedPost(c.message(i)))
	c.note(i, a)
	return a
}

func (c *stormConnection) exchange(request []byte) (a stormAnswer) {
	begin := time.Now()
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.address, stormTimeout)
		if err != nil {
			return a
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 1<<10)
	}
	_ = c.conn.SetDeadline(begin.Add(stormTimeout))
	if _, err := c.conn.Write(request); err != nil {
		c.close()
		return a
	}
	a, err := readAnswer(c.reader)
	a.done = time.Now()
	a.took = a.done.Sub(begin)
	if err != nil {
		c.close()
	}
	return a
}

// readAnswer reads an answer with a Content-Length.
func readAnswer(r *bufio.Reader) (a stormAnswer, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return a, err
	}
	if len(line) < len("HTTP/1.1 200 ") {
		return a, fmt.Errorf("answer %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return a, err
	}
	length, last := 0, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return a, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		switch string(name) {
		case "":
			if _, err := r.Discard(length); err != nil {
				return a, err
			}
			if a.status = status; last {
				err = io.EOF // the connection is not used again
			}
			return a, err
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return a, err
			}
		case "Retry-After":
			a.retry = true
		case "Connection":
			last = string(value) == "close"
		}
	}
}

// closed has each of the connections send its next message when it has the
// answer to its last.
func (s *storm) closed(connections int, d time.Duration) {
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() {
			c := &stormConnection{storm: s}
			defer c.close()
			for time.Now().Before(end) {
				c.send(int(s.next.Add(1)) - 1)
			}
		})
	}
	wg.Wait()
}

// open sends so many a second, whatever comes of them: a message that is due
// takes a connection that is free, or a new one. It returns when the last was
// sent; wait waits for the answers.
func (s *storm) open(rate float64, d time.Duration) (wait func()) {
	work := make(chan int)
	var wg sync.WaitGroup
	connections := 0
	begin := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	sent := 0
	for now := begin; now.Sub(begin) < d; now = <-tick.C {
		for ; float64(sent) < rate*now.Sub(begin).Seconds(); sent++ {
			i := int(s.next.Add(1)) - 1
			select {
			case work <- i:
				continue
			default:
			}
			if connections == s.most {
				s.note(i, stormAnswer{status: unsent})
				continue
			}
			connections++
			wg.Go(func() {
				c := &stormConnection{storm: s}
				defer c.close()
				c.send(i)
				for i := range work {
					c.send(i)
				}
			})
		}
	}
	close(work)
	return wg.Wait
}

// rate is how many a second were acknowledged between two moments.
func (s *storm) rate(from, to time.Time) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.answers {
		if a.status == http.StatusOK && a.done.After(from) && a.done.Before(to) {
			n++
		}
	}
	return float64(n) / to.Sub(from).Seconds()
}

// stormTally is what came of many messages.
type stormTally struct {
	statuses          map[int]int
	accepted, refused []time.Duration // how long these answers took, sorted
	noRetry           int             // refusals that did not say when to send again
}

// tally counts the answers to the messages from one number on.
func (s *storm) tally(from int) (t stormTally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.statuses = map[int]int{}
	for _, a := range s.answers[min(from, len(s.answers)):] {
		t.statuses[a.status]++
		switch a.status {
		case http.StatusOK:
			t.accepted = append(t.accepted, a.took)
		case http.StatusServiceUnavailable:
			t.refused = append(t.refused, a.took)
			if !a.retry {
				t.noRetry++
			}
		}
	}
	slices.Sort(t.accepted)
	slices.Sort(t.refused)
	return t
}

// share returns what that share of the sorted times is not longer than.
func share(sorted []time.Duration, of float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(of*float64(len(sorted))))]
}

// millis writes a time.
func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
}

// verify holds the storm's part of a database, which no lyftr has open, to what
// was answered: what was acknowledged is there once, what was refused for good is
// not, and nothing else is.
func (s *storm) verify(t *testing.T, database string) (stored int) {
	t.Helper()
	db := open(t, database)
	defer db.Close()
	rows, err := db.Query("SELECT message_id FROM messages")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := make([]bool, len(s.answers))
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		number, ok := strings.CutPrefix(id, s.prefix+"-")
		if !ok {
			continue
		}
		i, err := strconv.Atoi(number)
		switch {
		case err != nil || i >= len(seen):
			t.Errorf("%s is stored and was never sent", id)
		case seen[i]:
			t.Errorf("%s is stored twice", id)
		case s.answers[i].status >= 400 && s.answers[i].status < 500:
			t.Errorf("%s is stored and was refused with %d", id, s.answers[i].status)
		default:
			seen[i] = true
			stored++
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for i, a := range s.answers {
		if a.status == http.StatusOK && !seen[i] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d messages were acknowledged and are lost", lost)
	}
	return stored
}

// descriptors makes sure that this process may have so many files open, and
// that a child of it may.
func descriptors(t *testing.T, need uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= need {
		return // Go has raised it as far as it may be
	}
	limit.Cur, limit.Max = max(limit.Cur, need), max(limit.Max, need)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatalf("this needs %d file descriptors in each of two processes: %v", need, err)
	}
}

// vitals is how a process fares.
type vitals struct {
	resident, peak int64 // bytes of memory
	descriptors    int
	goroutines     int
}

// vitals looks at the process from outside, and asks it for its goroutines.
func (p *process) vitals(t *testing.T) (v vitals) {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(status, '\n')))).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for name, to := range map[string]*int64{"Vmrss": &v.resident, "Vmhwm": &v.peak} {
		kilobytes, err := strconv.ParseInt(strings.TrimSuffix(header.Get(name), " kB"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		*to = kilobytes << 10
	}
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	v.descriptors = len(files)
	v.goroutines = int(p.metric(t, "go_goroutines"))
	return v
}

// metric returns the value of a metric that has no labels.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, answer := get(t, p.url("/metrics"))
	for line := range strings.Lines(string(answer)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// megabytes writes a number of bytes.
func megabytes(n int64) string { return strconv.FormatInt(n>>20, 10) + " MiB" }
