package postgres

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"lyftr/internal/message"
	"lyftr/internal/store/pgserver"
)

// allRunes are all characters that a text may have.
func allRunes() (runes []rune) {
	for r := rune(1); r <= utf8.MaxRune; r++ {
		if utf8.ValidRune(r) {
			runes = append(runes, r)
		}
	}
	return runes
}

// TestSearchForm: two characters have the same search form exactly if they have
// the same fold.
func TestSearchForm(t *testing.T) {
	forms, folds := map[string]string{}, map[string]string{}
	for _, r := range allRunes() {
		fold, form := message.Fold(string(r)), searchForm(string(r))
		if known, ok := forms[fold]; ok && known != form {
			t.Fatalf("%U: search form %q, of another character with its fold %q", r, form, known)
		}
		if known, ok := folds[form]; ok && known != fold {
			t.Fatalf("%U: fold %q, of another character with its search form %q", r, fold, known)
		}
		forms[fold], folds[form] = form, fold
	}
}

// collations are those of databases that differ in how they order and lower.
func collations() map[string]string {
	return map[string]string{
		"C":     "TEMPLATE template0 LOCALE 'C'",
		"C.UTF": "TEMPLATE template0 LOCALE 'C.UTF-8'",
		"tr-TR": "TEMPLATE template0 LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR'",
		"en-US": "TEMPLATE template0 LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
	}
}

// TestCollations: order and search are the same whatever the database's
// collation, with the index and without.
func TestCollations(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	letters := []rune("aAbBzZ09 iIİıſsSßẞσςΣkKKÅåéÉeE\u0301ÖöǅǆѠѡ%_\\'\"😀中あЖж\u00a0ﬃﬀAa")
	word := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteRune(letters[random.IntN(len(letters))])
		}
		return b.String()
	}
	var messages []message.Message
	for i := range 400 {
		m := newMessage(word(6) + fmt.Sprint(i))
		m.Text = ptr(word(random.IntN(40)))
		if i%10 == 0 {
			m.Text = nil
		}
		messages = append(messages, m)
	}
	var needles []string
	for range 80 {
		text := []rune(word(30))
		if m := messages[random.IntN(len(messages))]; m.Text != nil && *m.Text != "" {
			text = []rune(*m.Text)
		}
		from := random.IntN(len(text))
		needle := string(text[from : from+1+random.IntN(min(6, len(text)-from))])
		if random.IntN(2) == 0 {
			needle = strings.ToUpper(needle)
		}
		needles = append(needles, needle)
	}
	inOrder := func(needle string) []string {
		ids := []string{}
		for _, m := range messages {
			if needle == "" || m.Text != nil && message.ContainsFold(*m.Text, message.Fold(needle)) {
				ids = append(ids, m.ID)
			}
		}
		slices.Sort(ids) // all have one time: the order is that of the bytes
		return ids
	}
	for name, clause := range collations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := sharedServer(t)
			url := server.NewDatabaseLike(t, clause)
			s := openStore(t, url, Options{})
			saveMessages(t, s, messages...)
			if n := server.Value(t, url, "SELECT count(*) FROM pg_indexes WHERE indexname = 'messages_search'"); n != "1" {
				t.Fatal("there is no index for searching")
			}
			wantIDs(t, "order", listIDs(t, s), inOrder("")...)
			var forms []string
			for _, r := range allRunes() {
				// A capital I with a dot has no lower case of its own. What it becomes
				// does not depend on its neighbours.
				if r != 'İ' {
					forms = append(forms, searchForm(string(r)))
				}
			}
			// What the index lowers stays as it is, also at the end of a word.
			var changed int
			conn := connection(t, url)
			err := conn.QueryRow(t.Context(), `SELECT count(*) FROM unnest($1::text[]) AS form
				WHERE lower(form COLLATE "default") <> form OR lower(('a' || form || ' b') COLLATE "default") <> 'a' || form || ' b'`, forms).Scan(&changed)
			if err != nil || changed > 0 {
				t.Errorf("%d search forms are not in lower case (%v)", changed, err)
			}
			for how, forced := range map[string]string{
				"with the index":    "-c enable_seqscan=off -c enable_indexscan=off -c enable_indexonlyscan=off",
				"without the index": "-c enable_bitmapscan=off",
			} {
				reader := openStore(t, with(url, "options", forced), Options{ReadOnly: true})
				for _, needle := range needles {
					got := []string{}
					err := reader.Walk(t.Context(), message.Filter{Text: needle}, message.Ascending, func(m message.Message) error {
						got = append(got, m.ID)
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
					wantIDs(t, fmt.Sprintf("%s: texts with %q", how, needle), got, inOrder(needle)...)
				}
			}
		})
	}
}

