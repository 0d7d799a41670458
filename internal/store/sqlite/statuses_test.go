package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
)

// statusesOf returns one status of each word, of a message.
func statusesOf(id string, words ...string) []message.Status {
	var list []message.Status
	for _, word := range words {
		list = append(list, message.Status{
			Source: message.SourceNative, ID: id, Status: word, Recipient: "+1", At: time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC),
		})
	}
	return list
}

func saveStatuses(t *testing.T, s *Store, statuses ...message.Status) {
	t.Helper()
	if _, err := s.Save(t.Context(), nil, statuses); err != nil {
		t.Fatal(err)
	}
}

// storedStatuses are IDs and words, in order.
func storedStatuses(t *testing.T, s *Store) (list []string) {
	t.Helper()
	err := s.WalkStatuses(t.Context(), func(m message.Status) error {
		list = append(list, m.ID+" "+m.Status)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestMigrateFromSchema2: messages of the schema before there were statuses stay
// as they are, and the new ones have what those cannot.
func TestMigrateFromSchema2(t *testing.T) {
	path := newPath(t)
	db := plain(t, path)
	for _, name := range []string{firstSchema, "00002_segments.sql"} {
		schema, err := schemaFiles.ReadFile("schema/" + name)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, string(schema))
		if name == firstSchema {
			mustExec(t, db, adoptSQL, "old", "+1", "+2", "2025-01-15T10:00:00Z", "text", "2025-01-15T10:00:00.000Z", "native", 1736935200, 0)
		}
	}
	mustExec(t, db, "CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))")
	mustExec(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1), (2, 1)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s, _ := open(t, path, Options{})
	wantEqual(t, "IDs", []string{"old"}, listedIDs(t, s))
	old, err := s.Get(t.Context(), "", "old")
	if err != nil || old.Raw != nil || *old.Text != "text" || !old.ReceivedAt.Equal(old.At) {
		t.Errorf("the old message is %+v, %v", old, err)
	}
	again := old
	again.Raw = []byte("{}")
	m := messages("new")
	m[0].Raw = []byte(`{"a":1}`)
	o, err := s.Save(t.Context(), append(m, again), statusesOf("old", "read"))
	wantOutcomes(t, "the new one, the old one and its status", saved{o, err}, message.Outcome{}, message.Outcome{Duplicate: true}, message.Outcome{})
	wantEqual(t, "raw JSON", [][]string{{`"old"`, "NULL"}, {`"new"`, fmt.Sprintf("x'%x'", `{"a":1}`)}}, rows(t, s.readDB, "SELECT message_id, raw FROM messages ORDER BY id"))
	wantEqual(t, "statuses", []string{"old read"}, storedStatuses(t, s))
}

// commitTogether commits all calls in one transaction.
func commitTogether(t *testing.T, s *Store, calls ...*groupcommit.Call) {
	t.Helper()
	s.queue.Close()
	defer func() { s.queue = groupcommit.New(s.writer, groupcommit.Options{}) }()
	if err := s.writer.Commit(t.Context(), calls); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// TestStatusFailsAlone: a status that is refused for its own reason takes the
// messages and statuses of its call along, and nothing of those that share the
// commit; neither is half of a call there after a message was refused.
func TestStatusFailsAlone(t *testing.T) {
	path := refusing(t)
	db := plain(t, path)
	mustExec(t, db, `CREATE TRIGGER refuse_status BEFORE INSERT ON statuses WHEN NEW.status GLOB 'bad*'
		BEGIN SELECT RAISE(ABORT, 'this row is refused'); END`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, shut := open(t, path, Options{})
	calls := []*groupcommit.Call{
		{Messages: messages("a"), Statuses: statusesOf("a", "sent")},
		{Messages: messages("b"), Statuses: statusesOf("b", "sent", "bad", "read")},
		{Messages: messages("c", "bad"), Statuses: statusesOf("c", "sent")},
		{Statuses: statusesOf("d", "bad alone")},
		{Statuses: append(statusesOf("a", "sent", "read"), statusesOf("b", "read")...)},
		{Messages: messages("c", "a")},
	}
	commitTogether(t, s, calls...)
	created, duplicate := message.Outcome{}, message.Outcome{Duplicate: true}
	for i, want := range map[int][]message.Outcome{0: {created, created}, 4: {duplicate, created, created}, 5: {created, duplicate}} {
		wantOutcomes(t, fmt.Sprint("call ", i), saved{calls[i].Outcomes, calls[i].Err}, want...)
	}
	for _, i := range []int{1, 2, 3} {
		wantOwnFailure(t, fmt.Sprint("call ", i), saved{calls[i].Outcomes, calls[i].Err})
	}
	for range 2 {
		wantEqual(t, "IDs", []string{"a", "c"}, listedIDs(t, s))
		wantEqual(t, "statuses", []string{"a read", "a sent", "b read"}, storedStatuses(t, s))
		wantEqual(t, "Status().Messages", 2, s.Status().Messages)
		shut()
		s, shut = open(t, path, Options{})
	}
}

// TestStatusesAreNoProbe: a call with statuses alone writes them and nothing
// else, which proves that the database can be written.
func TestStatusesAreNoProbe(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	changed := s.Changed()
	saveStatuses(t, s, statusesOf("a", "sent")...)
	wantEqual(t, "probe", "x''", one(t, s.readDB, "SELECT value FROM meta WHERE key = 'probe'"))
	s.health.mu.Lock()
	if s.health.lastOK.IsZero() {
		t.Error("a commit of a status does not count as one")
	}
	s.health.mu.Unlock()
	select {
	case <-changed:
		t.Error("a status woke those who wait for messages")
	default:
	}
	if _, err := s.Save(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	if one(t, s.readDB, "SELECT value FROM meta WHERE key = 'probe'") == "x''" {
		t.Error("a call that holds nothing did not probe")
	}
}

// TestStatusesAreLookedFor: a message that is removed takes its statuses along
// whether they were stored by this process or by an earlier one; without any
// nobody looks for them.
func TestStatusesAreLookedFor(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	saveAll(t, s, from("+8", 0, 1))
	mustErase(t, s, "+8", 1)
	if s.writer.statuses {
		t.Error("statuses are looked for where there never was one")
	}
	saveAll(t, s, from("+9", 0, 3))
	for i := range 3 {
		saveStatuses(t, s, statusesOf(fmt.Sprint("id +9 ", i), "sent", "read")...)
	}
	saveStatuses(t, s, statusesOf("other", "sent")...)
	onWriter(t, s, "UPDATE messages SET from_msisdn = '+7' WHERE message_id = 'id +9 1'")
	mustErase(t, s, "+7", 1)
	left := []string{"id +9 0 read", "id +9 0 sent", "id +9 2 read", "id +9 2 sent", "other sent"}
	wantEqual(t, "statuses", left, storedStatuses(t, s))
	shut()

	s, _ = open(t, path, Options{})
	// One transaction: with the message it stays.
	onWriter(t, s, "CREATE TEMP TRIGGER fail BEFORE UPDATE ON main.counters BEGIN SELECT RAISE(ABORT, 'as the test wants'); END")
	if n, err := s.Erase(t.Context(), "+9"); n != 0 || !errors.Is(err, message.ErrUnavailable) {
		t.Fatalf("Erase: %d, %v, want ErrUnavailable", n, err)
	}
	wantEqual(t, "statuses", left, storedStatuses(t, s))
	onWriter(t, s, "DROP TRIGGER fail")
	mustErase(t, s, "+9", 2)
	wantEqual(t, "statuses", []string{"other sent"}, storedStatuses(t, s))
}

// TestStatusIDGivenOutAgain: what has the id of a status that was to be removed,
// and is another by now, stays.
func TestStatusIDGivenOutAgain(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	saveStatuses(t, s, statusesOf("a", "sent", "read")...)
	for query, what := range map[string]string{eraseStatusSQL: "+9", expireStatusSQL: "2020-01-01T00:00:00.000Z"} {
		if err := s.removeStatuses(t.Context(), []int64{1, 2, 3}, query, what); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "statuses", []string{"a read", "a sent"}, storedStatuses(t, s))
	}
}

// TestErasedStatusesAreCounted: each step that keeps an identity counts, in its
// transaction, and no other.
func TestErasedStatusesAreCounted(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	saveAll(t, s, from("+1", 0, 1))
	saveStatuses(t, s, statusesOf("id +1 0", "sent")...)
	saveStatuses(t, s, statusesOf("a", "sent", "read")...)
	onWriter(t, s, "UPDATE statuses SET recipient = '+9' WHERE status = 'sent'")
	wantKept := func(identities, deletions int) {
		t.Helper()
		wantEqual(t, "identities", fmt.Sprint(identities), one(t, s.readDB, "SELECT count(*) FROM removed"))
		wantEqual(t, "deletions in memory", int64(deletions), s.deletions.Load())
		wantEqual(t, "counters", [][]string{{`"deletions"`, fmt.Sprint(deletions)}, {`"last_id"`, "0"}, {`"removed"`, "0"}},
			rows(t, s.readDB, "SELECT name, value FROM counters ORDER BY name"))
	}
	for _, what := range []string{"DELETE ON main.statuses", "INSERT ON main.removed", "UPDATE ON main.counters"} {
		onWriter(t, s, "CREATE TEMP TRIGGER fail BEFORE "+what+" BEGIN SELECT RAISE(ABORT, 'as the test wants'); END")
		if _, err := s.Erase(t.Context(), "+9"); !errors.Is(err, message.ErrUnavailable) {
			t.Fatalf("Erase without %s: %v, want ErrUnavailable", what, err)
		}
		onWriter(t, s, "DROP TRIGGER fail")
		wantEqual(t, "statuses", []string{"a read", "a sent", "id +1 0 sent"}, storedStatuses(t, s))
		wantKept(0, 0)
	}
	mustErase(t, s, "+9", 0)
	wantEqual(t, "statuses", []string{"a read"}, storedStatuses(t, s))
	wantKept(1, 1)
	// Nothing new is kept of one that is known, or that is stored.
	saveStatuses(t, s, statusesOf("id +1 0", "read")...)
	onWriter(t, s, "UPDATE statuses SET recipient = '+9'")
	mustErase(t, s, "+9", 0)
	wantEqual(t, "statuses", nil, storedStatuses(t, s))
	wantKept(1, 1)

	var many []message.Status
	for i := range removeStepRows + 1 {
		many = append(many, statusesOf(fmt.Sprint("many ", i), "sent")...)
	}
	saveStatuses(t, s, many...)
	mustErase(t, s, many[0].Recipient, 1)
	if n := s.deletions.Load(); n < 4 { // one of them of the message
		t.Errorf("%d deletions, want 4 or more", n)
	}
	wantEqual(t, "deletions in memory", one(t, s.readDB, "SELECT value FROM counters WHERE name = 'deletions'"), fmt.Sprint(s.deletions.Load()))
}

// TestEraseStatusesOfOne: the search goes from the lowest id to the highest,
// wherever they are.
func TestEraseStatusesOfOne(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	saveStatuses(t, s, statusesOf("a", "1", "2", "3", "4", "5", "6", "7")...)
	for i, id := range []int{8, statusIDs + 7, statusIDs + 8, statusIDs + 9, 2*statusIDs + 8, 3 * statusIDs, 5*statusIDs + 8} {
		onWriter(t, s, fmt.Sprintf("UPDATE statuses SET id = %d, recipient = '+%d' WHERE status = '%d'", id, 8+i%2, i+1))
	}
	mustErase(t, s, "+8", 0)
	wantEqual(t, "statuses", []string{"a 2", "a 4", "a 6"}, storedStatuses(t, s))
	mustErase(t, s, "+9", 0)
	wantEqual(t, "statuses", nil, storedStatuses(t, s))
}

// TestStatusPlans: which index serves what is asked of statuses and refused
// deliveries.
func TestStatusPlans(t *testing.T) {
	s, _ := open(t, newPath(t), Options{})
	saveStatuses(t, s, statusesOf("a", "sent", "read")...)
	const byIdentity, byID = "SEARCH statuses USING INDEX statuses_identity (", "SEARCH statuses USING INTEGER PRIMARY KEY ("
	for _, tt := range []struct {
		what  string
		run   func(context.Context) error
		plans [][]string
	}{
		{"Statuses", func(ctx context.Context) error { _, err := s.Statuses(ctx, "native", "a"); return err },
			[][]string{{byIdentity + "message_id=? AND source=?)"}}},
		{"Statuses of any source", func(ctx context.Context) error { _, err := s.Statuses(ctx, "", "a"); return err },
			[][]string{{byIdentity + "message_id=? AND source=?)", "SEARCH statuses USING COVERING INDEX statuses_identity (message_id=?)"}}},
		{"WalkStatuses", func(ctx context.Context) error {
			return s.WalkStatuses(ctx, func(message.Status) error { return nil })
		}, [][]string{{byIdentity + "(message_id,source,status)>(?,?,?))"}}},
		{"eraseStatuses", func(ctx context.Context) error { return s.eraseStatuses(ctx, "+9") },
			[][]string{{"SEARCH statuses"}, {byID + "rowid>? AND rowid<?)"}}},
		{"expireStatuses", func(ctx context.Context) error { return s.expireStatuses(ctx, time.Unix(0, 0)) },
			[][]string{{"SEARCH statuses USING COVERING INDEX statuses_by_arrival (created_at<?)"}}},
		{"Rejected", func(ctx context.Context) error { _, err := s.Rejected(ctx, 10); return err }, [][]string{{"SCAN rejected"}}},
	} {
		got := plans(t, s, func() {
			if err := tt.run(t.Context()); err != nil {
				t.Fatalf("%s: %v", tt.what, err)
			}
		})
		if len(got) != len(tt.plans) {
			t.Fatalf("%s takes %d statements: %q", tt.what, len(got), got)
		}
		for i, plan := range got {
			wantPlan(t, tt.what, plan, tt.plans[i], "SCAN statuses")
			if sorts := strings.Contains(plan, "TEMP B-TREE"); sorts != strings.HasPrefix(tt.what, "Statuses") { // of one message, a few
				t.Errorf("%s: sorts %v by\n%s", tt.what, sorts, plan)
			}
		}
	}
	for query, want := range map[string]string{removeStatusesSQL: byIdentity + "message_id=? AND source=?)", eraseStatusSQL: byID + "rowid=?)", expireStatusSQL: byID + "rowid=?)"} {
		wantPlan(t, query, fmt.Sprint(rows(t, s.readDB, "EXPLAIN QUERY PLAN "+query, "a", "b")), []string{want}, "SCAN")
	}
	wantPlan(t, keepUnlessStoredSQL, fmt.Sprint(rows(t, s.readDB, "EXPLAIN QUERY PLAN "+keepUnlessStoredSQL, "a", "b", "c")),
		[]string{"SEARCH messages USING COVERING INDEX messages_identity (message_id=? AND source=?)"}, "SCAN messages")
	trim := "EXPLAIN QUERY PLAN DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - 1000"
	wantPlan(t, "the trim", fmt.Sprint(rows(t, s.readDB, trim)), []string{"SEARCH rejected USING INTEGER PRIMARY KEY (rowid<?)"}, "SCAN")
}
