package postgres

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"lyftr/internal/message"
)

// statusKeys are the IDs and statuses of all that is reported.
func statusKeys(t testing.TB, s *Store) (keys []string) {
	t.Helper()
	err := s.WalkStatuses(t.Context(), func(st message.Status) error {
		keys = append(keys, st.ID+" "+st.Status)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestSameStatusesToAll: the same statuses come to all replicas at the same
// moment, each time in another order, and are created once.
func TestSameStatusesToAll(t *testing.T) {
	t.Parallel()
	const batches, size = 40, 12
	replicas := openReplicas(t, sharedServer(t).NewDatabase(t), 3)
	var created atomic.Int64
	var savers sync.WaitGroup
	for i, s := range replicas {
		savers.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(i)))
			for n := range batches {
				messages := newMessages(fmt.Sprint("m", n), fmt.Sprint("m", n+1))
				var statuses []message.Status
				for k := range size {
					// Neighbouring batches share half of their statuses.
					statuses = append(statuses, newStatus(fmt.Sprintf("s%05d", n*size/2+k), []string{"sent", "read"}[k%2]))
				}
				random.Shuffle(size, func(x, y int) { statuses[x], statuses[y] = statuses[y], statuses[x] })
				outcomes, err := s.Save(t.Context(), messages, statuses)
				if err != nil {
					t.Error(err)
					return
				}
				for _, o := range outcomes[len(messages):] {
					if !o.Duplicate {
						created.Add(1)
					}
				}
			}
		})
	}
	savers.Wait()
	const want = (batches-1)*size/2 + size
	if n := created.Load(); n != want {
		t.Errorf("%d statuses were created, want %d", n, want)
	}
	for _, s := range replicas {
		if n := len(slices.Compact(statusKeys(t, s))); n != want {
			t.Errorf("%d statuses are stored, want %d", n, want)
		}
	}
}

// TestStatusWhileErasing: a status that another replica is storing goes with its
// message.
func TestStatusWhileErasing(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{})
	m := newMessage("a")
	saveMessages(t, s, m)
	of := newStatus("a", "sent")
	of.Source = m.Source
	saveStatuses(t, s, of, newStatus("a", "sent"))
	conn := connection(t, url)
	exec(t, conn, "BEGIN")
	exec(t, conn, lockSharedSQL)
	exec(t, conn, "INSERT INTO statuses VALUES ('native', 'a', 'read', '', now(), now())")
	erased := make(chan error, 1)
	go func() {
		n, err := s.Erase(t.Context(), m.From)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d messages", n)
		}
		erased <- err
	}()
	await(t, "the erasure waits", func() bool {
		return server.Value(t, url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == "1"
	})
	exec(t, conn, "COMMIT")
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "statuses of another source stay", statusKeys(t, s), "a sent")
	outcomes, err := s.Save(t.Context(), nil, []message.Status{of})
	if err != nil || !slices.Equal(outcomes, []message.Outcome{{Duplicate: true}}) {
		t.Errorf("a status of what was removed: %v, %v", outcomes, err)
	}
}

// TestRecipientErasedWhileSaving: a message that another replica is storing
// counts as stored when a status of it is erased.
func TestRecipientErasedWhileSaving(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	s := openStore(t, url, Options{})
	for _, id := range []string{"a", "b"} {
		of := newStatus(id, "sent")
		of.Recipient = "+900"
		saveStatuses(t, s, of)
	}
	conn := connection(t, url)
	exec(t, conn, "BEGIN")
	exec(t, conn, lockSharedSQL)
	exec(t, conn, `INSERT INTO messages (tx, n, source, message_id, from_msisdn, to_msisdn, ts, ts_unix, ts_nanos)
		SELECT pg_current_xact_id()::text::bigint, 1, source, message_id, '+1', '+2', '2025-01-15T10:00:00Z', 1736935200, 0 FROM statuses WHERE message_id = 'a'`)
	erased := make(chan error, 1)
	go func() {
		_, err := s.Erase(t.Context(), "+900")
		erased <- err
	}()
	await(t, "the erasure waits", func() bool {
		return server.Value(t, url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == "1"
	})
	exec(t, conn, "COMMIT")
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "statuses", statusKeys(t, s))
	outcomes, err := s.Save(t.Context(), nil, []message.Status{newStatus("a", "read"), newStatus("b", "read")})
	if err != nil || !slices.Equal(outcomes, []message.Outcome{{}, {Duplicate: true}}) {
		t.Errorf("statuses after the erasure: %v, %v", outcomes, err)
	}
}

// TestRejectBesideALockedTable: whoever holds up saves does not hold up Reject.
func TestRejectBesideALockedTable(t *testing.T) {
	t.Parallel()
	url := sharedServer(t).NewDatabase(t)
	s := openStore(t, url, Options{})
	conn := connection(t, url)
	exec(t, conn, "BEGIN")
	exec(t, conn, "LOCK TABLE messages, counts IN EXCLUSIVE MODE")
	saved := make(chan error, 1)
	go func() {
		_, err := s.Save(t.Context(), newMessages("a"), nil)
		saved <- err
	}()
	if err := s.Reject(t.Context(), []message.Rejection{{At: epoch(), Source: "whatsapp", Status: 401, Times: 1}}); err != nil {
		t.Error(err)
	}
	// Nor does Reject wait for what another replica is forgetting.
	exec(t, conn, "COMMIT")
	exec(t, conn, "BEGIN")
	exec(t, conn, "SELECT FROM rejected FOR UPDATE")
	many := make([]message.Rejection, message.MaxRejections)
	for i := range many {
		many[i] = message.Rejection{At: epoch(), Source: "twilio", Status: 422, Times: 1}
	}
	if err := s.Reject(t.Context(), many); err != nil {
		t.Error(err)
	}
	exec(t, conn, "COMMIT")
	if err := s.Reject(t.Context(), many[:1]); err != nil {
		t.Error(err)
	}
	if got, err := s.Rejected(t.Context(), 2*len(many)); err != nil || len(got) != len(many) || got[len(got)-1].Source != "twilio" {
		t.Errorf("%d are remembered, %v", len(got), err)
	}
	if err := <-saved; err != nil {
		t.Error(err)
	}
}
