package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
)

// longest is how long these tests wait for what has to happen.
const longest = 2 * time.Minute

// limits are lyftr's limits of time under attack.
type limits struct{ header, read, write, idle time.Duration }

func (l limits) env() []string {
	return []string{
		"READ_HEADER_TIMEOUT=" + l.header.String(), "READ_TIMEOUT=" + l.read.String(),
		"WRITE_TIMEOUT=" + l.write.String(), "IDLE_TIMEOUT=" + l.idle.String(),
	}
}

// attack is what bad clients do to lyftr. It says what came of it when lyftr has
// got rid of them.
type attack struct {
	name string
	run  func(f *front) (result string, err error)
}

var attacks = []attack{
	{"headers at a byte a second", (*front).slowHeaders},
	{"bodies at a byte a second", (*front).slowBodies},
	{"silent connections", (*front).silence},
	{"readers that do not read", (*front).slowReaders},
	{"bodies cut off by a reset", (*front).resets},
	{"many requests in one write", (*front).pipelines},
	{"headers that are too long", (*front).longHeaders},
	{"requests with two lengths or bad chunks", (*front).badFrames},
	{"idle connections", (*front).idle},
}

// TestTortureNetwork attacks lyftr, which has to serve others meanwhile, to be
// as it was before when it is over, and to store nothing that was not sent. The
// short form makes all attacks at once.
func TestTortureNetwork(t *testing.T) {
	besideOthers(t)
	waves := tortured([][]attack{attacks}, slices.Collect(slices.Chunk(attacks, 1)))
	for _, wave := range waves {
		name := wave[0].name
		if len(wave) > 1 {
			name = "everything at once"
		}
		t.Run(name, func(t *testing.T) { attackWith(t, wave) })
	}
}

// front is lyftr under attack and all that was sent to it.
type front struct {
	*process
	ledger
	limits limits
}

func attackWith(t *testing.T, wave []attack) {
	descriptors(t, 12_000)
	database := filepath.Join(t.TempDir(), "app.db")
	f := &front{
		ledger: ledger{deliveries: map[string]*delivery{}},
		limits: tortured(limits{3 * time.Second, 4 * time.Second, 4 * time.Second, 4 * time.Second},
			limits{5 * time.Second, 15 * time.Second, 30 * time.Second, 60 * time.Second}),
	}
	f.process = start(t, database, f.limits.env()...)
	f.fill(t)
	b := f.others()
	waitFor(t, func() bool { return b.count() > 20 })
	rest := f.vitals(t)

	type outcome struct {
		result string
		err    error
	}
	outcomes := make([]outcome, len(wave))
	var wg sync.WaitGroup
	for i, a := range wave {
		wg.Go(func() { outcomes[i].result, outcomes[i].err = a.run(f) })
	}
	wg.Wait()
	after := f.settle(t, rest)
	served := b.stop(t)
	if code, _ := f.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	f.verify(t, database)
	for i, a := range wave {
		if err := outcomes[i].err; err != nil {
			t.Errorf("%s: %v", a.name, err)
		}
	}
	state := fmt.Sprintf("memory %s before, %s at most, %s after; goroutines %d and %d, descriptors %d and %d",
		megabytes(rest.resident), megabytes(after.peak), megabytes(after.resident), rest.goroutines, after.goroutines, rest.descriptors, after.descriptors)
	for i, a := range wave {
		result := outcomes[i].result
		if i == len(wave)-1 {
			result += "; others meanwhile: " + served + "; " + state
		}
		found(t, "Network", a.name, result)
	}
}

// fill stores messages that make answers long.
func (f *front) fill(t *testing.T) {
	const rows, senders = 2000, 16
	text := strings.Repeat("long ", 800)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			c := f.connection()
			defer c.close()
			for i := next.Add(1); i <= rows; i = next.Add(1) {
				id := fmt.Sprintf("long-%d", i)
				b := body(id, "+919800000000", "2025-01-15T10:00:00Z", &text)
				a := c.exchange(signedPost(b))
				f.note(id, b, a.status)
				if a.status != http.StatusOK {
					t.Errorf("%s: %d", id, a.status)
				}
			}
		})
	}
	wg.Wait()
}

// connection is a connection to lyftr, dialled when it is needed.
func (f *front) connection() *stormConnection {
	return &stormConnection{storm: &storm{address: f.address}}
}