// TestWithoutExtension: who may not make pg_trgm gets the same answers, and is
// told.
func TestWithoutExtension(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	url := server.NewDatabase(t)
	server.Exec(t, url, `CREATE ROLE modest LOGIN PASSWORD 'modest'; CREATE SCHEMA modest AUTHORIZATION modest;
		REVOKE CREATE ON DATABASE `+databaseName(t, url)+` FROM PUBLIC`)
	log := &logLines{}
	s := openStore(t, as(t, url, "modest", "modest"), Options{Logger: log.logger()})
	saveMessages(t, s, newMessages("one", "two")...)
	page, err := s.List(t.Context(), message.Query{Limit: 10, Filter: message.Filter{Text: "OF ONE"}})
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "found", idsOf(page.Messages), "one")
	if !strings.Contains(log.String(), "without pg_trgm a search reads every text") {
		t.Errorf("nobody was told: %s", log.String())
	}
	// Once the administrator has made it, wherever, the next start uses it; what
	// an interrupted attempt left is made anew.
	server.Exec(t, url, `CREATE SCHEMA other; CREATE EXTENSION pg_trgm SCHEMA other; GRANT USAGE ON SCHEMA other TO modest;
		CREATE INDEX messages_search ON modest.messages (folded); ALTER INDEX modest.messages_search OWNER TO modest;
		UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'modest.messages_search'::regclass`)
	openStore(t, as(t, url, "modest", "modest"), Options{})
	definition := server.Value(t, url, "SELECT indexdef FROM pg_indexes WHERE indexname = 'messages_search'")
	if !strings.Contains(definition, "gin (folded other.gin_trgm_ops)") {
		t.Errorf("index %q", definition)
	}
}

// explain returns the plan of the query of a batch.
func explain(t *testing.T, conn *pgx.Conn, q *pgx.QueuedQuery) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), "EXPLAIN "+q.SQL, q.Arguments...)
	if err != nil {
		t.Fatalf("%s: %v", q.SQL, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", q.SQL, err)
	}
	return strings.Join(lines, "\n")
}

