package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// commits writes numbers into a table of its own, one commit each, over a new
// connection each time, and remembers those that were acknowledged.
type commits struct {
	url          string
	next         int
	acknowledged []int
}

// one tries to commit the next number within the limit.
func (w *commits) one(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	w.next++
	if _, err := conn.Exec(ctx, "INSERT INTO numbers VALUES ($1)", w.next); err != nil {
		return err
	}
	w.acknowledged = append(w.acknowledged, w.next)
	return nil
}

// some commits until ten more were acknowledged.
func (w *commits) some(t *testing.T) {
	t.Helper()
	for enough := len(w.acknowledged) + 10; len(w.acknowledged) < enough; {
		eventually(t, clusterRepair, "a commit is acknowledged", func() bool { return w.one(2*time.Second) == nil })
	}
}

// check compares what is stored with what was acknowledged. What was not may be
// stored.
func (w *commits) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, "SELECT n FROM numbers ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	missing := map[int]bool{}
	for _, n := range w.acknowledged {
		if _, found := slices.BinarySearch(stored, n); !found {
			missing[n] = true
		}
	}
	if len(missing) > 0 {
		t.Errorf("acknowledged and lost: %v", slices.Sorted(maps.Keys(missing)))
	}
}

// setting asks a node's PostgreSQL for a setting.
func (c *cluster) setting(t *testing.T, n *node, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.adminURL(n))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var value string
	if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// TestCluster tries the files of deploy/patroni without lyftr: their settings
// are in force, the cluster repairs itself after each fault, what was
// acknowledged stays, and nothing is acknowledged that only one machine has.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	w := &commits{url: c.throughHAProxy()}
	begin := time.Now()
	step := func(format string, args ...any) {
		t.Logf("%5.1f s: %s, %d acknowledged of %d", time.Since(begin).Seconds(), fmt.Sprintf(format, args...), len(w.acknowledged), w.next)
	}
	func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, c.severalHosts())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(ctx) }()
		if _, err := conn.Exec(ctx, "CREATE TABLE numbers (n bigint PRIMARY KEY)"); err != nil {
			t.Fatal(err)
		}
	}()

	first := c.waitUsable(t, clusterRepair)
	for name, want := range map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
		"server_encoding": "UTF8", "lc_collate": "C.UTF-8", "password_encryption": "scram-sha-256",
		"tcp_user_timeout": "15000", "wal_sender_timeout": "10s", "max_slot_wal_keep_size": "10GB",
	} {
		if got := c.setting(t, first, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if names := c.setting(t, first, "synchronous_standby_names"); !strings.Contains(names, "node") {
		t.Errorf("synchronous_standby_names is %q, want the name of a node", names)
	}
	w.some(t)
	step("%s is the primary", first.name)

	if done, answer := c.switchover(); !done {
		t.Fatalf("switchover: %s", answer)
	}
	w.some(t)
	second := c.waitUsable(t, clusterRepair)
	if second == first {
		t.Errorf("%s is the primary after a switchover away from it", first.name)
	}
	w.check(t)
	step("%s after a switchover", second.name)

	if !c.killPostgres(second) {
		t.Fatalf("%s has no PostgreSQL to kill", second.name)
	}
	w.some(t)
	c.waitWhole(t, clusterRepair)
	third := c.waitUsable(t, clusterRepair)
	if third == second {
		t.Errorf("%s is the primary after its PostgreSQL was killed", second.name)
	}
	w.check(t)
	step("%s after PostgreSQL was killed", third.name)

	// The former primary runs on without its Patroni. Nobody tells it that it is
	// none any more, so it must not acknowledge what it cannot get confirmed.
	c.killPatroni(t, third)
	eventually(t, clusterRepair, "another node is the primary", func() bool {
		leader := c.leader()
		// Until its promotion is done it still takes what the former one sends.
		return leader != nil && leader != third && c.setting(t, leader, "in_hot_standby") == "off"
	})
	if c.postmaster(third) == 0 {
		t.Errorf("the PostgreSQL of %s ended with its Patroni", third.name)
	}
	alone := &commits{url: strings.Replace(c.adminURL(third), "/postgres?", "/lyftr?", 1), next: 1_000_000}
	if err := alone.one(3 * time.Second); err == nil {
		t.Errorf("%s acknowledged a commit after another node had become the primary", third.name)
	}
	w.some(t)
	c.startPatroni(t, third)
	c.waitWhole(t, clusterRepair)
	w.check(t)
	step("%s after the Patroni of %s was killed", c.waitUsable(t, clusterRepair).name, third.name)

	// Strict: without any standby nothing is acknowledged, and with one again
	// everything goes on.
	last := c.waitUsable(t, clusterRepair)
	var stopped []*node
	for _, n := range c.nodes {
		if n != last {
			c.stop(t, n)
			stopped = append(stopped, n)
		}
	}
	before := len(w.acknowledged)
	for range 3 {
		if err := w.one(2 * time.Second); err == nil {
			t.Errorf("a commit was acknowledged without any standby")
		}
	}
	if len(w.acknowledged) != before {
		t.Errorf("%d commits were acknowledged without any standby", len(w.acknowledged)-before)
	}
	c.startPatroni(t, stopped[0])
	w.some(t)
	step("%s alone, and with %s again", last.name, stopped[0].name)
	c.startPatroni(t, stopped[1])
	c.waitWhole(t, clusterRepair)

	if cut, err := c.cutConnections(context.Background(), c.waitUsable(t, clusterRepair)); err != nil {
		t.Errorf("cut connections: %d, %v", cut, err)
	}
	c.restartHAProxy(t)
	w.some(t)
	w.check(t)
	step("whole again")
}