// settle waits until lyftr has no more goroutines and descriptors than it had,
// and in the full form no more memory, which Go gives back when it has collected,
// within some minutes.
func (f *front) settle(t *testing.T, rest vitals) (v vitals) {
	t.Helper()
	const margin = 16 // the others come and go, and so do connections to the database
	const spare = 64 << 20
	memory, longest := tortured[int64](512<<20, rest.resident+spare), tortured(longest, 10*time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(longest); ; <-tick.C {
		v = f.vitals(t)
		if v.goroutines <= rest.goroutines+margin && v.descriptors <= rest.descriptors+margin && v.resident <= memory {
			return v
		}
		if time.Now().After(limit) {
			t.Fatalf("after %v there are %+v, before there were %+v", longest, v, rest)
		}
	}
}

// bystanders send messages at a low rate, each over a connection that is used
// some times.
type bystanders struct {
	end   context.CancelFunc
	wg    sync.WaitGroup
	mu    sync.Mutex
	times []time.Duration
	bad   []int // statuses
}

func (b *bystanders) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.times)
}

// others has some well-behaved clients send until stop.
func (f *front) others() *bystanders {
	const senders, pause, uses = 4, 20 * time.Millisecond, 10
	ctx, cancel := context.WithCancel(context.Background())
	b := &bystanders{end: cancel}
	for s := range senders {
		b.wg.Go(func() {
			c := f.connection()
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("other-%d-%d", s, i)
				text := "from somebody else"
				message := body(id, "+919800000001", "2025-01-15T10:00:00Z", &text)
				begin := time.Now()
				a := c.exchange(signedPost(message)) // and the time to connect
				f.note(id, message, a.status)
				b.mu.Lock()
				b.times = append(b.times, time.Since(begin))
				if a.status != http.StatusOK {
					b.bad = append(b.bad, a.status)
				}
				b.mu.Unlock()
				if i%uses == 0 {
					c.close()
				}
				<-tick.C
			}
			c.close()
		})
	}
	return b
}

// stop ends them, and fails the test if one of them was not served.
func (b *bystanders) stop(t *testing.T) string {
	t.Helper()
	b.end()
	b.wg.Wait()
	if len(b.bad) > 0 {
		t.Errorf("%d of %d requests of others were not served: %v", len(b.bad), len(b.times), b.bad[:min(len(b.bad), 10)])
	}
	slices.Sort(b.times)
	return fmt.Sprintf("%d of %d served, p99 %s, worst %s", len(b.times)-len(b.bad), len(b.times), millis(share(b.times, 0.99)), millis(share(b.times, 1)))
}

// many does something from many clients at once, and returns how long it took
// until the last had done it.
func many(n int, do func(i int) error) (time.Duration, error) {
	begin := time.Now()
	var mu sync.Mutex
	var first error
	failed := 0
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := do(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if failed++; first == nil {
					first = err
				}
			}
		})
	}
	wg.Wait()
	if first != nil {
		first = fmt.Errorf("%d of %d failed, one of them: %w", failed, n, first)
	}
	return time.Since(begin), first
}

func (f *front) dial() (net.Conn, error) { return net.DialTimeout("tcp", f.address, longest) }

// drip sends a byte a second until lyftr closes the connection, and returns what
// it answered.
func drip(c net.Conn, bytes []byte) (answer []byte, err error) {
	const pace = time.Second
	buf := make([]byte, 4<<10)
	for limit := time.Now().Add(longest); time.Now().Before(limit); {
		if len(bytes) > 0 {
			if _, err := c.Write(bytes[:1]); err != nil {
				return answer, nil //nolint:nilerr // it was closed, which is what is waited for
			}
			bytes = bytes[1:]
		}
		_ = c.SetReadDeadline(time.Now().Add(pace))
		n, err := c.Read(buf)
		answer = append(answer, buf[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return answer, nil
		}
	}
	return answer, fmt.Errorf("still connected after %v", longest)
}

// attackMessage is a message that must not be stored.
func (f *front) attackMessage(kind string, i int) []byte {
	text := "never whole"
	id := fmt.Sprintf("%s-%d", kind, i)
	b := body(id, "+919800000002", "2025-01-15T10:00:00Z", &text)
	f.note(id, b, http.StatusBadRequest)
	return b
}

func (f *front) slowHeaders() (string, error) {
	n := tortured(200, 3000)
	took, err := many(n, func(i int) error {
		c, err := f.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = drip(c, signedPost(f.attackMessage("header", i)))
		return err
	})
	return fmt.Sprintf("%d connections, the last was closed after %.1f s", n, took.Seconds()), err
}

func (f *front) slowBodies() (string, error) {
	n := tortured(200, 3000)
	var answered atomic.Int64
	took, err := many(n, func(i int) error {
		c, err := f.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		message := f.attackMessage("body", i)
		request := signedPost(message)
		head := len(request) - len(message)
		if _, err := c.Write(request[:head]); err != nil {
			return err
		}
		answer, err := drip(c, message)
		if bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
			answered.Add(1)
		} else if len(answer) > 0 {
			return fmt.Errorf("answer %.60q", answer)
		}
		return err
	})
	return fmt.Sprintf("%d connections, %d of them told 400, the last was closed after %.1f s", n, answered.Load(), took.Seconds()), err
}