// TestPlans: the questions that are asked often are served by the indexes that
// are there for them.
func TestPlans(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	url := server.NewDatabase(t)
	openStore(t, url, Options{})
	server.Exec(t, url, `INSERT INTO messages SELECT i, 1, 'id' || i, '+1' || i % 5000, '+2' || i % 300, 'ts', 'text', now(), CASE WHEN i % 10 = 0 THEN 'whatsapp' ELSE 'native' END, 1700000000 + i * 60, 0,
		'some words ' || md5(i::text) FROM generate_series(1, 50000) AS i`)
	server.Exec(t, url, `INSERT INTO statuses SELECT 'whatsapp', 'id' || i / 3, 'status' || i % 3, '+2' || i % 300, now(), '2025-01-01'::timestamptz + i * '1 second'::interval
		FROM generate_series(1, 50000) AS i`)
	server.Exec(t, url, "VACUUM ANALYZE messages, statuses")
	conn := connection(t, url)
	exec(t, conn, "SET plan_cache_mode = force_custom_plan")
	at := epoch()
	queue := func(b *pgx.Batch) func(query string, args []any) {
		return func(query string, args []any) { b.Queue(query, args...) }
	}
	key := &statusKey{"id7", "whatsapp", "x"}
	places := []any{[]int64{7, 8}, []int32{1, 1}, [][]byte{{7}, {8}}}
	var n int64
	var messages []message.Message
	for _, tt := range []struct {
		name, index string
		queue       func(b *pgx.Batch)
	}{
		{"a page", "messages_by_time", func(b *pgx.Batch) { page(b, &messages, message.Filter{}, message.Descending, nil, 51, 0) }},
		{"a page behind a cursor", "messages_by_time", func(b *pgx.Batch) {
			page(b, &messages, message.Filter{}, message.Ascending, &message.Position{At: at, ID: "x", Source: "native"}, 51, 0)
		}},
		{"a page of an hour", "messages_by_time", func(b *pgx.Batch) {
			page(b, &messages, message.Filter{Since: at, Until: at.Add(3600e9)}, message.Ascending, nil, 51, 0)
		}},
		{"a page of a sender", "messages_by_sender", func(b *pgx.Batch) { page(b, &messages, message.Filter{From: "+17"}, message.Ascending, nil, 51, 0) }},
		{"a page of a recipient", "messages_by_recipient", func(b *pgx.Batch) { page(b, &messages, message.Filter{To: "+27"}, message.Ascending, nil, 51, 0) }},
		{"a page of a source", "messages_by_source", func(b *pgx.Batch) {
			page(b, &messages, message.Filter{Source: "whatsapp"}, message.Descending, nil, 51, 0)
		}},
		{"the count of a source", "messages_by_source", func(b *pgx.Batch) { count(b, &n, message.Filter{Source: "whatsapp"}) }},
		{"the count of what is not native", "messages_by_source", func(b *pgx.Batch) {
			c := others(message.Filter{})
			b.Queue("SELECT count(*) FROM messages"+c.where(), c.args...)
		}},
		{"a page of native ones", "messages_by_time", func(b *pgx.Batch) {
			page(b, &messages, message.Filter{Source: message.SourceNative}, message.Descending, nil, 51, 0)
		}},
		{"the count of a sender", "messages_by_sender", func(b *pgx.Batch) { count(b, &n, message.Filter{From: "+17"}) }},
		{"the count of a rare text", "messages_search", func(b *pgx.Batch) { count(b, &n, message.Filter{Text: "c4ca4238a0b9"}) }},
		{"a page of a rare text", "messages_search", func(b *pgx.Batch) {
			page(b, &messages, message.Filter{Text: "c4ca4238a0b9"}, message.Ascending, nil, 51, 0)
		}},
		{"the feed", "messages_pkey", func(b *pgx.Batch) {
			(&feedReader{store: &Store{}}).queue(b, &message.FeedPage{}, &position{}, nil, position{tx: 49_000}, 100, everything)
		}},
		{"what is not summed up", "messages_pkey", func(b *pgx.Batch) {
			c := inHours(0, allHours, 49_900)
			b.Queue("SELECT count(*) FROM messages"+c.where(), c.args...)
		}},
		{"a page of a walk", "messages_by_time", func(b *pgx.Batch) { walked(b, &messages, message.Filter{}, message.Descending, nil) }},
		{"statuses", "statuses_identity", func(b *pgx.Batch) { queue(b)(statusesOf("whatsapp", "id7")) }},
		{"statuses of any source", "statuses_identity", func(b *pgx.Batch) { queue(b)(statusesOf("", "id7")) }},
		{"a page of all statuses", "statuses_identity", func(b *pgx.Batch) { queue(b)(statusPage(key)) }},
		{"a page of an erasure", "statuses_identity", func(b *pgx.Batch) { queue(b)(scanStatuses("+27", key)) }},
		{"statuses that expired", "statuses_by_arrival", func(b *pgx.Batch) {
			b.Queue(arrivedStatusesSQL, at, at.AddDate(-1, 0, 1), "x", "whatsapp", "sent", removeStep)
		}},
		{"statuses to remove", "statuses_identity", func(b *pgx.Batch) {
			b.Queue(removeOfRecipientSQL, []string{"id7", "id8"}, []string{"whatsapp", "twilio"}, []string{"sent", "read"}, [][]byte{{1}, {2}}, "+27")
		}},
		{"whether a removed status is of a message", "messages_identity", func(b *pgx.Batch) {
			b.Queue(removeOfRecipientSQL, []string{"id7", "id8"}, []string{"whatsapp", "twilio"}, []string{"sent", "read"}, [][]byte{{1}, {2}}, "+27")
		}},
		{"statuses of what is removed", "statuses_identity", func(b *pgx.Batch) { b.Queue(removeSQL, places...) }},
	} {
		b := &pgx.Batch{}
		tt.queue(b)
		plan := explain(t, conn, b.QueuedQueries[0])
		// The sums are few rows, and none here.
		if !strings.Contains(plan, tt.index) || strings.Contains(plan, "Seq Scan on messages") || strings.Contains(plan, "Seq Scan on statuses") {
			t.Errorf("%s is not served by %s:\n%s", tt.name, tt.index, plan)
		}
	}
}

// TestExtensionOutOfReach: an index for searching that cannot be made keeps no
// store from being opened.
func TestExtensionOutOfReach(t *testing.T) {
	t.Parallel()
	server := pgserver.Start(t, pgserver.Options{})
	url := server.NewDatabase(t)
	server.Exec(t, url, `CREATE ROLE modest LOGIN PASSWORD 'modest'; CREATE SCHEMA modest AUTHORIZATION modest;
		CREATE SCHEMA other; CREATE EXTENSION pg_trgm SCHEMA other`)
	log := &logLines{}
	s := openStore(t, as(t, url, "modest", "modest"), Options{Logger: log.logger()})
	save(t, s, "one", "two")
	page, err := s.List(t.Context(), message.Query{Limit: 10, Filter: message.Filter{Text: "OF ONE"}})
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, "found", idsOf(page.Messages), "one")
	if !strings.Contains(log.String(), "permission denied for schema other") {
		t.Errorf("nobody was told: %s", log.String())
	}
}
