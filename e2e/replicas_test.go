package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// seedVariable repeats a run of TestReplicas: it prints the seed of each.
const seedVariable = "LYFTR_E2E_SEED"

// restored is how a log line begins that says that lyftr found a database that
// is older than its own numbers. A failover is no such thing.
const restored = "the database was restored"

// replica is a lyftr at one address that is started again whenever it ends, as
// its supervisor does.
type replica struct {
	name    string
	address string
	env     []string
	dir     string

	mu      sync.Mutex
	process *process // the newest
	starts  int
	errors  map[string]int // that it logged, by what they say
}

// supervise runs the replica until the context ends.
func (r *replica) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		p, err := startProcess(r.dir, "", r.env...)
		if err != nil { // there was no primary for longer than it waits for one
			r.note([]string{err.Error()})
			continue
		}
		r.mu.Lock()
		r.process = p
		r.starts++
		r.mu.Unlock()
		select {
		case <-p.drained:
		case <-ctx.Done():
		}
		p.kill()
		r.note(p.log())
	}
}

// note keeps what the log says of faults.
func (r *replica) note(log []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range log {
		var fields struct{ Level, Msg, Error string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			r.errors["not a log line: "+line]++
		} else if fields.Level == "ERROR" && fields.Error != "" {
			r.errors[fields.Msg+": "+fields.Error]++
		} else if strings.HasPrefix(fields.Msg, restored) {
			r.errors[fields.Msg]++
		}
	}
}

// kill kills the process that runs now, if one does.
func (r *replica) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		_ = r.process.cmd.Process.Kill()
	}
}

// current is the newest process.
func (r *replica) current() *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process
}

func (r *replica) url(path string) string { return "http://" + r.address + path }

// fleet is replicas with the same database, and what is known of the messages
// that were sent to them.
type fleet struct {
	t        *testing.T
	replicas []*replica
	client   *http.Client
	ledger   ledger

	mu      sync.Mutex
	sent    []sending // in the order in which they were sent first
	lastAck time.Time
	gap     time.Duration // the longest time in which nothing was acknowledged

	repeats, attempts atomic.Int64
}

// sending is a message and the replica it was first sent to.
type sending struct {
	id   string
	body []byte
	to   int
}

// startFleet starts a replica for each DATABASE_URL.
func startFleet(ctx context.Context, t *testing.T, databases ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, client: newClient(t, 64), ledger: ledger{deliveries: map[string]*delivery{}}}
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	t.Cleanup(func() {
		stop()
		running.Wait()
		if t.Failed() {
			f.printErrors()
		}
	})
	for i, port := range freePorts(t, len(databases)) {
		r := &replica{name: fmt.Sprintf("replica %d", i+1), address: local(port), dir: t.TempDir(), errors: map[string]int{}}
		r.env = []string{"DATABASE_URL=" + databases[i], "PORT=" + strconv.Itoa(port)}
		f.replicas = append(f.replicas, r)
		running.Go(func() { r.supervise(ctx) })
	}
	f.waitReady(40 * time.Second)
	return f
}

// printErrors prints which faults each replica logged, and how often.
func (f *fleet) printErrors() {
	for _, r := range f.replicas {
		r.mu.Lock()
		for _, what := range slices.Sorted(maps.Keys(r.errors)) {
			f.t.Logf("%s, %d times: %s", r.name, r.errors[what], what)
		}
		r.mu.Unlock()
	}
}

// status asks a replica, and returns 0 if it does not answer.
func (f *fleet) status(r *replica, path string) int {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.url(path), nil)
	if err != nil {
		panic(err)
	}
	status, _ := do(f.client, request)
	return status
}

// waitReady waits until all replicas could store a message.
func (f *fleet) waitReady(limit time.Duration) {
	f.t.Helper()
	for _, r := range f.replicas {
		eventually(f.t, limit, r.name+" is ready", func() bool { return f.status(r, "/health/ready") == http.StatusOK })
	}
}

