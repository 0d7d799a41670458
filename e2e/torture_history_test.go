package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lyftr/internal/signature"
	"lyftr/internal/store/pgserver"
)

// TestTortureHistory has clients save and read at the same time, while lyftr is
// killed, stopped and made to wait, and checks what they were told.
func TestTortureHistory(t *testing.T) {
	besideOthers(t)
	t.Run("sqlite", func(t *testing.T) {
		recordHistories(t, "SQLite", func() string { return filepath.Join(t.TempDir(), "app.db") })
	})
	t.Run("postgres", func(t *testing.T) {
		server := pgserver.Start(t, pgserver.Options{})
		recordHistories(t, "PostgreSQL", func() string { return server.NewDatabase(t) })
	})
}

// recorded is what histories hold.
type recorded struct {
	saves, acknowledged, created, repeated, mismatched int
	looks, pages, starts, violations                   int
}

func recordHistories(t *testing.T, kind string, empty func() string) {
	rounds := tortured(1, 20)
	var all recorded
	for r := range rounds {
		one := recordHistory(t, empty(), r)
		t.Logf("history %d: %+v", r+1, one)
		all = recorded{
			all.saves + one.saves, all.acknowledged + one.acknowledged, all.created + one.created, all.repeated + one.repeated,
			all.mismatched + one.mismatched, all.looks + one.looks, all.pages + one.pages, all.starts + one.starts, all.violations + one.violations,
		}
	}
	found(t, "Histories", fmt.Sprintf("%d histories, %s", rounds, kind), fmt.Sprintf(
		"%d saves (%d acknowledged; %d created, %d repeated, %d with other content), %d answers to questions and %d pages of the feed, %d starts: %d violations",
		all.saves, all.acknowledged, all.created, all.repeated, all.mismatched, all.looks, all.pages, all.starts, all.violations))
}

// recorder is the clients of a lyftr that comes and goes, and what they were told.
type recorder struct {
	t      *testing.T
	begin  time.Time
	client *http.Client

	address atomic.Pointer[string]
	next    atomic.Int64 // twice the number of the next new item

	mu sync.Mutex
	history
	requests []string // of the saves, by their place
	strange  []string // answers that should not be
}

// now is the time on the clock of the history.
func (r *recorder) now() time.Duration { return time.Since(r.begin) }

