package httpapi_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// page is the answer of GET /messages.
type page struct {
	Data []struct {
		ID   string  `json:"message_id"`
		From string  `json:"from"`
		To   string  `json:"to"`
		TS   string  `json:"ts"`
		Text *string `json:"text"`
	} `json:"data"`
	Total      int64   `json:"total"`
	Limit      int     `json:"limit"`
	Offset     int64   `json:"offset"`
	NextCursor *string `json:"next_cursor"`
}

func (p page) ids() []string {
	ids := []string{}
	for _, m := range p.Data {
		ids = append(ids, m.ID)
	}
	return ids
}

// list asks for messages with a raw query.
func (s *service) list(query string) page {
	s.t.Helper()
	return into[page](s.t, s.get("/messages?"+query))
}

// finds holds a query to the ids that it finds, in order, and to their number.
func (s *service) finds(query string, ids ...string) {
	s.t.Helper()
	p := s.list(query)
	if got := p.ids(); !slices.Equal(got, ids) && len(got)+len(ids) > 0 {
		s.t.Errorf("?%s finds %q, want %q", query, got, ids)
	}
	if p.Total != int64(len(ids)) {
		s.t.Errorf("?%s: total is %d, want %d", query, p.Total, len(ids))
	}
}

func TestListAnswer(t *testing.T) {
	t.Parallel()
	s := start(t)
	const empty = `{"data":[],"total":0,"limit":50,"offset":0,"next_cursor":null}`
	sameJSON(t, s.get("/messages").body, empty)
	s.post(hello).is(t, 200, okBody)
	s.seed(msg("m0", "text", absent), msg("m2", "text", ""), msg("m3", "ts", "2025-01-15T10:00:00.50Z", "text", "\"\\</script>\u2028é😀\x01"))
	a := s.get("/messages")
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	sameJSON(t, a.body, `{"data":[
		{"message_id":"m0","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":null},
		`+hello+`,
		{"message_id":"m2","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":""},
		{"message_id":"m3","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00.50Z","text":"\"\\</script>\u2028é😀\u0001"}
	],"total":4,"limit":50,"offset":0,"next_cursor":null}`)
}

func TestListLimitAndOffset(t *testing.T) {
	t.Parallel()
	s := start(t)
	const n = 120
	var bodies, ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("m%03d", i))
		bodies = append(bodies, msg(ids[i]))
	}
	slices.Reverse(bodies) // not the order in which they are stored
	s.seed(bodies...)
	for query, want := range map[string]struct {
		limit  int
		offset int64
	}{
		"":                               {50, 0},
		"&&":                             {50, 0},
		"limit=1":                        {1, 0},
		"limit=100":                      {100, 0},
		"limit=007":                      {7, 0},
		"limit=2&offset=0":               {2, 0},
		"limit=100&offset=100":           {100, 100},
		"offset=119":                     {50, 119},
		"offset=120":                     {50, 120},
		"offset=1000000":                 {50, 1000000},
		"offset=9223372036854775807":     {50, 1<<63 - 1},
		"offset=00":                      {50, 0},
		"limit=100&unknown=1&unknown=2&": {100, 0},
		"=5&limit=3":                     {3, 0},
		"%6cimit=4":                      {4, 0},
	} {
		p := s.list(query)
		from := min(want.offset, n)
		to := min(from+int64(want.limit), n)
		if got := p.ids(); !slices.Equal(got, ids[from:to]) {
			t.Errorf("?%s: got %q, want %q", query, got, ids[from:to])
		}
		if p.Total != n || p.Limit != want.limit || p.Offset != want.offset {
			t.Errorf("?%s: total, limit, offset are %d, %d, %d", query, p.Total, p.Limit, p.Offset)
		}
		if (p.NextCursor != nil) != (to < n) {
			t.Errorf("?%s: next_cursor is %v with %d left", query, p.NextCursor, n-to)
		}
	}
	const notInteger, tooSmall, tooLarge = "int_parsing", "greater_than_equal", "less_than_equal"
	for value, kind := range map[string]string{
		"0": tooSmall, "-0": tooSmall, "-1": tooSmall, "101": tooLarge, "9223372036854775807": tooLarge,
		"9223372036854775808": tooLarge, "-9223372036854775809": tooSmall, strings.Repeat("9", 500): tooLarge,
		"": notInteger, "abc": notInteger, "1.0": notInteger, "1e1": notInteger, "0x10": notInteger, "1_0": notInteger,
		"+5": notInteger, "%2B5": notInteger, "%205": notInteger, "5%20": notInteger, "--5": notInteger, "-": notInteger,
		"%EF%BC%91": notInteger, "1%EF%BC%91": notInteger, "%D9%A1": notInteger, "5%00": notInteger, "%FF": notInteger, "5;": notInteger,
	} {
		s.get("/messages?limit="+value).isInvalid(t, "query.limit:"+kind)
	}
	for value, kind := range map[string]string{
		"-1": tooSmall, "-9223372036854775808": tooSmall, "-9223372036854775809": tooSmall,
		"9223372036854775808": tooLarge, "18446744073709551616": tooLarge,
		"": notInteger, "abc": notInteger, "1.0": notInteger, "+5": notInteger, "%2B5": notInteger, "%EF%BC%91": notInteger,
	} {
		s.get("/messages?offset="+value).isInvalid(t, "query.offset:"+kind)
	}
	s.get("/messages?limit").isInvalid(t, "query.limit:"+notInteger)
}