// deliver sends a message to a replica as a webhook's sender does: until it is
// acknowledged. After the context has ended it reports whether it was.
func (f *fleet) deliver(ctx context.Context, random *rand.Rand, id string, body []byte, to int) (acknowledged bool) {
	for {
		f.attempts.Add(1)
		status, answer := post(f.client, f.replicas[to].url("/webhook"), body)
		f.ledger.note(id, body, status)
		switch status {
		case http.StatusOK:
			f.acknowledged()
			return true
		case 0, http.StatusServiceUnavailable: // nobody there, or no database
		default:
			f.t.Errorf("%s: %s: %d %s", f.replicas[to].name, id, status, answer)
			return false
		}
		if !pauseFor(ctx, time.Duration(50+random.IntN(150))*time.Millisecond) {
			return false
		}
	}
}

func (f *fleet) acknowledged() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if !f.lastAck.IsZero() {
		f.gap = max(f.gap, now.Sub(f.lastAck))
	}
	f.lastAck = now
}

// pauseFor returns false if the context ended first.
func pauseFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// remember makes a message known to those who repeat.
func (f *fleet) remember(s sending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, s)
}

// another returns a message that was first sent to another replica.
func (f *fleet) another(random *rand.Rand, than int) (s sending, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range 10 {
		if len(f.sent) == 0 {
			break
		}
		if s = f.sent[random.IntN(len(f.sent))]; s.to != than {
			return s, true
		}
	}
	return sending{}, false
}

// load sends messages to all replicas until sending ends; what has been begun
// goes on until it is acknowledged, or the patience ends. About a third are
// repeats of what another replica gets in the same moment, or got before.
func (f *fleet) load(sending, patience context.Context, seed uint64) {
	const sendersEach = 4
	var wg sync.WaitGroup
	for s := range sendersEach * len(f.replicas) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(s)))
			to := s % len(f.replicas)
			for i := 0; pauseFor(sending, time.Duration(5+random.IntN(30))*time.Millisecond); i++ {
				f.send(patience, random, fmt.Sprintf("m-%d-%d", s, i), to)
			}
		})
	}
	wg.Wait()
}

func (f *fleet) send(patience context.Context, random *rand.Rand, id string, to int) {
	text := "text of " + id
	b := body(id, fmt.Sprintf("+9198%08d", random.IntN(1000)), time.Unix(1736935200+random.Int64N(86400), 0).UTC().Format(time.RFC3339), &text)
	must := func(acknowledged bool) {
		if !acknowledged && patience.Err() != nil {
			f.t.Errorf("%s was never acknowledged", id)
		}
	}
	switch n := random.IntN(100); {
	case n < 20: // in the same moment to another one
		f.repeats.Add(1)
		other := (to + 1 + random.IntN(len(f.replicas)-1)) % len(f.replicas)
		twin := rand.New(rand.NewPCG(random.Uint64(), 0))
		var both sync.WaitGroup
		both.Go(func() { must(f.deliver(patience, twin, id, b, other)) })
		must(f.deliver(patience, random, id, b, to))
		both.Wait()
		f.remember(sending{id, b, to})
	case n < 40: // what another one got before
		if s, ok := f.another(random, to); ok {
			f.repeats.Add(1)
			must(f.deliver(patience, random, s.id, s.body, to))
		}
	case n < 43: // nobody's
		status, answer := postSigned(f.client, f.replicas[to].url("/webhook"), b, "00")
		if status != http.StatusUnauthorized && status != 0 {
			f.t.Errorf("%s: a wrong signature was answered %d %s", f.replicas[to].name, status, answer)
		}
		if status == http.StatusUnauthorized {
			f.ledger.note(id, b, status)
		}
	default:
		// Others may repeat it before it is answered.
		f.remember(sending{id, b, to})
		must(f.deliver(patience, random, id, b, to))
	}
}

