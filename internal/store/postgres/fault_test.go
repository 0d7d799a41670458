package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
	"lyftr/internal/store/pgserver"
)

// ledger is what was acknowledged, by any number of savers.
type ledger struct {
	mu    sync.Mutex
	sent  []string
	acked map[string]bool
}

// keepSaving saves messages of its own names, one at a time and some twice, until
// the context ends.
func (l *ledger) keepSaving(ctx context.Context, t *testing.T, s *Store, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("%s-%d", name, i-i%3/2) // every third one again
		within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := s.Save(within, newMessages(id), nil)
		cancel()
		l.mu.Lock()
		l.sent = append(l.sent, id)
		if err == nil {
			l.acked[id] = true
		} else if !errors.Is(err, message.ErrUnavailable) {
			t.Errorf("%s: %v", id, err)
		}
		l.mu.Unlock()
		if err != nil {
			sleep(ctx, dialPause) // else most of what is sent is refused
		}
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// check has the server hold what was acknowledged, once, and nothing that was
// not sent; then it sends again what was not acknowledged.
func (l *ledger) check(t *testing.T, s *Store) {
	t.Helper()
	stored := listIDs(t, s)
	slices.Sort(stored)
	if distinct := slices.Compact(slices.Clone(stored)); len(distinct) != len(stored) {
		t.Errorf("%d rows, %d messages", len(stored), len(distinct))
	}
	for id := range l.acked {
		if _, ok := slices.BinarySearch(stored, id); !ok {
			t.Errorf("%s was acknowledged and is lost", id)
		}
	}
	slices.Sort(l.sent)
	sent := slices.Compact(l.sent)
	for some := range slices.Chunk(sent, 1000) {
		if _, err := s.Save(t.Context(), newMessages(some...), nil); err != nil {
			t.Fatal(err)
		}
	}
	again := listIDs(t, s)
	slices.Sort(again)
	wantIDs(t, "stored after all was sent again", again, sent...)
	feed, _ := feedIDs(t, s, "")
	slices.Sort(feed)
	wantIDs(t, "the feed after all was sent again", feed, sent...)
	if n := s.Status().Messages; n != int64(len(sent)) {
		t.Errorf("Status has %d messages, want %d", n, len(sent))
	}
}

// testUnderFaults saves on two stores while the fault happens again and again.
func testUnderFaults(t *testing.T, server *pgserver.Server, times int, fault func(url string)) {
	url := server.NewDatabase(t)
	l := &ledger{acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var savers sync.WaitGroup
	stores := openReplicas(t, url, 2)
	for i := range 8 {
		savers.Go(func() { l.keepSaving(ctx, t, stores[i%2], fmt.Sprint(i)) })
	}
	for range times {
		before := l.count()
		await(t, "messages are acknowledged", func() bool { return l.count() > before+100 })
		fault(url)
	}
	before := l.count()
	await(t, "messages are acknowledged again", func() bool { return l.count() > before+100 })
	stop()
	savers.Wait()
	// The last fault may have left the readers a connection that is dead.
	await(t, "it can be read", func() bool { _, err := stores[0].List(t.Context(), message.Query{Limit: 1}); return err == nil })
	l.check(t, stores[0])
}

func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{Durable: true})
	testUnderFaults(t, server, 3, func(string) {
		server.Kill(t)
		server.Restart(t)
	})
}

func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	testUnderFaults(t, server, 20, func(url string) {
		server.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	})
}

// TestServerStopped: it is told, and passes by itself.
func TestServerStopped(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{Durable: true})
	s := openStore(t, server.NewDatabase(t), Options{})
	save(t, s, "a")
	server.Stop(t)
	_, err := saveWithin(t, s, 5*time.Second, "b")
	wantUnavailable(t, "a save", err)
	await(t, "Ready fails", func() bool { return readyWithin(t, s, time.Second) != nil })
	_, err = s.List(t.Context(), message.Query{Limit: 1})
	wantUnavailable(t, "a list", err)
	_, err = s.Feed(t.Context(), "", 1)
	wantUnavailable(t, "the feed", err)
	// While it is known to be down an answer is quick.
	began := time.Now()
	for range 100 {
		_, err := saveWithin(t, s, 5*time.Second, "b")
		wantUnavailable(t, "a save", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("100 refused saves took %v", took)
	}
	server.Restart(t)
	await(t, "Ready is nil", func() bool { return readyWithin(t, s, time.Second) == nil })
	save(t, s, "b")
	wantIDs(t, "stored", listIDs(t, s), "a", "b")
}

