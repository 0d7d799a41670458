package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"lyftr/internal/signature"
	"lyftr/internal/store/pgserver"
)

// bareServer is what lyftr is measured against: net/http that reads, verifies
// and parses each body and stores nothing, or, with the URL of a PostgreSQL
// database, stores each message in a transaction of its own. It prints its
// address and runs until it is killed.
func bareServer() {
	var rows *pgxpool.Pool
	if url := os.Getenv(bareVariable); strings.Contains(url, "://") {
		var err error
		if rows, err = pgxpool.New(context.Background(), url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /webhook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "body", http.StatusBadRequest)
			return
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		got, err := hex.DecodeString(r.Header.Get("X-Signature"))
		if err != nil || !hmac.Equal(mac.Sum(nil), got) {
			http.Error(w, "signature", http.StatusUnauthorized)
			return
		}
		var m struct {
			ID   string  `json:"message_id"`
			From string  `json:"from"`
			To   string  `json:"to"`
			TS   string  `json:"ts"`
			Text *string `json:"text"`
		}
		if err := json.Unmarshal(body, &m); err != nil || m.ID == "" {
			http.Error(w, "json", http.StatusUnprocessableEntity)
			return
		}
		if rows != nil {
			_, err := rows.Exec(r.Context(), `INSERT INTO one_by_one (message_id, from_msisdn, to_msisdn, ts, text)
				VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, m.ID, m.From, m.To, m.TS, m.Text)
			if err != nil {
				http.Error(w, "store", http.StatusServiceUnavailable)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	})
	_ = http.Serve(listener, mux)
}

// startBare runs this binary as the bare server, with a database or without, and
// returns its address.
func startBare(b *testing.B, database string) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), bareVariable+"="+cmp.Or(database, "1"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// words make texts of natural length.
var words = strings.Fields(`the order is on its way and should be with you before noon please call when
	you are at home thank you for asking we open at nine the parcel was left with a neighbour can you
	send the invoice again my number has changed see you on friday is it still available`)

// signedRequests makes n whole HTTP requests with messages of their own.
func signedRequests(n int, prefix string, random *rand.Rand) [][]byte {
	requests := make([][]byte, n)
	now := time.Now()
	for i := range requests {
		var text strings.Builder
		for range 6 + random.IntN(20) {
			text.WriteString(words[random.IntN(len(words))])
			text.WriteByte(' ')
		}
		t := strings.TrimSpace(text.String())
		b := body(fmt.Sprintf("wamid.%s%016x", prefix, random.Uint64()), fmt.Sprintf("+9198%08d", random.IntN(100_000)),
			now.Add(time.Duration(i)*time.Millisecond).UTC().Format("2006-01-02T15:04:05Z"), &t)
		var r bytes.Buffer
		fmt.Fprintf(&r, "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Signature: %s\r\nContent-Length: %d\r\n\r\n%s",
			signature.SignHex([]byte(secret), b), len(b), b)
		requests[i] = r.Bytes()
	}
	return requests
}

// round sends the requests over so many connections, each of which sends the
// next one when it has its answer, and returns how long that took and the time
// of each. The connections are shared out among the addresses.
func round(b *testing.B, addresses []string, connections int, requests [][]byte) (time.Duration, []time.Duration) {
	var next atomic.Int64
	var wg sync.WaitGroup
	latencies := make([]time.Duration, len(requests))
	conns := make([]net.Conn, connections)
	for i := range conns {
		c, err := net.Dial("tcp", addresses[i%len(addresses)])
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	begin := time.Now()
	for _, c := range conns {
		wg.Go(func() {
			reader := bufio.NewReaderSize(c, 4<<10)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(requests) {
					return
				}
				sent := time.Now()
				if _, err := c.Write(requests[i]); err != nil {
					b.Error(err)
					return
				}
				if err := readOK(reader); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(sent)
			}
		})
	}
	wg.Wait()
	return time.Since(begin), latencies
}

// readOK reads one answer, which must be a 200 with a Content-Length.
func readOK(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answer %q", line)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("no Content-Length")
	}
	_, err = r.Discard(length)
	return err
}

// messagesPerRound is how many messages a round of BenchmarkIngest sends.
const messagesPerRound = 20_000

// BenchmarkIngest compares lyftr with the bare server: in each iteration both
// take the same number of messages over the same number of connections, one
// after the other. It reports messages a second of both, the median over the
// iterations, and their ratio, the median of the pairs. Durability and all else
// are on as they ship. The load generator runs on the same cores.
func BenchmarkIngest(b *testing.B) {
	for _, connections := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			messages := messagesPerRound
			if connections == 1 {
				messages /= 10
			}
			bare := []string{startBare(b, "")}
			lyftr := []string{startForBench(b, filepath.Join(b.TempDir(), "app.db"))}
			random := rand.New(rand.NewPCG(uint64(connections), 1))
			var bareRates, rates, ratios, p99s []float64
			n := 0
			for b.Loop() {
				b.StopTimer()
				requests := signedRequests(messages, fmt.Sprintf("%d.", n), random)
				n++
				b.StartTimer()
				tookBare, _ := round(b, bare, connections, requests)
				took, latencies := round(b, lyftr, connections, requests)
				if b.Failed() {
					return
				}
				slices.Sort(latencies)
				bareRates = append(bareRates, float64(messages)/tookBare.Seconds())
				rates = append(rates, float64(messages)/took.Seconds())
				ratios = append(ratios, tookBare.Seconds()/took.Seconds())
				p99s = append(p99s, latencies[len(latencies)*99/100].Seconds()*1000)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(bareRates), "bare-msg/s")
			b.ReportMetric(median(rates), "lyftr-msg/s")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(slices.Min(ratios), "ratio-min")
			b.ReportMetric(slices.Max(ratios), "ratio-max")
			b.ReportMetric(median(p99s), "p99-ms")
		})
	}
}

// filledVariable names a database to be used for BenchmarkIngestFilled, to which
// it adds messages. Without it one of a million messages is made.
const filledVariable = "LYFTR_FILLED"

// BenchmarkIngestFilled compares taking messages into a database that holds
// millions with taking them into an empty one, as BenchmarkIngest compares with
// the bare server.
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
	full := []string{startForBench(b, filled)}
	random := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	var fullRates, rates, ratios []float64
	n := 0
	for b.Loop() {
		b.StopTimer()
		prefix := fmt.Sprintf("f%x.%d.", os.Getpid(), n)
		first, second := signedRequests(messagesPerRound, prefix+"a.", random), signedRequests(messagesPerRound, prefix+"b.", random)
		n++
		b.StartTimer()
		tookFull, _ := round(b, full, connections, first)
		// Empty at the begin of each round.
		b.StopTimer()
		empty := []string{startForBench(b, filepath.Join(b.TempDir(), fmt.Sprintf("empty%d.db", n)))}
		b.StartTimer()
		took, _ := round(b, empty, connections, second)
		if b.Failed() {
			return
		}
		fullRates = append(fullRates, messagesPerRound/tookFull.Seconds())
		rates = append(rates, messagesPerRound/took.Seconds())
		ratios = append(ratios, took.Seconds()/tookFull.Seconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rates), "empty-msg/s")
	b.ReportMetric(median(fullRates), "filled-msg/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(slices.Min(ratios), "ratio-min")
	b.ReportMetric(slices.Max(ratios), "ratio-max")
}

// BenchmarkReplicas compares, on one PostgreSQL server, one, two and three
// replicas of lyftr with the bare server and with one that stores each message in
// a transaction of its own, into a table with no index but its key. In each
// iteration all take the same number of messages, one after the other. The
// server, the replicas and the load generator share the cores.
func BenchmarkReplicas(b *testing.B) {
	for _, connections := range []int{64, 256} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			server := pgserver.Start(b, pgserver.Options{Durable: true, Settings: map[string]string{
				"shared_buffers": "256MB", "max_wal_size": "4GB",
			}})
			other := server.NewDatabase(b)
			server.Exec(b, other, `CREATE TABLE one_by_one (message_id text COLLATE "C" PRIMARY KEY,
				from_msisdn text NOT NULL, to_msisdn text NOT NULL, ts text NOT NULL, text text, created_at timestamptz NOT NULL DEFAULT now())`)
			database := server.NewDatabase(b)
			replicas := []string{startForBench(b, database), startForBench(b, database), startForBench(b, database)}
			subjects := []struct {
				name      string
				addresses []string
				rates     []float64
				ratios    []float64
				p99s      []float64
			}{
				{name: "bare", addresses: []string{startBare(b, "")}},
				{name: "one-by-one", addresses: []string{startBare(b, other+"&pool_max_conns=32")}},
				{name: "1-replica", addresses: replicas[:1]},
				{name: "2-replicas", addresses: replicas[:2]},
				{name: "3-replicas", addresses: replicas},
			}
			random := rand.New(rand.NewPCG(uint64(connections), 2))
			n := 0
			for b.Loop() {
				var bare time.Duration
				for i := range subjects {
					s := &subjects[i]
					b.StopTimer()
					requests := signedRequests(messagesPerRound, fmt.Sprintf("r%d.", n), random)
					n++
					b.StartTimer()
					took, latencies := round(b, s.addresses, connections, requests)
					if b.Failed() {
						return
					}
					if i == 0 {
						bare = took
					}
					slices.Sort(latencies)
					s.rates = append(s.rates, messagesPerRound/took.Seconds())
					s.ratios = append(s.ratios, bare.Seconds()/took.Seconds())
					s.p99s = append(s.p99s, latencies[len(latencies)*99/100].Seconds()*1000)
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, s := range subjects {
				b.ReportMetric(median(s.rates), s.name+"-msg/s")
				b.ReportMetric(median(s.ratios), s.name+"-ratio")
				b.ReportMetric(slices.Min(s.ratios), s.name+"-ratio-min")
				b.ReportMetric(slices.Max(s.ratios), s.name+"-ratio-max")
				b.ReportMetric(median(s.p99s), s.name+"-p99-ms")
			}
		})
	}
}

// startForBench runs lyftr on a database with its log going to a file, so that
// nobody has to read it, and returns its address.
func startForBench(b *testing.B, database string) string {
	if !isURL(database) {
		database = "sqlite:///" + database
	}
	dir := b.TempDir()
	name := filepath.Join(dir, "log")
	file, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(binary, "serve")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "DATABASE_URL="+database, "HOST=127.0.0.1", "PORT=0")
	cmd.Stdout, cmd.Stderr = file, os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for range 1000 {
		<-look.C
		log, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(log)) {
			if address, ok := listeningLine(line); ok {
				return address
			}
		}
	}
	b.Fatal("lyftr did not start")
	return ""
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}