func (f *front) silence() (string, error) {
	n := tortured(200, 3000)
	took, err := many(n, func(int) error {
		c, err := f.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err := drip(c, nil)
		if len(answer) > 0 {
			return fmt.Errorf("answer %.60q to nothing", answer)
		}
		return err
	})
	return fmt.Sprintf("%d connections without a byte, the last was closed after %.1f s", n, took.Seconds()), err
}

// deaf dials with so little room for what arrives that an answer stays with the
// server.
func (f *front) deaf() (net.Conn, error) {
	d := net.Dialer{Timeout: longest, Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		})
		return errors.Join(err, failed)
	}}
	return d.Dial("tcp", f.address)
}

func (f *front) slowReaders() (string, error) {
	const exports, pages = 4, 40 // as many exports as run at one time, and requests on a connection
	lists := tortured(20, 500)
	var deaf []net.Conn
	defer func() {
		for _, c := range deaf {
			c.Close()
		}
	}()
	for i := range lists + exports {
		c, err := f.deaf()
		if err != nil {
			return "", err
		}
		deaf = append(deaf, c)
		request := "GET /export HTTP/1.1\r\nHost: lyftr\r\n\r\n"
		if i < lists {
			request = strings.Repeat("GET /messages?limit=100&total=none HTTP/1.1\r\nHost: lyftr\r\n\r\n", pages)
		}
		if _, err := io.WriteString(c, request); err != nil {
			return "", err
		}
	}
	begin := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f.ended(deaf) {
		if <-tick.C; time.Since(begin) > longest {
			return "", errors.New("an answer that nobody read is still being written")
		}
	}
	took := time.Since(begin)
	shown := 0
	for i, c := range deaf {
		_ = c.SetReadDeadline(time.Now().Add(longest))
		got, _ := io.ReadAll(c)  // what the system has taken, and no end
		const least = 100 * 4000 // bytes of a list
		if i < lists && len(got) >= pages*least || bytes.HasSuffix(got, []byte("\r\n0\r\n\r\n")) {
			return "", fmt.Errorf("%d bytes were kept for a reader who did not read: %.60q", len(got), got)
		}
		switch {
		case bytes.HasPrefix(got, []byte("HTTP/1.1 200 ")):
			shown++
		case bytes.HasPrefix(got, []byte("HTTP/1.1 503 ")) && i < lists: // the database has too much to do
		default:
			return "", fmt.Errorf("a reader was answered %.60q", got)
		}
	}
	if shown < exports+lists/10 {
		return "", fmt.Errorf("only %d of %d got anything that they could have read", shown, lists+exports)
	}
	client := &http.Client{Timeout: longest, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, f.url("/export?format=csv"), nil)
	if err != nil {
		return "", err
	}
	if status, answer := do(client, r); status != http.StatusOK {
		return "", fmt.Errorf("then an export is %d %.100s", status, answer)
	}
	return fmt.Sprintf("%d lists of %d answers of 400 KB each (%d began with a 503 of a database with too much to do) and %d exports were cut off within %.1f s, then others could be made",
		lists, pages, lists+exports-shown, exports, took.Seconds()), nil
}

// ended reports whether lyftr has closed its ends of all the connections, which
// need not show at the other end as long as something was not read there.
func (f *front) ended(conns []net.Conn) bool {
	table, err := os.ReadFile("/proc/net/tcp") // its format is in proc(5)
	if err != nil {
		return false
	}
	_, port, _ := net.SplitHostPort(f.address)
	number, _ := strconv.Atoi(port)
	server := fmt.Sprintf("0100007F:%04X", number)
	const established = "01"
	open := map[string]bool{} // other ends
	for line := range strings.Lines(string(table)) {
		if columns := strings.Fields(line); len(columns) > 3 && columns[1] == server && columns[3] == established {
			open[columns[2]] = true
		}
	}
	for _, c := range conns {
		if open[fmt.Sprintf("0100007F:%04X", c.LocalAddr().(*net.TCPAddr).Port)] {
			return false
		}
	}
	return true
}