// TestServerFrozen: nothing waits longer than it may.
func TestServerFrozen(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	s := openStore(t, server.NewDatabase(t), Options{ReadTimeout: 500 * time.Millisecond})
	save(t, s, "a")
	server.Pause(t)
	began := time.Now()
	_, err := saveWithin(t, s, 500*time.Millisecond, "b")
	wantUnavailable(t, "a save", err)
	_, err = s.List(t.Context(), message.Query{Limit: 1})
	wantUnavailable(t, "a list", err)
	if err := readyWithin(t, s, 500*time.Millisecond); err == nil {
		t.Error("Ready is nil")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the answers took %v", took)
	}
	server.Resume(t)
	await(t, "Ready is nil", func() bool { return readyWithin(t, s, time.Second) == nil })
	if _, err := s.Save(t.Context(), newMessages("b", "c"), nil); err != nil {
		t.Fatal(err)
	}
	got := listIDs(t, s)
	slices.Sort(got)
	wantIDs(t, "stored", got, "a", "b", "c")
}

// refuse has the server raise an error for every message with that text.
func refuse(t *testing.T, url, code, when string) {
	t.Helper()
	sharedServer(t).Exec(t, url, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF `+when+` THEN RAISE 'no' USING ERRCODE = '`+code+`'; END IF; RETURN NEW; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse()`)
}

// TestDiskFull: an error of the server's resources refuses everything, stores
// nothing, and passes with its cause.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{})
	save(t, s, "a")
	refuse(t, url, "53100", "true")
	_, err := s.Save(t.Context(), newMessages("b", "c"), nil)
	wantUnavailable(t, "a save", err)
	wantIDs(t, "stored", listIDs(t, s), "a")
	server.Exec(t, url, "DROP TRIGGER refuse ON messages")
	save(t, s, "b", "c")
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTriedAgain: what was undone for a conflict with another transaction is run
// again, unseen by who saves.
func TestTriedAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []string{serializationFailure, deadlockDetected, lockNotAvailable} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			url := sharedServer(t).NewDatabase(t)
			s := openStore(t, url, Options{})
			sharedServer(t).Exec(t, url, "CREATE SEQUENCE tries")
			refuse(t, url, code, "nextval('tries') < 4")
			save(t, s, "a")
			if n := sharedServer(t).Value(t, url, "SELECT last_value FROM tries"); n != "4" {
				t.Errorf("stored at attempt %s, want 4", n)
			}
		})
	}
}

// TestDeadlock: a stranger who locks in another order does not fail a save.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t)
	s := openStore(t, url, Options{})
	conn := connection(t, url)
	beginSave(t, conn, "b")
	saved := make(chan error, 1)
	go func() {
		_, err := s.Save(t.Context(), newMessages("a", "b"), nil)
		saved <- err
	}()
	// The save has a and waits for b.
	await(t, "the save waits", func() bool {
		return sharedServer(t).Value(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
	})
	// Either of the two is undone.
	_, err := conn.Exec(t.Context(), strings.Replace(insertSQL, "::bigint, 1", "::bigint, 2", 1), "a")
	if code(err) != "" && code(err) != deadlockDetected {
		t.Error(err)
	}
	_, _ = conn.Exec(t.Context(), "ROLLBACK")
	if err := <-saved; err != nil {
		t.Error(err)
	}
	got := listIDs(t, s)
	wantIDs(t, "stored", got, "a", "b")
}

// TestRowRefused: a message or a status that the server does not take fails its
// own call, and not those that share the transaction.
func TestRowRefused(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{})
	server.Exec(t, url, "ALTER TABLE messages ADD CHECK (message_id <> 'bad')")
	// While the table is locked everything gathers behind the first save.
	conn := connection(t, url)
	exec(t, conn, "BEGIN")
	exec(t, conn, "LOCK TABLE messages IN EXCLUSIVE MODE")
	errs := map[string]chan error{}
	for _, id := range []string{"first", "a", "bad", "beside a bad status", "b"} {
		c := make(chan error, 1)
		errs[id] = c
		statuses := []message.Status{newStatus(id, "sent"), newStatus(id, "read")}
		if id == "beside a bad status" {
			statuses[1].Recipient = "\x00"
		}
		go func() {
			outcomes, err := s.Save(t.Context(), newMessages(id), statuses)
			if err == nil && !slices.Equal(outcomes, make([]message.Outcome, 3)) {
				err = fmt.Errorf("outcomes %v", outcomes)
			}
			c <- err
		}()
		if id == "first" {
			await(t, "the first save waits", func() bool {
				return server.Value(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
			})
		}
	}
	await(t, "the others wait", func() bool { return s.queue.Depth() == 4 })
	exec(t, conn, "COMMIT")
	for id, c := range errs {
		err := <-c
		if (err != nil) != strings.Contains(id, "bad") || errors.Is(err, message.ErrUnavailable) {
			t.Errorf("%s: %v", id, err)
		}
	}
	got := listIDs(t, s)
	slices.Sort(got)
	wantIDs(t, "stored", got, "a", "b", "first")
	wantIDs(t, "statuses", statusKeys(t, s), "a read", "a sent", "b read", "b sent", "first read", "first sent")
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestPoolOfOne: nothing holds a connection while it waits for something else.
func TestPoolOfOne(t *testing.T) {
	t.Parallel()
	url := with(sharedServer(t).NewDatabase(t), "pool_max_conns", "1")
	s := openStore(t, url, Options{})
	save(t, s, "a", "b")
	err := s.Walk(t.Context(), message.Filter{}, message.Ascending, func(m message.Message) error {
		_, err := s.Get(t.Context(), m.Source, m.ID)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got, _ := feedIDs(t, s, ""); len(got) != 2 {
		t.Errorf("feed %q", got)
	}
}

// TestStandbyAway: without the synchronous standby nothing is acknowledged, and
// one commit waits, not one more for every attempt.
func TestStandbyAway(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{Durable: true})
	standby := server.Standby(t, "one")
	server.Exec(t, server.URL("postgres"), "ALTER SYSTEM SET synchronous_standby_names = 'one'")
	server.Exec(t, server.URL("postgres"), "SELECT pg_reload_conf()")
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{})
	save(t, s, "a")
	standby.Stop(t)
	_, err := saveWithin(t, s, time.Second, "b")
	wantUnavailable(t, "a save", err)
	_, err = saveWithin(t, s, time.Second, "a")
	wantUnavailable(t, "a repeat", err)
	// By now the commit is given up; what follows is refused at once, and says why.
	await(t, "it says what is missing", func() bool {
		err := readyWithin(t, s, 5*time.Second)
		return err != nil && strings.Contains(err.Error(), "a synchronous standby is missing")
	})
	for i := range 20 {
		_, err := saveWithin(t, s, 5*time.Second, fmt.Sprint("more ", i))
		wantUnavailable(t, "a save", err)
	}
	waiting := server.Value(t, url+"&synchronous_commit=local", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '%arrived%'")
	if waiting != "1" {
		t.Errorf("%s commits wait", waiting)
	}
	wantIDs(t, "shown while the standby is away", listIDs(t, s), "a")
	standby.Restart(t)
	await(t, "Ready is nil", func() bool { return readyWithin(t, s, time.Second) == nil })
	outcomes, err := s.Save(t.Context(), newMessages("a", "b", "c"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []message.Outcome{{Duplicate: true}, {Duplicate: true}, {}}; !slices.Equal(outcomes, want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
	// The feed has them in the order of their commits, each once.
	got, _ := feedIDs(t, s, "")
	wantIDs(t, "feed", got, "a", "b", "c")
}

// TestFailover: with several hosts in the URL the store goes over to the standby
// that was promoted, by itself, and so do the readers of its feed.
func TestFailover(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{Durable: true})
	standby := server.Standby(t, "one")
	server.Exec(t, server.URL("postgres"), "ALTER SYSTEM SET synchronous_standby_names = 'one'")
	server.Exec(t, server.URL("postgres"), "SELECT pg_reload_conf()")
	url := server.NewDatabase(t)
	both := strings.Replace(url, fmt.Sprintf(":%d/", server.Port()), fmt.Sprintf(":%d,127.0.0.1:%d/", server.Port(), standby.Port()), 1)
	s := openStore(t, both, Options{})
	save(t, s, "a", "b")
	at := feedPage(t, s, "").Positions[0]
	changed := s.Changed()
	server.Kill(t)
	_, err := saveWithin(t, s, 2*time.Second, "c")
	wantUnavailable(t, "a save", err)
	standby.Promote(t)
	standby.Exec(t, standby.URL("postgres"), "ALTER SYSTEM RESET synchronous_standby_names")
	standby.Exec(t, standby.URL("postgres"), "SELECT pg_reload_conf()")
	await(t, "Ready is nil", func() bool { return readyWithin(t, s, time.Second) == nil })
	if _, err := s.Save(t.Context(), newMessages("c", "d"), nil); err != nil {
		t.Fatal(err)
	}
	receive(t, "those who wait are woken", changed)
	got, _ := feedIDs(t, s, at)
	wantIDs(t, "behind the position", got, "b", "c", "d")
	wantIDs(t, "stored", listIDs(t, s), "a", "b", "c", "d")
}

// TestListensAgain: what another replica stores is heard of well before it is
// looked for, also after the connection that listens was cut.
func TestListensAgain(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	replicas := openReplicas(t, url, 2)
	// listening names the connections that listen.
	listening := func() string {
		return server.Value(t, url, "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%listening'")
	}
	was := ""
	for round := range 2 {
		await(t, "both listen on new connections", func() bool {
			pids := listening()
			return strings.Contains(pids, " ") && pids != was
		})
		was = listening()
		var times []time.Duration
		for i := range 15 {
			changed := replicas[1].Changed()
			save(t, replicas[0], fmt.Sprint(round, "-", i))
			began := time.Now()
			receive(t, "the other replica hears", changed)
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		if median := times[len(times)/2]; median > pollEvery/2 {
			t.Errorf("the other replica hears after %v", median)
		}
		server.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%listening'")
	}
}

// TestNothingLeft: a closed store holds no connection.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	s, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	save(t, s, "a")
	feedPage(t, s, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "no connection is left", func() bool {
		return server.Value(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()") == "0"
	})
}

// TestTooManyConnections: a server that is full is waited for when a store is
// opened, refuses a save later, and is used again when there is room.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	const room = 20
	server := pgserver.Start(t, pgserver.Options{Settings: map[string]string{"max_connections": fmt.Sprint(room), "max_wal_senders": "0"}})
	url := server.NewDatabase(t)
	// fill takes all connections that are left, and returns what frees them.
	fill := func() (free func()) {
		var taken []*pgx.Conn
		for {
			conn, err := pgx.Connect(t.Context(), url)
			if code(err) == tooManyConnections {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			taken = append(taken, conn)
		}
		return func() {
			for _, conn := range taken {
				conn.Close(t.Context())
			}
		}
	}
	free := fill()
	log := &logLines{}
	opened := make(chan error, 1)
	var s *Store
	go func() {
		var err error
		s, err = Open(t.Context(), url, Options{Logger: log.logger()})
		opened <- err
	}()
	await(t, "it says that it waits", func() bool { return strings.Contains(log.String(), "waiting for the database") })
	free()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	save(t, s, "a")
	cutter := connection(t, url)
	exec(t, cutter, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	free = fill()
	// The store may have been quicker: then there is no room for anybody else.
	await(t, "a save is refused", func() bool {
		exec(t, cutter, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'lyftr'")
		again := fill()
		before := free
		free = func() { before(); again() }
		_, err := saveWithin(t, s, 5*time.Second, "b")
		return errors.Is(err, message.ErrUnavailable)
	})
	free()
	await(t, "Ready is nil", func() bool { return readyWithin(t, s, time.Second) == nil })
	if _, err := s.Save(t.Context(), newMessages("b"), nil); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "stored", listIDs(t, s), "a", "b")
}

// goroutines returns the stacks of those that a store or its driver runs.
func goroutines() (stacks []string) {
	b := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(stack, "jackc/") || strings.Contains(stack, "store/postgres.(*") || strings.Contains(stack, "groupcommit.") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// TestGoroutinesEnd: a closed store runs nothing, whatever the server did before.
// It is not parallel: the goroutines of others would count.
func TestGoroutinesEnd(t *testing.T) {
	server := pgserver.Start(t, pgserver.Options{})
	url := server.NewDatabase(t)
	for name, before := range map[string]func(){
		"running": func() {},
		"frozen":  func() { server.Pause(t) },
		"stopped": func() { server.Stop(t) },
	} {
		s, err := Open(t.Context(), url, Options{ReadTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Save(t.Context(), newMessages(name), nil); err != nil {
			t.Fatal(err)
		}
		feedPage(t, s, "")
		before()
		if name != "running" {
			_, err := saveWithin(t, s, 100*time.Millisecond, "more of "+name)
			wantUnavailable(t, "a save", err)
			_, err = s.List(t.Context(), message.Query{Limit: 1})
			wantUnavailable(t, "a list", err)
		}
		began := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > commitTimeout+2*closeTimeout {
			t.Errorf("%s: closed after %v", name, took)
		}
		await(t, "nothing runs", func() bool { return len(goroutines()) == 0 })
		switch name {
		case "frozen":
			server.Resume(t)
		case "stopped":
			server.Restart(t)
		}
	}
}