// wander reads the feed by pages, each from any of the replicas, until the
// context ends: a position is good everywhere.
func (f *fleet) wander(ctx context.Context, to *follower, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 99))
	after := ""
	for ctx.Err() == nil {
		r := f.replicas[random.IntN(len(f.replicas))]
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url("/feed?limit=1000&wait=1&after="+url.QueryEscape(after)), nil)
		if err != nil {
			panic(err)
		}
		status, answer := do(f.client, request)
		switch status {
		case http.StatusOK:
		case 0, http.StatusServiceUnavailable:
			pauseFor(ctx, 50*time.Millisecond)
			continue
		default:
			f.t.Errorf("%s: feed: %d %s", r.name, status, answer)
			return
		}
		var page struct {
			Data []json.RawMessage
			Next string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(answer), &page); err != nil {
			f.t.Errorf("%s: feed: %v: %s", r.name, err, answer)
			return
		}
		after = page.Next
		for _, m := range page.Data {
			to.event(after, string(m))
		}
	}
}

// watch asks a replica for its readiness all the time and counts how often it was
// not, while it answered.
func (f *fleet) watch(ctx context.Context, r *replica, unready *atomic.Int64) {
	for pauseFor(ctx, 100*time.Millisecond) {
		switch status := f.status(r, "/health/ready"); status {
		case 0, http.StatusOK:
		case http.StatusServiceUnavailable:
			unready.Add(1)
		default:
			f.t.Errorf("%s: readiness is %d", r.name, status)
			return
		}
	}
}

// fault is something that goes wrong with a cluster or its replicas, and is put
// right again.
type fault struct {
	name string
	do   func(leader *node) error
}

