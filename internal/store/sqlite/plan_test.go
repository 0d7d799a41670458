package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"lyftr/internal/message"
)

// recorder is a connector that notes the queries of its connections.
type recorder struct {
	driver.Connector
	mu      sync.Mutex
	queries []recorded
}

type recorded struct {
	query string
	args  []any
}

func (r *recorder) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := r.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &recordingConn{Conn: c, recorder: r}, nil
}

type recordingConn struct {
	driver.Conn
	recorder *recorder
}

func (c *recordingConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
}

func (c *recordingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q := recorded{query: query}
	for _, a := range args {
		q.args = append(q.args, a.Value)
	}
	c.recorder.mu.Lock()
	c.recorder.queries = append(c.recorder.queries, q)
	c.recorder.mu.Unlock()
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

// plans returns the query plans, one string each, of what f has the readers do.
func plans(t *testing.T, s *Store, f func()) []string {
	t.Helper()
	own := s.readDB
	r := &recorder{Connector: connector{driver: own.Driver().(*sqlite.Driver), dsn: readerDSN(s.path)}}
	s.readDB = sql.OpenDB(r)
	defer func() {
		if err := s.readDB.Close(); err != nil {
			t.Error(err)
		}
		s.readDB = own
	}()
	f()
	var plans []string
	for _, q := range r.queries {
		var steps []string
		for _, row := range rows(t, own, "EXPLAIN QUERY PLAN "+q.query, q.args...) {
			steps = append(steps, strings.Trim(row[3], `"`))
		}
		plans = append(plans, strings.Join(steps, "\n"))
	}
	return plans
}

func wantPlan(t *testing.T, what, plan string, with []string, without ...string) {
	t.Helper()
	for _, w := range with {
		if !strings.Contains(plan, w) {
			t.Errorf("plan of %s: %q is not in\n%s", what, w, plan)
		}
	}
	for _, w := range without {
		if strings.Contains(plan, w) {
			t.Errorf("plan of %s: %q is in\n%s", what, w, plan)
		}
	}
}

// The words of a plan that sorts all rows, or reads them all.
const (
	fullSort  = "USE TEMP B-TREE FOR ORDER BY"
	tableScan = "SCAN messages\n"
)

// TestReadPlans: which index serves which read. The plans are those of the
// statements that the store runs.
func TestReadPlans(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	for i := range 5 { // what the planner does with rows; it has no statistics
		m := messages(fmt.Sprint(i), fmt.Sprint(i, "b"), fmt.Sprint(i, "c"))
		for j := range m {
			m[j].From = fmt.Sprintf("+%d", 1+j)
			m[j].At = m[j].At.Add(time.Duration(i) * time.Minute)
		}
		if _, err := s.Save(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	shut()
	s, _ = open(t, path, Options{})
	now := time.Date(2025, 1, 15, 10, 1, 0, 500, time.UTC)

	lists := []struct {
		name    string
		query   message.Query
		with    []string
		without []string
	}{
		{"no filter", message.Query{}, []string{"SCAN messages USING INDEX messages_by_time"}, []string{"TEMP B-TREE"}},
		{"since", message.Query{Filter: message.Filter{Since: now}}, []string{"SEARCH messages USING INDEX messages_by_time ((ts_unix,ts_nanos)>(?,?))"}, []string{"TEMP B-TREE"}},
		{"until", message.Query{Filter: message.Filter{Until: now.Add(time.Hour)}}, []string{"SEARCH messages USING INDEX messages_by_time ((ts_unix,ts_nanos)<(?,?))"}, []string{"TEMP B-TREE"}},
		{"from", message.Query{Filter: message.Filter{From: "+1"}}, []string{"SEARCH messages USING INDEX messages_by_sender (from_msisdn=?)"}, []string{fullSort}},
		{"from and since", message.Query{Filter: message.Filter{From: "+1", Since: now}}, []string{"SEARCH messages USING INDEX messages_by_sender (from_msisdn=? AND (ts_unix,ts_nanos)>(?,?))"}, []string{fullSort}},
	}
	for _, tt := range lists {
		for _, order := range []message.Order{message.Ascending, message.Descending} {
			q := tt.query
			q.Limit, q.Order = 1, order
			var page message.Page
			got := plans(t, s, func() {
				var err error
				if page, err = s.List(t.Context(), q); err != nil {
					t.Fatalf("List: %v", err)
				}
			})
			if len(got) != 2 || page.NextCursor == "" {
				t.Fatalf("%s: List ran %d statements and has the cursor %q, want a count, a list and a next page", tt.name, len(got), page.NextCursor)
			}
			what := fmt.Sprintf("the list with %s, %s", tt.name, order)
			wantPlan(t, what, got[1], tt.with, tt.without...)

			q.Cursor = page.NextCursor
			got = plans(t, s, func() {
				if _, err := s.List(t.Context(), q); err != nil {
					t.Fatalf("List: %v", err)
				}
			})
			index := "messages_by_time"
			if q.From != "" {
				index = "messages_by_sender"
			}
			wantPlan(t, what+", behind a cursor", got[1], []string{"SEARCH messages USING INDEX " + index}, fullSort)
		}
	}

	for source, want := range map[string]string{
		"":                   "SEARCH messages USING INDEX messages_identity (message_id=?)",
		message.SourceNative: "SEARCH messages USING INDEX messages_identity (message_id=? AND source=?)",
	} {
		got := plans(t, s, func() {
			if _, err := s.Get(t.Context(), source, "1"); err != nil {
				t.Fatalf("Get: %v", err)
			}
		})
		wantPlan(t, "Get", got[0], []string{want}, "TEMP B-TREE")
	}

	got := plans(t, s, func() {
		if _, err := s.Stats(t.Context(), message.Filter{}); err != nil {
			t.Fatalf("Stats: %v", err)
		}
	})
	if len(got) != 3 {
		t.Fatalf("Stats ran %d statements, want the senders, the first and the last", len(got))
	}
	wantPlan(t, "the senders", got[0], []string{"SCAN messages USING COVERING INDEX messages_by_sender"}, tableScan)
	wantPlan(t, "the first timestamp", got[1], []string{"USING INDEX messages_by_time"}, "TEMP B-TREE")
	wantPlan(t, "the last timestamp", got[2], []string{"USING INDEX messages_by_time"}, "TEMP B-TREE")

	got = plans(t, s, func() {
		if _, err := s.Timeline(t.Context(), message.Filter{Since: now, Until: now.Add(time.Hour)}, message.Minute); err != nil {
			t.Fatalf("Timeline: %v", err)
		}
	})
	wantPlan(t, "the timeline", got[0], []string{"COVERING INDEX messages_by_time ((ts_unix,ts_nanos)>(?,?) AND (ts_unix,ts_nanos)<(?,?))"})
}

// TestWritePlans: the index messages_identity finds the conflict and the row.
func TestWritePlans(t *testing.T) {
	path := newPath(t)
	_, shut := open(t, path, Options{})
	shut()
	db := plain(t, path)
	args := []any{nil, "id", "+1", "+2", "ts", nil, "now", "native", 0, 0}
	find := rows(t, db, "EXPLAIN QUERY PLAN "+findSQL, "id", "native")
	wantPlan(t, "find", fmt.Sprint(find), []string{"SEARCH messages USING INDEX messages_identity (message_id=? AND source=?)"})

	// There is no plan of an insert; its program tells. NoConflict looks an
	// entry up before anything is written.
	root := one(t, db, "SELECT rootpage FROM sqlite_schema WHERE name = 'messages_identity'")
	program := rows(t, db, "EXPLAIN "+insertSQL, args...) // addr, opcode, p1, p2, p3, …
	var cursor string
	for _, step := range program {
		if step[1] == `"OpenWrite"` && step[3] == root {
			cursor = step[2]
		}
	}
	if !slices.ContainsFunc(program, func(step []string) bool { return step[1] == `"NoConflict"` && step[2] == cursor }) {
		t.Errorf("the insert does not look the conflict up in messages_identity (root page %s): %v", root, program)
	}
	mustExec(t, db, "DROP INDEX messages_identity")
	if _, err := db.ExecContext(t.Context(), insertSQL, args...); err == nil {
		t.Error("the insert has a conflict target without messages_identity too")
	}
}