func TestListFaults(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	// The whole query at once, each fault at its parameter, and no value.
	a := s.get("/messages?order=zq&limit=zq&offset=-1&since=zq&until=zq&cursor=zq")
	got := a.faults(t)
	slices.Sort(got)
	want := []string{"query.limit:int_parsing", "query.offset:greater_than_equal", "query.order:enum", "query.since:value_error", "query.until:value_error"}
	if !slices.Equal(got, want) || strings.Contains(a.body, "zq") {
		t.Errorf("got %s", a.body)
	}
	s.get("/messages?limit=0").is(t, 422,
		`{"detail":[{"loc":["query","limit"],"msg":"Input should be greater than or equal to 1","type":"greater_than_equal"}]}`)

	for _, name := range []string{"limit", "offset", "from", "from_msisdn", "to", "to_msisdn", "since", "until", "q", "cursor", "order", "source", "fields", "total"} {
		value := map[string]string{"since": "2025-01-15T10:00:00Z", "until": "2025-01-15T10:00:00Z", "order": "asc", "fields": "all", "total": "none"}[name]
		if value == "" {
			value = "1"
		}
		// Given twice, also with the same value, never an unfiltered answer.
		for _, query := range []string{name + "=" + value + "&" + name + "=" + value, name + "=" + value + "&x=1&" + name + "=", name + "=&" + name + "=" + value} {
			s.get("/messages?"+query).isInvalid(t, "query."+name+":value_error")
		}
		// A percent escape that is broken.
		for _, broken := range []string{"%", "%4", "%zz", "a%G0", "%%", "100%"} {
			s.get("/messages?"+name+"="+broken).isInvalid(t, "query."+name+":value_error")
		}
	}
	for _, query := range []string{"unknown=%zz", "%zz=1", "%=", "limit=1&%z", "a=1&b=%e"} {
		if got := s.get("/messages?" + query).faults(t); len(got) != 1 || !strings.HasPrefix(got[0], "query.") {
			t.Errorf("?%s: got faults %q", query, got)
		}
	}
	for _, pair := range []string{"from=%2B1&from_msisdn=%2B1", "from_msisdn=%2B1&from=%2B2", "to=%2B1&to_msisdn=%2B1", "to_msisdn=%2B1&to=%2B2"} {
		if got := s.get("/messages?" + pair).faults(t); len(got) != 1 || !strings.HasPrefix(got[0], "query."+pair[:2]) {
			t.Errorf("?%s: got faults %q", pair, got)
		}
	}
	for _, value := range []string{"%00", "a%00b", "%FF", "%ED%A0%80", "%C0%AF"} {
		for _, name := range []string{"q", "from", "from_msisdn", "to", "to_msisdn"} {
			s.get("/messages?"+name+"="+value).isInvalid(t, "query."+name+":value_error")
		}
	}
	for _, value := range []string{"ASC", "Desc", "ascending", "1", "asc%20", "asc,desc", "%00"} {
		s.get("/messages?order="+value).isInvalid(t, "query.order:enum")
	}
	for _, name := range []string{"since", "until"} {
		for _, value := range []string{
			"yesterday", "1736935200", "2025-01-15", "2025-01-15T10:00:00", "2025-01-15%2010:00:00Z", "2025-01-15T10:00Z",
			"2025-02-30T10:00:00Z", "2025-01-15T24:00:00Z", "2025-01-15T10:00:60Z", "2025-13-01T10:00:00Z", "2025-01-15T10:00:00,5Z",
			"2025-01-15T10:00:00.1234567890Z", "2025-01-15T10:00:00%2B0530", "2025-01-15T10:00:00%2B05", "2025-01-15T10:00:00%2B24:00",
			"2025-01-15T10:00:00%2B05:60", "2025-01-15T10:00:00*05:30", "2025-01-15T10:00:00Z;", "2025-01-15T10:00:00ZZ", "%EF%BC%92025-01-15T10:00:00Z", "%00",
		} {
			s.get("/messages?"+name+"="+value).isInvalid(t, "query."+name+":value_error")
		}
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(
		msg("a", "from", "+1", "to", "+10", "ts", "2025-01-15T09:00:00Z"),
		msg("b", "from", "+919876543210", "to", "+10", "ts", "2025-01-15T09:30:00Z"),
		msg("c", "from", "+1", "to", "+1", "ts", "2025-01-15T10:00:00Z"),
		msg("d", "from", "+919876543210", "to", "+919876543211", "ts", "2025-01-15T10:00:00.5Z"),
		msg("e", "from", "+919876543211", "to", "+10", "ts", "2025-01-15T10:00:01Z"),
		msg("f", "from", "+11", "to", "+10", "ts", "0001-01-01T00:00:00Z"),
		msg("g", "from", "+11", "to", "+10", "ts", "9999-12-31T23:59:59Z"),
	)
	all := []string{"f", "a", "b", "c", "d", "e", "g"}
	for _, name := range []string{"from", "from_msisdn"} {
		// The plus sign as it is, as an escape, and as the space that it turns into.
		for _, plus := range []string{"+", "%2B", "%2b", "%20"} {
			s.finds(name+"="+plus+"919876543210", "b", "d")
			s.finds(name+"="+plus+"1", "a", "c")
		}
		s.finds(name+"=", all...)
		s.finds(name, all...)
		for _, nobody := range []string{"919876543210", "%2B91987654321", "%2B9198765432100", "%2B%2B1", "%2B1%20", "%20%201", "1", "%25", "%2B_", "*", "%2B1'%20OR%20'1'='1", "%2B1;"} {
			s.finds(name + "=" + nobody)
		}
	}
	for _, name := range []string{"to", "to_msisdn"} {
		for _, plus := range []string{"+", "%2B", "%20"} {
			s.finds(name+"="+plus+"1", "c")
			s.finds(name+"="+plus+"919876543211", "d")
		}
		s.finds(name+"=", all...)
		s.finds(name + "=10")
	}
	s.finds("from=+1&to_msisdn=+10", "a")
	s.finds("from_msisdn=%2B919876543210&to=%2B10&since=2025-01-15T09:30:00Z", "b")

	for query, ids := range map[string][]string{
		"since=2025-01-15T09:30:00Z":                                   {"b", "c", "d", "e", "g"},
		"since=2025-01-15T09:30:00.000000001Z":                         {"c", "d", "e", "g"},
		"since=2025-01-15T10:00:00.5Z":                                 {"d", "e", "g"},
		"since=2025-01-15T10:00:00.500000001Z":                         {"e", "g"},
		"until=2025-01-15T09:30:00Z":                                   {"f", "a"},
		"until=2025-01-15T10:00:00.5Z":                                 {"f", "a", "b", "c"},
		"until=2025-01-15T10:00:00.500000001Z":                         {"f", "a", "b", "c", "d"},
		"since=2025-01-15T09:00:00Z&until=2025-01-15T10:00:00Z":        {"a", "b"},
		"since=2025-01-15T10:00:00Z&until=2025-01-15T10:00:00Z":        {},
		"since=2025-01-15T11:00:00Z&until=2025-01-15T09:00:00Z":        {},
		"since=2025-01-15T15:00:00+05:30":                              {"b", "c", "d", "e", "g"},
		"since=2025-01-15T15:00:00%2B05:30":                            {"b", "c", "d", "e", "g"},
		"since=2025-01-15T04:00:00-05:30&until=2025-01-15T10:00:00.1Z": {"b", "c"},
		"until=2025-01-15T15:00:00.000000001+05:30":                    {"f", "a", "b"},
		"since=2025-01-15T09:30:00-00:00":                              {"b", "c", "d", "e", "g"},
		"since=&until=":                                                all,
		"since=0001-01-01T00:00:00Z":                                   all,
		"since=0001-01-01T00:00:00%2B00:00":                            all,
		"until=0001-01-01T00:00:00Z":                                   {},
		"until=0001-01-01T00:00:00.000000001Z":                         {"f"},
		"since=9999-12-31T23:59:59Z":                                   {"g"},
		"since=9999-12-31T23:59:59-23:59":                              {},
		"since=0001-01-01T00:00:00%2B23:59":                            all,
	} {
		s.finds(query, ids...)
	}
}

func TestListText(t *testing.T) {
	t.Parallel()
	s := start(t)
	var bodies []string
	for i, text := range []any{
		0: "Hello World", 1: "100% sure", 2: "under_score", 3: `back\slash`, 4: "Äpfel und Öl", 5: "ΣΊΣΥΦΟΣ", 6: "straße", 7: "273 \u212a",
		8: "İstanbul", 9: "1+1=2; a;b", 10: "ПРИВЕТ мир", 11: "𐐀 deseret", 12: "e\u0301 and é", 13: "日本語", 14: nil, 15: "", 16: "long ſ", 17: "%_\\",
		18: "line\nbreak & more", 19: "quote ' \" -- ;", 20: "STRAẞE",
	} {
		bodies = append(bodies, msg(fmt.Sprintf("%02d", i), "text", text))
	}
	s.seed(bodies...)
	for q, ids := range map[string][]string{
		"hello":                   {"00"},
		"HELLO":                   {"00"},
		"Hello":                   {"00"},
		"lo Wo":                   {"00"},
		"Hello World ":            {},
		"%":                       {"01", "17"},
		"_":                       {"02", "17"},
		`\`:                       {"03", "17"},
		"%_\\":                    {"17"},
		"100%":                    {"01"},
		"1%sure":                  {},
		"und_r":                   {},
		"h*o":                     {},
		"äPFEL":                   {"04"},
		"ÖL":                      {"04"},
		"apfel":                   {},
		"σίσυφος":                 {"05"},
		"ς":                       {"05"},
		"STRASSE":                 {},
		"straße":                  {"06", "20"},
		"STRAẞE":                  {"06", "20"},
		"273 k":                   {"07"},
		"istanbul":                {},
		"İSTANBUL":                {"08"},
		"a;b":                     {"09"},
		"; a":                     {"09"},
		"1+1":                     {"09"},
		"привет МИР":              {"10"},
		"𐐨":                       {"11"},
		"é":                       {"12"},
		"É":                       {"12"},
		"e\u0301":                 {"12"},
		"本":                       {"13"},
		"LONG S":                  {"16"},
		"\n":                      {"18"},
		"& MORE":                  {"18"},
		"' \" --":                 {"19"},
		"' OR 1=1 --":             {},
		"null":                    {},
		"nil":                     {},
		"\u00a0":                  {},
		strings.Repeat("x", 5000): {},
	} {
		s.finds("q="+url.QueryEscape(q), ids...)
	}
	s.finds("q=a;b", "09") // raw, and no separator
	s.get("/messages?q=a;b&limit=1;").isInvalid(t, "query.limit:int_parsing")
	s.finds("q=und+%C3%96l", "04") // a plus sign is a space
	s.finds("q=1%2B1", "09")       // an escaped one is itself
	s.finds("q=%25&from=%2B919876543210", "01", "17")
	if p := s.list("q="); p.Total != int64(len(bodies)) {
		t.Errorf("an empty q finds %d of %d", p.Total, len(bodies))
	}
}

func TestListOrder(t *testing.T) {
	t.Parallel()
	s := start(t)
	// In list order: by instant, then by the bytes of the id.
	want := []string{
		"2024-12-31T23:59:59.999999999Z z",
		"2025-01-15T10:00:00Z +", "2025-01-15T10:00:00.0Z 1", "2025-01-15T10:00:00.000Z 10", "2025-01-15T10:00:00Z 2",
		"2025-01-15T10:00:00Z A", "2025-01-15T10:00:00Z B", "2025-01-15T10:00:00.00Z a", "2025-01-15T10:00:00Z a b", "2025-01-15T10:00:00Z aa",
		"2025-01-15T10:00:00Z e\u0301", "2025-01-15T10:00:00Z \u00e9", "2025-01-15T10:00:00Z \uffee", "2025-01-15T10:00:00Z \U0001F600",
		"2025-01-15T10:00:00.000000001Z 0", "2025-01-15T10:00:00.09Z 0a", "2025-01-15T10:00:00.1Z 0b", "2025-01-15T10:00:00.25Z 0c", "2025-01-15T10:00:00.3Z 0d",
		"2025-01-15T10:00:01Z 00",
	}
	var bodies, ids []string
	for _, line := range want {
		ts, id, _ := strings.Cut(line, " ")
		bodies = append(bodies, msg(id, "ts", ts))
		ids = append(ids, id)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(bodies), func(i, j int) { bodies[i], bodies[j] = bodies[j], bodies[i] })
	s.seed(bodies...)
	s.finds("", ids...)
	s.finds("order=asc", ids...)
	s.finds("order=", ids...)
	p := s.list("")
	for i, m := range p.Data {
		if got := m.TS + " " + m.ID; got != want[i] { // as it was received
			t.Errorf("message %d is %q, want %q", i, got, want[i])
		}
	}
	slices.Reverse(ids)
	s.finds("order=desc", ids...)
}

// model is what the list of messages is by the contract.
func model(all []message.Message, f message.Filter, descending bool) []string {
	var found []message.Message
	for _, m := range all {
		if (f.From == "" || m.From == f.From) && (f.To == "" || m.To == f.To) &&
			(f.Since.IsZero() || !m.At.Before(f.Since)) && (f.Until.IsZero() || m.At.Before(f.Until)) &&
			(f.Text == "" || m.Text != nil && strings.Contains(strings.ToLower(*m.Text), strings.ToLower(f.Text))) {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b message.Message) int {
		c := cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID))
		if descending {
			c = -c
		}
		return c
	})
	ids := []string{}
	for _, m := range found {
		ids = append(ids, m.ID)
	}
	return ids
}

// Any combination of filters, pages and orders agrees with the model, by offset
// and by cursor.
func TestListAgainstModel(t *testing.T) {
	t.Parallel()
	s := start(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	begin := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC)
	instant := func() string {
		return begin.Add(time.Duration(rnd.IntN(40)) * 250 * time.Millisecond).Format("2006-01-02T15:04:05.999Z")
	}
	var all []message.Message
	for i := range 200 {
		m, err := message.Decode([]byte(msg(pick("a", "b", "C", "é", "9")+strconv.Itoa(i), "ts", instant(),
			"from", pick("+1", "+2", "+3"), "to", pick("+1", "+4"), "text", pick("red apple", "RED", "green Apple", ""))))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	s.save(all...)
	for range 150 {
		var f message.Filter
		v := url.Values{}
		if rnd.IntN(3) == 0 {
			f.From = pick("+1", "+2", "+5")
			v.Set(pick("from", "from_msisdn"), f.From)
		}
		if rnd.IntN(4) == 0 {
			f.To = pick("+1", "+4")
			v.Set(pick("to", "to_msisdn"), f.To)
		}
		for name, to := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
			if rnd.IntN(4) == 0 {
				ts := instant()
				v.Set(name, ts)
				*to, _ = time.Parse(time.RFC3339Nano, ts)
			}
		}
		if rnd.IntN(3) == 0 {
			f.Text = pick("red", "Apple", "e", "green apple", "blue")
			v.Set("q", f.Text)
		}
		descending := rnd.IntN(2) == 0
		if descending {
			v.Set("order", "desc")
		}
		limit, want := 1+rnd.IntN(60), model(all, f, descending)
		v.Set("limit", strconv.Itoa(limit))
		query := v.Encode()

		offset := rnd.IntN(len(want) + 10)
		p := s.list(query + "&offset=" + strconv.Itoa(offset))
		from := min(offset, len(want))
		if got := p.ids(); !slices.Equal(got, want[from:min(from+limit, len(want))]) || p.Total != int64(len(want)) {
			t.Errorf("?%s from %d: got %d %q", query, offset, p.Total, got)
		}
		if got := s.pages(query, int64(len(want))); !slices.Equal(got, want) {
			t.Errorf("?%s by cursor: got %q, want %q", query, got, want)
		}
	}
}

// pages follows next_cursor to its end and joins the ids.
func (s *service) pages(query string, total int64) []string {
	s.t.Helper()
	ids := []string{}
	for cursor := ""; ; {
		p := s.list(query + cursor)
		if p.Total != total {
			s.t.Errorf("?%s: total is %d on the way, want %d", query, p.Total, total)
		}
		ids = append(ids, p.ids()...)
		if p.NextCursor == nil {
			return ids
		}
		if len(p.Data) != p.Limit {
			s.t.Fatalf("?%s: a page of %d with a next one, limit %d", query, len(p.Data), p.Limit)
		}
		cursor = "&cursor=" + url.QueryEscape(*p.NextCursor)
	}
}

func TestCursor(t *testing.T) {
	t.Parallel()
	s, other := start(t), start(t)
	var bodies, ids []string
	for i := range 20 {
		ids = append(ids, fmt.Sprintf("m%02d", i))
		bodies = append(bodies, msg(ids[i], "ts", fmt.Sprintf("2025-01-15T10:00:%02d.%dZ", i/4, i%4), "from", "+"+strconv.Itoa(1+i%2)))
	}
	s.seed(bodies...)
	other.seed(bodies...)
	for _, limit := range []int{1, 3, 5, 19, 20, 100} { // 5 and 20 end on a full page
		if got := s.pages("limit="+strconv.Itoa(limit), 20); !slices.Equal(got, ids) {
			t.Errorf("limit %d: got %q", limit, got)
		}
	}
	reversed := slices.Clone(ids)
	slices.Reverse(reversed)
	if got := s.pages("limit=3&order=desc", 20); !slices.Equal(got, reversed) {
		t.Errorf("descending: got %q", got)
	}

	first := s.list("limit=5")
	cursor := *first.NextCursor
	if strings.ContainsAny(cursor, "+/=&?# ") {
		t.Errorf("cursor %q needs escaping", cursor)
	}
	next := func(query string) []string { return s.list("cursor=" + cursor + query).ids() }
	for query, want := range map[string][]string{
		"":                                    ids[5:],
		"&limit=5":                            ids[5:10],
		"&limit=7":                            ids[5:12], // another limit goes on at the same place
		"&limit=5&offset=12":                  ids[5:10], // the cursor replaces the offset
		"&limit=5&offset=9223372036854775807": ids[5:10],
		"&limit=5&order=asc":                  ids[5:10],
		"&limit=5&from=&q=":                   ids[5:10],
	} {
		if got := next(query); !slices.Equal(got, want) {
			t.Errorf("cursor%s: got %q, want %q", query, got, want)
		}
	}
	// What comes between is neither skipped nor repeated.
	s.seed(msg("m00a", "ts", "2025-01-15T10:00:00.0Z"), msg("m04a", "ts", "2025-01-15T10:00:01.0Z"))
	if got := next("&limit=2"); !slices.Equal(got, []string{"m04a", "m05"}) {
		t.Errorf("after an insert: got %q", got)
	}
	if p := s.list("cursor="); p.Total != 22 || len(p.Data) != 22 {
		t.Errorf("an empty cursor finds %d", len(p.Data))
	}

	flip := func(i int) string {
		b := []byte(cursor)
		if b[i]++; b[i] == '{' || b[i] == '[' || b[i] == ':' || b[i] == '`' || b[i] == '.' {
			b[i] = 'A'
		}
		return string(b)
	}
	foreign := *other.list("limit=5").NextCursor
	filtered := *s.list("limit=5&from=%2B1").NextCursor
	bad := []string{
		"x", "0", "null", "AAAA", strings.Repeat("A", 64), strings.Repeat("A", 10_000), "%00", "%FF", "%20", "m04",
		cursor + "A", cursor + "%3D", cursor + "%20", "%20" + cursor, cursor[1:], cursor[:len(cursor)-1], cursor + cursor, strings.ToUpper(cursor),
		flip(0), flip(5), flip(len(cursor) / 2), flip(len(cursor) - 2), foreign, filtered,
	}
	for _, c := range bad {
		s.get("/messages?cursor="+c).isInvalid(t, "query.cursor:value_error")
	}
	for _, query := range []string{"&from=%2B1", "&to=%2B14155550100", "&q=hello", "&since=2025-01-15T10:00:00Z", "&until=2025-01-16T10:00:00Z", "&order=desc"} {
		s.get("/messages?cursor="+cursor+query).isInvalid(t, "query.cursor:value_error")
	}
}
