package pgserver

import (
	"fmt"
	"testing"
)

// Standby copies the running server to a hot standby that follows it under a
// name, and waits until it does. It ends with the test. Nothing waits for it
// until the name stands in the server's synchronous_standby_names.
func (s *Server) Standby(tb testing.TB, name string) *Server {
	tb.Helper()
	standby, err := s.in.newServer(s.options)
	if err != nil {
		tb.Fatal(err)
	}
	standby.closeAfter(tb)
	err = s.in.run("pg_basebackup", "-D", standby.data, "-d", s.URL("postgres")+"&application_name="+name,
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--no-password")
	if err != nil {
		tb.Fatal(err)
	}
	if err := standby.startAnywhere(); err != nil {
		tb.Fatal(err)
	}
	s.await(tb, fmt.Sprintf("SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = '%s' AND state = 'streaming')", name))
	return standby
}

// Promote makes a standby a server that can be written to.
func (s *Server) Promote(tb testing.TB) {
	tb.Helper()
	s.Exec(tb, s.URL("postgres"), "SELECT pg_promote(wait => false)")
	s.await(tb, "SELECT NOT pg_is_in_recovery()")
}

// await waits until a question is answered with true.
func (s *Server) await(tb testing.TB, question string) {
	tb.Helper()
	var answer string
	var err error
	if late := poll(question, func() bool {
		answer, err = one(s.URL("postgres"), question)
		return err != nil || answer == "t"
	}); late != nil {
		err = late
	}
	if err != nil {
		tb.Fatal(err)
	}
}