func recordHistory(t *testing.T, database string, round int) recorded {
	const writers, readers, followers = 8, 4, 2
	length := tortured(2*time.Second, 8*time.Second)
	random := rand.New(rand.NewPCG(7, uint64(round)))
	r := &recorder{t: t, begin: time.Now(), client: newClient(t, writers+readers+followers)}
	r.items = map[string]*item{}
	r.follows = make([]follow, followers)
	p := start(t, database)
	all := []*process{p}
	r.address.Store(&p.address)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for i := range writers + readers {
		random := rand.New(rand.NewPCG(uint64(i), uint64(round)))
		act := r.write
		if i >= writers {
			act = r.read
		}
		clients.Go(func() {
			for ctx.Err() == nil {
				act(random)
			}
		})
	}
	positions := make([]string, followers) // positions
	for i := range followers {
		clients.Go(func() {
			for ctx.Err() == nil {
				r.follow(i, &positions[i], 20+80*i)
			}
		})
	}

	// The faults come in an order of their own, each after a while.
	faults := random.Perm(3)
	for f := range tortured(3, 9) {
		<-time.After(time.Duration(float64(length) / float64(tortured(3, 9)) * (0.5 + 0.5*random.Float64())))
		switch faults[f%len(faults)] {
		case 0:
			p.kill()
		case 1:
			if code, _ := p.terminate(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		case 2: // it stands still and goes on
			if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			<-time.After(200 * time.Millisecond)
			if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			continue
		}
		p = start(t, database)
		all = append(all, p)
		r.address.Store(&p.address)
	}
	stop()
	clients.Wait()

	// At the end all is told once more.
	r.walk()
	r.totals("/stats", "")
	for i := range followers {
		for !r.follow(i, &positions[i], 100) {
			continue
		}
	}
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.readOutcomes(all)
	for _, s := range r.strange {
		t.Error(s)
	}
	violations := r.check()
	for _, v := range violations[:min(len(violations), 20)] {
		t.Error(v)
	}
	shown := len(r.looks[len(r.looks)-2].seen)
	db := open(t, database)
	defer db.Close()
	var rows, ids int
	if err := db.QueryRow("SELECT count(*), count(DISTINCT message_id) FROM messages").Scan(&rows, &ids); err != nil {
		t.Fatal(err)
	}
	if total := r.looks[len(r.looks)-1].total; rows != ids || rows != shown || rows != total {
		t.Errorf("there are %d rows of %d messages, the list shows %d and the total is %d", rows, ids, shown, total)
	}
	outcomes, acknowledged := map[string]int{}, 0
	for _, s := range r.saves {
		outcomes[s.outcome]++
		if s.acknowledged() {
			acknowledged++
		}
	}
	if acknowledged < 30 || outcomes["created"] == 0 || outcomes["duplicate"] == 0 || outcomes["mismatch"] == 0 || len(r.looks) < 30 {
		t.Errorf("there is too little to check: %v, %d acknowledged, %d answers to questions", outcomes, acknowledged, len(r.looks))
	}
	pages := 0
	for _, f := range r.follows {
		pages += len(f.pages)
	}
	return recorded{
		len(r.saves), acknowledged, outcomes["created"], outcomes["duplicate"], outcomes["mismatch"],
		len(r.looks), pages, len(all), len(violations),
	}
}

// itemNumber returns an item, which is made if nobody has tried it yet. Its
// members follow from its number.
func (r *recorder) itemNumber(n int) *item {
	id := fmt.Sprintf("history-%06d", n)
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.items[id]
	if i == nil {
		i = &item{
			id:   id,
			from: fmt.Sprintf("+91980000%04d", n%17),
			ts:   time.Date(2025, 1, 15, 10, 0, n/3, 0, time.UTC).Format(time.RFC3339), // some share a second
			word: historyWords[n%len(historyWords)],
		}
		r.items[id] = i
	}
	return i
}

// historyWords are what is searched for.
var historyWords = []string{"apple", "quince", "cherry", "medlar", "plum"}

// write saves a new item, which another client may be saving just now, or one
// that was tried before, by whomever, sometimes with another text, or with a
// wrong signature.
func (r *recorder) write(random *rand.Rand) {
	n := int(r.next.Load() / 2)
	kind := random.IntN(100)
	switch {
	case kind < 65 || n == 0:
		n = int(r.next.Add(1) / 2)
	case kind < 85:
		n -= random.IntN(min(n, 30))
	default:
		n -= random.IntN(n)
	}
	i := r.itemNumber(n)
	text := fmt.Sprintf("%s of %s", i.word, i.id)
	if random.IntN(4) == 0 {
		text += ", which is another"
	}
	b := body(i.id, i.from, i.ts, &text)
	mac := signature.SignHex([]byte(secret), b)
	if random.IntN(25) == 0 {
		mac = "00"
	}
	request := fmt.Sprintf("save-%x", random.Uint64())
	header := http.Header{"X-Signature": {mac}, "X-Request-Id": {request}}
	s := save{id: i.id, text: text}
	s.span, s.status, _ = r.ask(http.MethodPost, "/webhook", string(b), header)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.refused() != (mac == "00") && s.status != 0 && s.status != http.StatusServiceUnavailable {
		r.strange = append(r.strange, fmt.Sprintf("a save was answered %d", s.status))
	}
	r.saves = append(r.saves, s)
	r.requests = append(r.requests, request)
}

// ask sends a request to wherever lyftr is. An answer that does not come is
// given up after a while, which is not the end of what was sent.
func (r *recorder) ask(method, path, body string, header http.Header) (when span, status int, answer string) {
	request, err := http.NewRequestWithContext(context.Background(), method, "http://"+*r.address.Load()+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if header != nil {
		request.Header = header
	}
	request.GetBody = nil // nothing is sent twice
	when.begin = r.now()
	status, answer = do(r.client, request)
	when.end = r.now()
	if status == 0 {
		<-time.After(5 * time.Millisecond) // it starts anew
	}
	return when, status, answer
}

// question asks and reads the answer into v. It returns false, and has noted what
// is strange, if there is none.
func (r *recorder) question(path string, v any) (when span, ok bool) {
	when, status, answer := r.ask(http.MethodGet, path, "", nil)
	switch {
	case status == 0 || status == http.StatusServiceUnavailable:
		return when, false
	case status == http.StatusOK && json.Unmarshal([]byte(answer), v) == nil:
		return when, true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strange = append(r.strange, fmt.Sprintf("GET %s: %d %.200s", path, status, answer))
	return when, false
}

func (r *recorder) noteLook(l look) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks = append(r.looks, l)
}

// read asks one of many questions.
func (r *recorder) read(random *rand.Rand) {
	n := int(r.next.Load()/2) + 1
	i := r.itemNumber(max(0, n-random.IntN(min(n, 40))))
	switch random.IntN(8) {
	case 0, 1, 2:
		r.one(i)
	case 3:
		r.totals("/stats?from="+url.QueryEscape(i.from), i.from)
	case 4:
		r.totals("/stats", "")
	default:
		q := listQuery{descending: random.IntN(2) == 0}
		switch random.IntN(3) {
		case 0:
			q.from = i.from
		case 1:
			q.word = i.word
		}
		cursor := ""
		for range 1 + random.IntN(4) {
			if cursor = r.list(&q, cursor, 1+random.IntN(100)); cursor == "" {
				break
			}
		}
	}
}

// one asks for a message.
func (r *recorder) one(i *item) {
	when, status, answer := r.ask(http.MethodGet, "/messages/"+i.id, "", nil)
	l := look{span: when, asked: "GET /messages/" + i.id, holds: func(o *item) bool { return o == i }, seen: map[string]string{}}
	var m listed
	switch {
	case status == http.StatusOK && json.Unmarshal([]byte(answer), &m) == nil:
		l.seen[m.ID] = m.Text
	case status != http.StatusNotFound:
		return
	}
	r.noteLook(l)
}

// listed is a message in an answer.
type listed struct {
	ID   string `json:"message_id"`
	From string `json:"from"`
	TS   string `json:"ts"`
	Text string `json:"text"`
}

// listQuery is a list that is read page by page.
type listQuery struct {
	from, word string
	descending bool
	last       *item // of the page before
}

// matches reports whether an item is on the list.
func (q *listQuery) matches(i *item) bool {
	return (q.from == "" || q.from == i.from) && (q.word == "" || q.word == i.word)
}

// list asks for a page and returns the cursor of the next one.
func (r *recorder) list(q *listQuery, cursor string, limit int) (next string) {
	v := url.Values{"limit": {fmt.Sprint(limit)}, "order": {"asc"}}
	if q.descending {
		v.Set("order", "desc")
	}
	for name, value := range map[string]string{"from": q.from, "q": q.word, "cursor": cursor} {
		if value != "" {
			v.Set(name, value)
		}
	}
	var page struct {
		Data  []listed
		Total int
		Next  *string `json:"next_cursor"`
	}
	when, ok := r.question("/messages?"+v.Encode(), &page)
	if !ok {
		return ""
	}
	behind := func(a, b *item) bool { // in the order of this list
		if q.descending {
			return a.before(b)
		}
		return b.before(a)
	}
	first, last := q.last, (*item)(nil) // what is between them is on this page
	seen := map[string]string{}
	r.mu.Lock()
	for _, m := range page.Data {
		seen[m.ID] = m.Text
		i := r.items[m.ID]
		if i == nil {
			continue // the check finds it
		}
		if last != nil && !behind(i, last) {
			r.strange = append(r.strange, fmt.Sprintf("%s comes behind %s in the list", i.id, last.id))
		}
		last = i
	}
	r.mu.Unlock()
	q.last = last
	more := page.Next != nil
	r.noteLook(look{
		span: when, asked: "GET /messages?" + v.Encode(), seen: seen,
		holds: func(i *item) bool {
			return q.matches(i) && (first == nil || behind(i, first)) && (!more || !behind(i, last))
		},
		counts: q.matches, question: q.from + " " + q.word, total: page.Total,
	})
	if !more {
		return ""
	}
	return *page.Next
}

// walk reads the whole list, which nobody adds to, and notes it as one answer.
func (r *recorder) walk() {
	l := look{span: span{begin: r.now()}, asked: "the list at the end", holds: func(*item) bool { return true }, seen: map[string]string{}}
	q := listQuery{}
	for cursor := ""; ; {
		before := len(r.looks)
		cursor = r.list(&q, cursor, 100)
		if len(r.looks) == before {
			r.t.Fatal("the list could not be read at the end")
		}
		for id, text := range r.looks[before].seen {
			if _, twice := l.seen[id]; twice {
				r.strange = append(r.strange, id+" is in the list twice")
			}
			l.seen[id] = text
		}
		if cursor == "" {
			break
		}
	}
	l.end = r.now()
	r.noteLook(l)
}

// totals asks for the statistics, of one sender if there is one.
func (r *recorder) totals(path, from string) {
	var stats struct {
		Total int `json:"total_messages"`
	}
	if when, ok := r.question(path, &stats); ok {
		q := listQuery{from: from}
		r.noteLook(look{
			span: when, asked: "GET " + path, holds: func(*item) bool { return false },
			counts: q.matches, question: from + " ", total: stats.Total,
		})
	}
}

// follow reads the feed on behind a position, and reports whether it came to the
// end.
func (r *recorder) follow(reader int, after *string, limit int) (end bool) {
	var page struct {
		Data []listed
		Next string `json:"next_cursor"`
	}
	when, ok := r.question(fmt.Sprintf("/feed?limit=%d&after=%s", limit, url.QueryEscape(*after)), &page)
	if !ok {
		return false
	}
	p := feedPage{span: when, last: len(page.Data) == 0}
	for _, m := range page.Data {
		p.ids = append(p.ids, m.ID)
	}
	*after = page.Next
	r.mu.Lock()
	defer r.mu.Unlock()
	f := &r.follows[reader]
	f.pages = append(f.pages, p)
	return p.last
}

// readOutcomes takes from the logs what became of each save.
func (r *recorder) readOutcomes(all []*process) {
	outcomes := map[string]string{}
	for _, p := range all {
		for _, line := range p.log() {
			var l struct {
				Request  string `json:"request_id"`
				Result   string
				Mismatch bool
			}
			if json.Unmarshal([]byte(line), &l) != nil || l.Result != "created" && l.Result != "duplicate" {
				continue
			}
			if l.Mismatch {
				l.Result = "mismatch"
			}
			outcomes[l.Request] = l.Result
		}
	}
	for i := range r.saves {
		r.saves[i].outcome = outcomes[r.requests[i]]
	}
}
