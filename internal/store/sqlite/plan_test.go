package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"lyftr/internal/message"
	"lyftr/internal/store/segment"
	"lyftr/internal/store/storetest"
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

func (c *recordingConn) Prepare(query string) (driver.Stmt, error) {
	st, err := c.Conn.Prepare(query)
	if err == nil {
		q := recorded{query: query, args: make([]any, strings.Count(query, "?"))} // what they are does not matter
		c.recorder.mu.Lock()
		c.recorder.queries = append(c.recorder.queries, q)
		c.recorder.mu.Unlock()
	}
	return st, err
}

// plans returns the query plans, one string each, of what f has the readers do.
func plans(t *testing.T, s *Store, f func()) []string {
	t.Helper()
	s.indexer.close() // it reads too
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

// wantNoScan: a plan may go through the tables that are small whatever is
// stored, along the list order up to a LIMIT, and along the names of senders,
// which breaks ties. Everything else has to be a search, and no messages are
// sorted by the database.
func wantNoScan(t *testing.T, what, plan string) {
	t.Helper()
	for step := range strings.SplitSeq(plan, "\n") {
		switch {
		case !strings.HasPrefix(step, "SCAN "),
			step == "SCAN segments", step == "SCAN holes", step == "SCAN chunk_sources",
			step == "SCAN wanted VIRTUAL TABLE INDEX 1:", step == "SCAN json_each VIRTUAL TABLE INDEX 1:", // the ids that were asked for
			step == "SCAN CONSTANT ROW",
			step == "SCAN messages USING INDEX messages_by_time", step == "SCAN messages USING COVERING INDEX messages_by_time",
			step == "SCAN phones USING INDEX sqlite_autoindex_phones_1", step == "SCAN phones USING COVERING INDEX sqlite_autoindex_phones_1":
		default:
			t.Errorf("%s: %q in\n%s", what, step, plan)
		}
	}
	if strings.Contains(plan, "messages") && strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("%s: messages are sorted by\n%s", what, plan)
	}
}

// TestReadPlans: which index serves which read. The plans are those of the
// statements that the store runs, of messages most of which are in segments.
func TestReadPlans(t *testing.T) {
	m := storetest.NewMany(8)
	s, _ := open(t, newPath(t), patient)
	m.Save(t, s, 2*segment.ChunkSize)
	m.ExpireSome(t, s, 0.05)
	m.Save(t, s, segment.ChunkSize+300)
	indexed(t, s)
	m.ExpireSome(t, s, 0.05)
	if sizes(s) == nil || len(holes(t, s)) == 0 {
		t.Fatal("there are no segments, or none with holes")
	}
	st, err := s.Stats(t.Context(), message.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	middle, err := s.List(t.Context(), message.Query{Offset: st.Total / 2, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	since := middle.Messages[0].At
	filters := map[string]message.Filter{}
	for mask := range 32 {
		var name []string
		f := message.Filter{}
		for i, set := range []func() string{
			func() string { f.Since = since; return "since" },
			func() string { f.Until = since.Add(10 * time.Minute); return "until" },
			func() string { f.From = st.Top[0].From; return "from" },
			func() string { f.To = "+7"; return "to" },
			func() string { f.Text = "hell"; return "q" },
		} {
			if mask>>i&1 == 1 {
				name = append(name, set())
			}
		}
		filters[strings.Join(name, ", ")] = f
		if mask%7 == 0 {
			f.Source = message.SourceNative
			filters[strings.Join(append(name, "source"), ", ")] = f
		}
	}
	for name, f := range filters {
		byTime := f.From == "" && f.To == "" && f.Text == ""
		check := func(what string, run func() error) {
			t.Helper()
			got := plans(t, s, func() {
				if err := run(); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			})
			if len(got) == 0 {
				t.Fatalf("%s: no statement was seen", what)
			}
			for _, plan := range got {
				wantNoScan(t, what, plan)
				if !byTime && strings.Contains(plan, "messages_by_time") {
					t.Errorf("%s: few match, and the list is walked along by\n%s", what, plan)
				}
			}
		}
		for _, order := range []message.Order{message.Ascending, message.Descending} {
			for _, offset := range []int64{0, fewOffset + 1} {
				q := message.Query{Filter: f, Order: order, Limit: 2, Offset: offset}
				what := fmt.Sprintf("the list with %s, %s, offset %d", name, order, offset)
				var page message.Page
				list := func() (err error) { page, err = s.List(t.Context(), q); return err }
				check(what, list)
				if q.Cursor = page.NextCursor; q.Cursor != "" {
					check(what+", behind a cursor", list)
				} else if offset == 0 {
					t.Errorf("%s: there is no next page", what)
				}
			}
		}
		check("walking with "+name, func() error {
			return s.Walk(t.Context(), f, message.Ascending, func(message.Message) error { return nil })
		})
		check("the stats with "+name, func() error { _, err := s.Stats(t.Context(), f); return err })
		for _, bucket := range []message.Bucket{message.Minute, message.Day} {
			check("the timeline with "+name, func() error {
				if _, err := s.Timeline(t.Context(), f, bucket); !errors.Is(err, message.ErrTooManyBuckets) {
					return err
				}
				return nil
			})
		}
	}

	// Which index walks along the list.
	for _, tt := range []struct {
		filter message.Filter
		want   string
	}{
		{message.Filter{}, "SCAN messages USING INDEX messages_by_time"},
		{message.Filter{Since: since}, "SEARCH messages USING INDEX messages_by_time ((ts_unix,ts_nanos)>(?,?))"},
		{message.Filter{Until: since}, "SEARCH messages USING INDEX messages_by_time ((ts_unix,ts_nanos)<(?,?))"},
	} {
		for _, order := range []message.Order{message.Ascending, message.Descending} {
			got := plans(t, s, func() {
				if _, err := s.List(t.Context(), message.Query{Filter: tt.filter, Order: order, Limit: 1}); err != nil {
					t.Fatal(err)
				}
			})
			wantPlan(t, fmt.Sprintf("the list with %+v, %s", tt.filter, order), got[len(got)-1], []string{tt.want}, "TEMP B-TREE")
		}
	}
	near := plans(t, s, func() {
		q := message.Query{Filter: message.Filter{Text: "e"}, Order: message.Descending, Limit: 20, NoTotal: true}
		if _, err := s.List(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	})
	wantPlan(t, "how far to look", near[len(near)-2], []string{"SCAN messages USING COVERING INDEX messages_by_time"}, "TEMP B-TREE")
	wantPlan(t, "a list that is near", near[len(near)-1],
		[]string{"SEARCH messages USING INDEX messages_by_time ((ts_unix,ts_nanos,message_id,source)>(?,?,?,?))"}, "TEMP B-TREE")
	for source, want := range map[string]string{
		"":                   "SEARCH messages USING INDEX messages_identity (message_id=?)",
		message.SourceNative: "SEARCH messages USING INDEX messages_identity (message_id=? AND source=?)",
	} {
		got := plans(t, s, func() {
			if _, err := s.Get(t.Context(), source, "1"); err != nil && !errors.Is(err, message.ErrNotFound) {
				t.Fatalf("Get: %v", err)
			}
		})
		wantPlan(t, "Get", got[0], []string{want}, "TEMP B-TREE", "SCAN")
	}
}

// TestWritePlans: the index messages_identity finds the conflict and the row.
func TestWritePlans(t *testing.T) {
	path := newPath(t)
	_, shut := open(t, path, Options{})
	shut()
	db := plain(t, path)
	args := []any{nil, "id", "+1", "+2", "ts", nil, "now", "native", 0, 0, nil}
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
