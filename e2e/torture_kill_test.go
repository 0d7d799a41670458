package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"lyftr/internal/store/pgserver"
)

// TestTortureKill kills the server under load at random moments, starts it again
// on the same database each time, and checks the invariant after every round. On
// PostgreSQL the database's server falls over in every other round too.
func TestTortureKill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		database := filepath.Join(t.TempDir(), "data", "app.db")
		testKill(t, "lyftr, on SQLite", database, tortured(20, 200), func(_ *testing.T, _ int, _ *process, kill func()) {
			kill()
		})
	})
	t.Run("postgres", func(t *testing.T) {
		server := pgserver.Start(t, pgserver.Options{})
		const fault = "lyftr, on PostgreSQL; in half of the rounds PostgreSQL as well (SIGKILL, immediate shutdown)"
		testKill(t, fault, server.NewDatabase(t), tortured(12, 200), func(t *testing.T, round int, p *process, kill func()) {
			switch round % 4 {
			case 1: // all at once, as a machine that both run on
				server.Kill(t)
				kill()
				server.Restart(t)
			case 3: // lyftr lives through it and has taken up work again
				server.StopImmediate(t)
				server.Restart(t)
				waitFor(t, func() bool {
					status, _ := get(t, p.url("/health/ready"))
					return status == http.StatusOK
				})
				kill()
			default:
				kill()
			}
		})
	})
}

// testKill calls end at a random moment of the load of each round; its kill ends
// lyftr and the load.
func testKill(t *testing.T, fault, database string, rounds int, end func(t *testing.T, round int, p *process, kill func())) {
	l := &ledger{deliveries: map[string]*delivery{}}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range rounds {
		moment := time.Duration(random.IntN(400)) * time.Millisecond
		passed := t.Run(fmt.Sprint("round", round), func(t *testing.T) {
			p := start(t, database)
			client := newClient(t, 16)
			ctx, stop := context.WithCancel(t.Context())
			loaded := make(chan struct{})
			go func() {
				defer close(loaded)
				l.load(ctx, client, p.url("/webhook"), fmt.Sprintf("r%d", round), 16)
			}()
			<-time.After(moment) // also right at the start of the load
			end(t, round, p, func() {
				p.kill()
				stop()
			})
			<-loaded
			l.verify(t, database)
		})
		if !passed {
			t.FailNow()
		}
	}
	if n := len(l.acknowledged()); n < rounds {
		t.Fatalf("only %d messages were acknowledged in %d rounds: the load did not load", n, rounds)
	}

	// Sending everything again until 200 makes it all stored, once.
	p := start(t, database)
	l.settle(t, p)
	total := list(t, p, "?limit=1").Total
	if code, _ := p.terminate(t); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	stored := l.verify(t, database)
	if stored != total {
		t.Errorf("%d are stored, lyftr counted %d", stored, total)
	}
	found(t, "Killed", fault, fmt.Sprintf("%d kills, %d messages sent, %d acknowledged, %d stored, lost: 0",
		rounds, len(l.deliveries), len(l.acknowledged()), stored))
}
