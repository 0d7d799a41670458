package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"lyftr/internal/signature"
	"lyftr/internal/store/pgserver"
)

// rowByRowVariable holds the URL of a database, and makes this test binary run as
// the server that stores each message in a transaction of its own.
const rowByRowVariable = "LYFTR_E2E_ROW_BY_ROW"

// rowByRow is what lyftr is measured against on PostgreSQL besides the bare
// server. It prints a line as lyftr does and runs until it is killed.
func rowByRow(database string) error {
	rows, err := pgxpool.New(context.Background(), database)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("{\"msg\":\"listening\",\"address\":%q}\n", listener.Addr())
	keys := signature.NewKeyring(signature.Key{ID: "only", Secret: []byte(secret)})
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if _, ok := keys.VerifyHex(body, r.Header.Get("X-Signature")); !ok {
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
		if err := json.Unmarshal(body, &m); err != nil {
			http.Error(w, "json", http.StatusUnprocessableEntity)
			return
		}
		if _, err := rows.Exec(r.Context(), `INSERT INTO one_by_one (message_id, from_msisdn, to_msisdn, ts, text)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, m.ID, m.From, m.To, m.TS, m.Text); err != nil {
			http.Error(w, "store", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	}))
}

// startRowByRow runs this binary as that server.
func startRowByRow(b *testing.B, database string) *subject {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), rowByRowVariable+"="+database)
	cmd.Stderr = os.Stderr
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
	address, _ := listeningLine(line)
	return &subject{name: "one-by-one", address: address, pid: cmd.Process.Pid}
}

// BenchmarkReplicas compares, on one PostgreSQL server, one, two and three
// replicas of lyftr with the bare server and with one that stores each message in
// a transaction of its own, into a table with no index but its key. In each
// iteration all take messages for the same time, one after the other. The
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
			replicas := make([]*subject, 3)
			for i := range replicas {
				replicas[i] = startForBench(b, "replica", database)
			}
			setups := []struct {
				name                string
				subjects            []*subject
				rates, ratios, p99s []float64
			}{
				{name: "bare", subjects: []*subject{startSubject(b, "bare", nil, "bench", "bare")}},
				{name: "one-by-one", subjects: []*subject{startRowByRow(b, other+"&pool_max_conns=32")}},
				{name: "1-replica", subjects: replicas[:1]},
				{name: "2-replicas", subjects: replicas[:2]},
				{name: "3-replicas", subjects: replicas},
			}
			for b.Loop() {
				bare := 0.0
				for i := range setups {
					s := &setups[i]
					w := ingest(b, s.subjects, connections, "--duration="+ingestTime.String())
					if i == 0 {
						bare = w.Rate
					}
					s.rates = append(s.rates, w.Rate)
					s.ratios = append(s.ratios, w.Rate/bare)
					s.p99s = append(s.p99s, w.P99)
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, s := range setups {
				b.ReportMetric(median(s.rates), s.name+"-msg/s")
				b.ReportMetric(median(s.ratios), s.name+"-ratio")
				b.ReportMetric(slices.Min(s.ratios), s.name+"-ratio-min")
				b.ReportMetric(slices.Max(s.ratios), s.name+"-ratio-max")
				b.ReportMetric(median(s.p99s), s.name+"-p99-ms")
			}
		})
	}
}