func (f *front) resets() (string, error) {
	n, rounds := 100, tortured(2, 20)
	_, err := many(n, func(i int) error {
		for r := range rounds {
			c, err := f.dial()
			if err != nil {
				return err
			}
			message := f.attackMessage(fmt.Sprintf("reset-%d", r), i)
			request := signedPost(message)
			request = request[:len(request)-1-i%len(message)]
			_, err = c.Write(request)
			if err := errors.Join(err, c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil { // it is reset
				return err
			}
		}
		return nil
	})
	return fmt.Sprintf("%d requests", n*rounds), err
}

// pipelines sends all kinds of requests in one write each, and reads the answers
// in their order.
func (f *front) pipelines() (string, error) {
	n := tortured(10, 200)
	const rounds = 20
	_, err := many(n, func(i int) error {
		var all bytes.Buffer
		var want []string // what each answer holds
		ask := func(request []byte, answer string) {
			all.Write(request)
			want = append(want, answer)
		}
		for r := range rounds {
			id := fmt.Sprintf("pipeline-%d-%d", i, r)
			text := "one of many"
			b := body(id, "+919800000003", "2025-01-15T10:00:00Z", &text)
			f.note(id, b, 0)
			wrong := signedPost(f.attackMessage("wrong", i))
			at := bytes.Index(wrong, []byte("X-Signature: ")) + len("X-Signature: ")
			wrong[at] ^= 1 // another hex digit, or none
			ask(signedPost(b), `200 {"status":"ok"}`)
			ask([]byte("GET /messages/"+id+" HTTP/1.1\r\nHost: lyftr\r\n\r\n"), `200 {"message_id":"`+id+`"`)
			ask(wrong, `401 {"detail":"invalid signature"}`)
			ask(signedPost([]byte("no JSON")), `422 {"detail":`)
			ask(signedPost(b), `200 {"status":"ok"}`)
			ask([]byte("GET /nowhere HTTP/1.1\r\nHost: lyftr\r\n\r\n"), `404 {"detail":"Not Found"}`)
		}
		c, err := f.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(all.Bytes()); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(longest))
		answers := bufio.NewReader(c)
		for k, w := range want {
			r, err := http.ReadResponse(answers, nil)
			if err != nil {
				return fmt.Errorf("answer %d: %w", k, err)
			}
			got, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil {
				return err
			}
			if got := fmt.Sprintf("%d %s", r.StatusCode, got); !strings.HasPrefix(got, w) {
				return fmt.Errorf("answer %d is %.80s, want %s", k, got, w)
			}
		}
		for r := range rounds { // what it holds was acknowledged
			f.note(fmt.Sprintf("pipeline-%d-%d", i, r), nil, http.StatusOK)
		}
		return nil
	})
	return fmt.Sprintf("%d connections with %d requests in a write, each answered in its turn", n, 6*rounds), err
}

// last sends a request after which lyftr has to close the connection, and
// returns its answers.
func (f *front) last(request []byte, halfClose bool) (answers []byte, err error) {
	c, err := f.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_, _ = c.Write(request) // it may be refused before it is whole
	if halfClose {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	_ = c.SetReadDeadline(time.Now().Add(longest))
	answers, err = io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return answers, errors.New("the connection stayed open")
	}
	return answers, nil
}

func (f *front) longHeaders() (string, error) {
	n := tortured(50, 500)
	var told atomic.Int64
	_, err := many(n, func(i int) error {
		answer, err := f.last(signedPost(f.attackMessage("long-header", i), "X-Filler: "+strings.Repeat("x", 1<<20)), false)
		switch {
		case bytes.HasPrefix(answer, []byte("HTTP/1.1 431 ")):
			told.Add(1)
		case len(answer) > 0: // else the reset came before the answer was read
			return fmt.Errorf("answer %.60q", answer)
		}
		return err
	})
	if err == nil && told.Load() == 0 {
		err = errors.New("none of them was told 431")
	}
	return fmt.Sprintf("%d requests with a header of 1 MiB, %d of them told 431", n, told.Load()), err
}

