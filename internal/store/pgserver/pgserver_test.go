package pgserver_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/store/pgserver"
)

// patience bounds every wait: far more than anything here takes.
const patience = 30 * time.Second

func TestStart(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{Settings: map[string]string{"work_mem": "5MB", "application_name": "it's"}})
	for question, want := range map[string]string{
		"SHOW fsync":                   "off",
		"SHOW synchronous_commit":      "on",
		"SHOW listen_addresses":        "127.0.0.1",
		"SHOW unix_socket_directories": "",
		"SHOW max_connections":         "200",
		"SHOW work_mem":                "5MB",
		"SHOW port":                    strconv.Itoa(s.Port()),
		"SHOW data_directory":          s.Dir(),
		"SHOW server_encoding":         "UTF8",
		"SHOW lc_messages":             "C.UTF-8",
		"SELECT current_user":          "lyftr",
		"SELECT NULL":                  "",
		"SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'": "0",
	} {
		if got := s.Value(t, s.URL("postgres"), question); got != want {
			t.Errorf("%s: %q, want %q", question, got, want)
		}
	}
}

func TestShared(t *testing.T) {
	t.Parallel()
	s, err := pgserver.StartShared(pgserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Value(t, s.URL("postgres"), "SELECT 1"); got != "1" {
		t.Errorf("SELECT 1: %q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory is still there: %v", err)
	}
	if err := ping(s.URL("postgres")); err == nil {
		t.Error("it still answers")
	}
}

func TestWrongSetting(t *testing.T) {
	t.Parallel()
	_, err := pgserver.StartShared(pgserver.Options{Settings: map[string]string{"work_mem": "much"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "work_mem": "much"`) {
		t.Errorf("the error does not say what the server logged: %v", err)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{})
	url := strings.Replace(s.URL("postgres"), "@", "x@", 1)
	if err := ping(url); err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("with a wrong password: %v", err)
	}
}

func TestNewDatabase(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{})
	var used []string
	t.Run("databases", func(t *testing.T) {
		a, b := s.NewDatabase(t), s.NewDatabase(t)
		used = []string{a, b}
		s.Exec(t, a, "CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1), (2)")
		s.Exec(t, a, "INSERT INTO numbers VALUES ($1)", 3)
		if got := s.Value(t, a, "SELECT sum(n) FROM numbers"); got != "6" {
			t.Errorf("the sum is %s", got)
		}
		if got := s.Value(t, b, "SELECT count(*) FROM pg_tables WHERE tablename = 'numbers'"); got != "0" {
			t.Errorf("the other database has %s of its tables", got)
		}
	})
	t.Run("dropped", func(t *testing.T) {
		name := s.Value(t, s.NewDatabase(t), "SELECT current_database()")
		s.Exec(t, s.URL("postgres"), "DROP DATABASE "+name)
	})
	again := s.NewDatabase(t)
	if !slices.Contains(used, again) {
		t.Errorf("%s was not there before", again)
	}
}

// TestUsedDatabase: a database that a test has left is as a new one.
func TestUsedDatabase(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{})
	// All that can be seen in a database, less its name and the number of its
	// schema public.
	const catalog = `SELECT (SELECT string_agg(concat_ws(' ', relnamespace::regnamespace, relname, relacl), E'\n' ORDER BY oid)
			FROM pg_class WHERE relnamespace::regnamespace::text <> 'pg_toast')
		|| (SELECT string_agg(concat_ws(' ', nspname, nspowner::regrole, nspacl), E'\n' ORDER BY nspname) FROM pg_namespace)
		|| (SELECT string_agg(concat_ws(' ', pronamespace::regnamespace, proname), E'\n' ORDER BY oid) FROM pg_proc)
		|| (SELECT string_agg(extname, ' ') FROM pg_extension)
		|| current_setting('work_mem')`
	var url, fresh string
	done := make(chan error, 1)
	t.Run("use", func(t *testing.T) {
		url = s.NewDatabase(t)
		fresh = s.Value(t, url, catalog)
		name := s.Value(t, url, "SELECT current_database()")
		s.Exec(t, url, "CREATE TABLE numbers (n int); CREATE SCHEMA other; CREATE TABLE other.numbers (n int); REVOKE ALL ON SCHEMA public FROM PUBLIC")
		s.Exec(t, url, "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
		s.Exec(t, url, "ALTER DATABASE "+name+" SET work_mem = '1MB'")
		if used := s.Value(t, url, catalog); used == fresh {
			t.Error("nothing of it is seen")
		}
		go func() { done <- run(url, "SELECT pg_sleep(1000)") }()
		await(t, "a session is busy", func() bool {
			return s.Value(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()") == "1"
		})
	})
	if err := <-done; err == nil || !strings.Contains(err.Error(), "57P01") {
		t.Errorf("a session that the test left ended with %v", err)
	}
	if again := s.NewDatabase(t); again != url {
		t.Fatalf("it is not used again: %s", again)
	}
	if got := s.Value(t, url, catalog); got != fresh {
		t.Errorf("it has %d bytes of names, a new one %d", len(got), len(fresh))
	}
}

func TestNewDatabaseLike(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{})
	var url string
	t.Run("turkish", func(t *testing.T) {
		url = s.NewDatabaseLike(t, "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'")
		if got := s.Value(t, url, "SELECT lower('I')"); got != "ı" {
			t.Errorf("lower('I') is %q", got)
		}
	})
	if err := ping(url); err == nil || !strings.Contains(err.Error(), "3D000") {
		t.Errorf("after the test: %v", err)
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{Durable: true})
	url := s.NewDatabase(t)
	if got := s.Value(t, url, "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
	s.Exec(t, url, "CREATE TABLE ends (how text)")
	for how, end := range map[string]func(testing.TB){
		"stopped": s.Stop, "stopped at once": s.StopImmediate, "killed": s.Kill, "just started again": func(testing.TB) {},
	} {
		s.Exec(t, url, "INSERT INTO ends VALUES ($1)", how)
		before := processes(t, s.Dir())
		end(t)
		if how != "just started again" {
			if left := processes(t, s.Dir()); len(left) > 0 {
				t.Errorf("%s: of %d processes %d are left", how, len(before), len(left))
			}
		}
		s.Restart(t)
		if got := s.Value(t, url, "SELECT how FROM ends"); got != how {
			t.Errorf("%s: there is %q", how, got)
		}
		s.Exec(t, url, "DELETE FROM ends")
	}
}

// TestKillBusy: a server is killed while a session computes and another waits.
func TestKillBusy(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{})
	done := make(chan error, 2)
	for _, statement := range []string{"SELECT count(*) FROM generate_series(1, 1000000000000)", "SELECT pg_sleep(1000)"} {
		go func() { done <- run(s.URL("postgres"), statement) }()
	}
	await(t, "two sessions are busy", func() bool {
		return s.Value(t, s.URL("postgres"), "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()") == "2"
	})
	s.Kill(t)
	if left := processes(t, s.Dir()); len(left) > 0 {
		t.Errorf("left are the processes %v", left)
	}
	for range 2 {
		if err := <-done; err == nil {
			t.Error("a session of a killed server ended well")
		}
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := pgserver.Start(t, pgserver.Options{})
	done := make(chan error, 1)
	s.Pause(t)
	go func() { done <- ping(s.URL("postgres")) }()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	select {
	case err := <-done:
		t.Errorf("a paused server answers: %v", err)
	case <-ctx.Done():
	}
	s.Resume(t)
	if err := <-done; err != nil {
		t.Errorf("after it was resumed: %v", err)
	}
	s.Pause(t) // it ends all the same
}

func TestStandby(t *testing.T) {
	t.Parallel()
	primary := pgserver.Start(t, pgserver.Options{Durable: true})
	url := primary.NewDatabase(t)
	database := url[strings.LastIndexByte(url, '/')+1 : strings.IndexByte(url, '?')]
	standby := primary.Standby(t, "s1")
	primary.Exec(t, url, "ALTER SYSTEM SET synchronous_standby_names = 's1'")
	primary.Exec(t, url, "SELECT pg_reload_conf()")
	await(t, "the standby is synchronous", func() bool {
		return primary.Value(t, url, "SELECT sync_state FROM pg_stat_replication WHERE application_name = 's1'") == "sync"
	})
	primary.Exec(t, url, "CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)")
	primary.Kill(t)
	if got := standby.Value(t, standby.URL(database), "SHOW transaction_read_only"); got != "on" {
		t.Errorf("the standby can be written to before it is promoted: %s", got)
	}
	standby.Promote(t)
	standby.Exec(t, standby.URL(database), "INSERT INTO numbers VALUES (2)")
	if got := standby.Value(t, standby.URL(database), "SELECT sum(n) FROM numbers"); got != "3" {
		t.Errorf("the sum is %s", got)
	}
	if got := standby.Value(t, standby.URL(database), "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %s", got)
	}
}

// TestDiesWithTest: of a test process that is killed nothing is left.
func TestDiesWithTest(t *testing.T) {
	t.Parallel()
	if os.Getenv(victimVariable) != "" {
		s := pgserver.Start(t, pgserver.Options{})
		if err := os.WriteFile(os.Getenv(victimVariable), []byte(s.Dir()), 0o600); err != nil {
			t.Fatal(err)
		}
		select {} // until it is killed
	}
	file := filepath.Join(t.TempDir(), "dir")
	victim := exec.Command(os.Args[0], "-test.run=^TestDiesWithTest$")
	victim.Env = append(os.Environ(), victimVariable+"="+file)
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer victim.Process.Kill()
	var dir string
	await(t, "it has started a server", func() bool {
		b, err := os.ReadFile(file)
		dir = string(b)
		return err == nil && dir != ""
	})
	if len(processes(t, dir)) == 0 {
		t.Errorf("there is no server in %s", dir)
	}
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = victim.Wait()
	await(t, "its processes are gone", func() bool { return len(processes(t, dir)) == 0 })
	base := filepath.Dir(filepath.Dir(dir))
	await(t, "its folder is gone", func() bool {
		_, err := os.Stat(base)
		return errors.Is(err, os.ErrNotExist)
	})
}

// victimVariable names the file into which a test that is killed writes where
// its server is.
const victimVariable = "LYFTR_PGSERVER_VICTIM"

// processes returns the processes that run in a data directory.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err != nil || strings.TrimSuffix(target, " (deleted)") != dir
	})
}

func ping(url string) error { return run(url, "SELECT 1") }

func run(url, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}