// faults returns the kinds, each as often as it is to happen.
func (c *cluster) faults(ctx context.Context, t *testing.T, random *rand.Rand, replicas []*replica) []fault {
	seconds := func(least, most int) {
		pauseFor(ctx, time.Duration(least*1000+random.IntN((most-least)*1000))*time.Millisecond)
	}
	kinds := []struct {
		times int
		fault
	}{
		{4, fault{"a replica is killed", func(*node) error {
			replicas[random.IntN(len(replicas))].kill()
			return nil
		}}},
		{3, fault{"the primary's PostgreSQL is killed", func(leader *node) error {
			if !c.killPostgres(leader) {
				return errors.New("it does not run")
			}
			return nil
		}}},
		{3, fault{"the primary's Patroni is killed", func(leader *node) error {
			c.killPatroni(t, leader)
			seconds(1, 10) // before another one is the primary, or after
			c.startPatroni(t, leader)
			return nil
		}}},
		{3, fault{"a node is stopped and started", func(*node) error {
			n := c.nodes[random.IntN(len(c.nodes))]
			c.stop(t, n)
			seconds(0, 3)
			c.startPatroni(t, n)
			return nil
		}}},
		{3, fault{"another node is made the primary", func(*node) error {
			if done, answer := c.switchover(); !done {
				return errors.New(answer)
			}
			return nil
		}}},
		{2, fault{"connections are cut", func(leader *node) error {
			_, err := c.cutConnections(ctx, leader)
			return err
		}}},
		{1, fault{"HAProxy is killed", func(*node) error {
			c.restartHAProxy(t)
			return nil
		}}},
		{1, fault{"the primary's node hangs", func(leader *node) error {
			c.pause(leader)
			seconds(9, 11)
			c.resume(leader)
			return nil
		}}},
	}
	var all []fault
	for _, k := range kinds {
		for range k.times {
			all = append(all, k.fault)
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// TestReplicas runs three replicas on a cluster of three nodes, two by way of
// HAProxy and one that knows the nodes itself, under load and twenty faults.
// Every message that some replica acknowledged is stored exactly once, and every
// reader of the feed, wherever he reads, gets each exactly once and in the same
// order.
func TestReplicas(t *testing.T) {
	t.Parallel()
	const (
		// calm is how long the faults wait in all for the cluster to be whole
		// again; then they come whatever its state is.
		calm = 70 * time.Second
		// lastly is how long senders and readers may take to the end after the
		// last fault.
		lastly = 60 * time.Second
	)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d repeats the faults", seedVariable, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	begin := time.Now()
	c := startCluster(t)
	f := startFleet(t.Context(), t, c.throughHAProxy(), c.throughHAProxy(), c.severalHosts())
	t.Logf("%5.1f s: the cluster and its replicas are up", time.Since(begin).Seconds())

	ctx, stop := context.WithCancel(t.Context())
	var reading, loading sync.WaitGroup
	sending, enough := context.WithCancel(ctx)
	defer func() { stop(); enough(); reading.Wait(); loading.Wait() }()
	streams := newClient(t, len(f.replicas))
	streams.Timeout = 0 // a stream has no end
	wanderer := newFollower()
	followers := []*follower{wanderer}
	reading.Go(func() { f.wander(ctx, wanderer, seed) })
	unready := make([]atomic.Int64, len(f.replicas))
	for i, r := range f.replicas {
		follower := newFollower()
		followers = append(followers, follower)
		follower.move(r.url("/feed"))
		reading.Go(func() { follower.follow(ctx, streams) })
		reading.Go(func() { f.watch(ctx, r, &unready[i]) })
	}
	patience, giveUp := context.WithCancel(ctx)
	defer giveUp()
	loading.Go(func() { f.load(sending, patience, seed) })

	waited := time.Duration(0)
	for i, fault := range c.faults(ctx, t, random, f.replicas) {
		pauseFor(ctx, time.Duration(500+random.IntN(2000))*time.Millisecond)
		since := time.Now()
		if waited < calm && random.IntN(3) > 0 {
			c.repair(t, c.usable)
		}
		leader := c.waitLeader(t, clusterRepair)
		// A cluster that has no standby yet refuses to change its primary.
		for err := fault.do(leader); err != nil; err = fault.do(leader) {
			if time.Since(since) > clusterRepair {
				t.Fatalf("%s: %v", fault.name, err)
			}
			pauseFor(ctx, 500*time.Millisecond)
			leader = c.waitLeader(t, clusterRepair)
		}
		waited += time.Since(since)
		t.Logf("%5.1f s: fault %2d: %s; %s was the primary", time.Since(begin).Seconds(), i+1, fault.name, leader.name)
	}

	// One outage that nobody can overlook: no node is left. A replica that was
	// killed last may still be starting; only one that runs can say it is not ready.
	c.repair(t, c.whole)
	f.waitReady(30 * time.Second)
	for _, n := range c.nodes {
		c.stop(t, n)
	}
	for _, r := range f.replicas {
		eventually(t, 10*time.Second, r.name+" is not ready", func() bool { return f.status(r, "/health/ready") == http.StatusServiceUnavailable })
		if status := f.status(r, "/health/live"); status != http.StatusOK {
			t.Errorf("%s: is it alive, without a database: %d", r.name, status)
		}
	}
	for _, n := range c.nodes {
		c.startPatroni(t, n)
	}
	c.waitUsable(t, clusterRepair)
	usable := time.Now()
	f.waitReady(15 * time.Second)
	t.Logf("%5.1f s: all nodes were stopped and started; ready %.1f s after the cluster", time.Since(begin).Seconds(), time.Since(usable).Seconds())
	enough()
	last := time.AfterFunc(lastly, giveUp)
	loading.Wait()
	last.Stop()
	c.repair(t, c.whole)

	rows := f.checkStored(c)
	for i, follower := range followers {
		eventually(t, lastly, fmt.Sprintf("follower %d has seen %d messages", i, rows), func() bool { return follower.count() >= rows })
	}
	stop()
	reading.Wait()
	f.checkFollowers(followers, rows)
	for i, r := range f.replicas {
		r.note(r.current().log())
		r.mu.Lock()
		t.Logf("%s: %d starts, %d times not ready", r.name, r.starts, unready[i].Load())
		for what := range r.errors {
			if strings.HasPrefix(what, restored) {
				t.Errorf("%s took a failover for a restored database: %s", r.name, what)
			}
		}
		if unready[i].Load() == 0 {
			t.Errorf("%s said all the time that it was ready", r.name)
		}
		r.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.Logf("%5.1f s: %d messages, %d repeats, %d attempts, at most %.1f s without an acknowledgement", time.Since(begin).Seconds(),
		rows, f.repeats.Load(), f.attempts.Load(), f.gap.Seconds())
}

// checkStored compares what the database has with what the senders know, by SQL
// and through each replica, and returns how many messages there are.
func (f *fleet) checkStored(c *cluster) (rows int) {
	t := f.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.throughHAProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var distinct int
	if err := conn.QueryRow(ctx, "SELECT count(*), count(DISTINCT (message_id, source)) FROM messages").Scan(&rows, &distinct); err != nil {
		t.Fatal(err)
	}
	if rows != distinct {
		t.Errorf("%d rows are of %d messages", rows, distinct)
	}
	exports := make([][]byte, len(f.replicas))
	for i, r := range f.replicas {
		var stats struct {
			Total int `json:"total_messages"`
		}
		status, answer := get(t, r.url("/stats"))
		if err := json.Unmarshal(answer, &stats); err != nil || status != http.StatusOK || stats.Total != rows {
			t.Errorf("%s: /stats counts %d messages of %d: %d, %v", r.name, stats.Total, rows, status, err)
		}
		if status, exports[i] = get(t, r.url("/export")); status != http.StatusOK {
			t.Errorf("%s: export: %d", r.name, status)
		}
		if !bytes.Equal(exports[i], exports[0]) {
			t.Errorf("%s exports other bytes than the first replica", r.name)
		}
	}

	// The export, against the ledger.
	seen := map[string]bool{}
	lines := bufio.NewReader(bytes.NewReader(exports[0]))
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var m struct {
			ID   string `json:"message_id"`
			From string
			TS   string
			Text *string
		}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("export: %v: %s", err, line)
		}
		if seen[m.ID] {
			t.Errorf("%s is stored twice", m.ID)
		}
		seen[m.ID] = true
		d := f.ledger.deliveries[m.ID]
		switch {
		case d == nil:
			t.Errorf("%s is stored and was never sent", m.ID)
		case d.refused:
			t.Errorf("%s is stored and was refused", m.ID)
		case !bytes.Equal(body(m.ID, m.From, m.TS, m.Text), d.body):
			t.Errorf("%s is stored with other content", m.ID)
		}
	}
	if len(seen) != rows {
		t.Errorf("the export has %d messages of %d", len(seen), rows)
	}
	acknowledged, refused := 0, 0
	for _, id := range slices.Sorted(maps.Keys(f.ledger.deliveries)) {
		d := f.ledger.deliveries[id]
		if d.refused {
			refused++
		}
		if !d.acknowledged {
			continue
		}
		acknowledged++
		if !seen[id] {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	if acknowledged < 1000 || refused == 0 || int(f.repeats.Load()) < acknowledged/4 {
		t.Errorf("%d acknowledged, %d refused, %d repeats: the load did not load", acknowledged, refused, f.repeats.Load())
	}
	return rows
}

// checkFollowers compares what the readers of the feed have seen.
func (f *fleet) checkFollowers(followers []*follower, rows int) {
	t := f.t
	t.Helper()
	for i, follower := range followers {
		if !slices.Equal(follower.order, followers[0].order) {
			at := 0
			for at < min(len(follower.order), len(followers[0].order)) && follower.order[at] == followers[0].order[at] {
				at++
			}
			t.Errorf("follower %d saw another order than the first, from message %d on: %s", i, at,
				strings.Join(follower.order[at:min(at+5, len(follower.order))], " "))
		}
		if len(follower.seen) != rows {
			t.Errorf("follower %d saw %d messages of %d", i, len(follower.seen), rows)
		}
		for _, id := range slices.Sorted(maps.Keys(follower.seen)) {
			if follower.seen[id] != 1 {
				t.Errorf("follower %d saw %s %d times", i, id, follower.seen[id])
			}
		}
		for id, d := range f.ledger.deliveries {
			if d.acknowledged && follower.seen[id] == 0 {
				t.Errorf("follower %d did not see %s, which was acknowledged", i, id)
			}
		}
	}
}