// badFrames sends requests whose end is a matter of opinion.
func (f *front) badFrames() (string, error) {
	text := "in chunks"
	chunked := body("chunked", "+919800000004", "2025-01-15T10:00:00Z", &text)
	f.note("chunked", chunked, http.StatusOK)
	smuggled := signedPost(f.attackMessage("smuggled", 0))
	// frame makes a request of its own with these lines in place of its length.
	next := 0
	frame := func(lines, rest string) []byte {
		next++
		message := f.attackMessage("frame", next)
		request := string(signedPost(message))
		head, _, _ := strings.Cut(request, "Content-Length")
		return []byte(head + lines + "\r\n" + strings.ReplaceAll(rest, "BODY", string(message)))
	}
	length := len(f.attackMessage("frame", 1))
	whole := fmt.Sprintf("%x\r\nBODY\r\n0\r\n\r\n", length)
	for _, c := range []struct {
		name    string
		request []byte
		want    string // how the only answer begins
		cut     bool
	}{
		{"both lengths", slices.Concat([]byte(strings.Replace(string(signedPost(chunked, "Transfer-Encoding: chunked")), string(chunked),
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(chunked), chunked), 1)), smuggled), "200", false},
		{"two lengths", frame("Content-Length: 1\r\nContent-Length: 2\r\n", "BODY"), "400", false},
		{"a negative length", frame("Content-Length: -1\r\n", "BODY"), "400", false},
		{"a length in words", frame("Content-Length: ten\r\n", "BODY"), "400", false},
		{"a space before the colon", frame("Content-Length : 10\r\n", "BODY"), "400", false},
		{"an unknown coding", frame("Transfer-Encoding: xchunked\r\n", whole), "501", false},
		{"two codings", frame("Transfer-Encoding: chunked, chunked\r\n", whole), "501", false},
		{"the coding twice", frame("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", whole), "501", false},
		{"a chunk size that is none", frame("Transfer-Encoding: chunked\r\n", "zz\r\nBODY\r\n0\r\n\r\n"), "400", false},
		{"a chunk size beyond 64 bits", frame("Transfer-Encoding: chunked\r\n", "10000000000000001\r\nBODY\r\n0\r\n\r\n"), "400", false},
		{"a chunk longer than its size", frame("Transfer-Encoding: chunked\r\n", "5\r\nBODY\r\n0\r\n\r\n"), "400", false},
		{"chunks without an end", frame("Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\nBODY\r\n", length)), "400", true},
		{"a chunk cut off", frame("Transfer-Encoding: chunked\r\n", "fff\r\nBODY"), "400", true},
		{"a body cut off", frame("Content-Length: 5000\r\n", "BODY"), "400", true},
		{"an extension without an end", frame("Transfer-Encoding: chunked\r\n", "5;"+strings.Repeat("x", 1<<20)), "400", false},
	} {
		answers, err := f.last(c.request, c.cut)
		if err != nil {
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
		if !bytes.HasPrefix(answers, []byte("HTTP/1.1 "+c.want+" ")) {
			return "", fmt.Errorf("%s: answer %.60q, want %s", c.name, answers, c.want)
		}
		if n := bytes.Count(answers, []byte("HTTP/1.1 ")); n != 1 {
			return "", fmt.Errorf("%s: %d answers", c.name, n)
		}
	}
	return "15 kinds, each with one answer and the end of its connection; what was hidden behind the end of another request was not taken", nil
}

// idle opens connections, uses each once, and leaves them alone. All of them are
// open at one time, until lyftr closes them.
func (f *front) idle() (string, error) {
	n := tortured(1000, 10_000)
	const dialing = 64 // at one time: the system has a queue of them
	dial := make(chan struct{}, dialing)
	var open sync.WaitGroup
	open.Add(n)
	var most, failed atomic.Int64
	go func() {
		open.Wait()
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", f.cmd.Process.Pid))
		if err == nil {
			most.Store(int64(len(files)))
		}
	}()
	took, err := many(n, func(int) error {
		opened := sync.OnceFunc(open.Done)
		defer opened()
		dial <- struct{}{}
		c, err := f.dial()
		if err == nil {
			defer c.Close()
			_, err = io.WriteString(c, "GET /health/live HTTP/1.1\r\nHost: lyftr\r\n\r\n")
		}
		<-dial
		if err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(longest))
		reader := bufio.NewReaderSize(c, 1<<10)
		if a, err := readAnswer(reader); err != nil || a.status != http.StatusOK {
			failed.Add(1)
			return fmt.Errorf("%d, %w", a.status, err)
		}
		opened()
		if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
			return fmt.Errorf("an idle connection ended with %w", err)
		}
		return nil
	})
	if err == nil && most.Load() < int64(n) {
		err = fmt.Errorf("only %d descriptors were in use", most.Load())
	}
	return fmt.Sprintf("%d connections were open at one time, the last was closed after %.1f s", n, took.Seconds()), err
}
