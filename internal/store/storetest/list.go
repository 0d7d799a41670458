package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

func testListEmpty(t *testing.T, d *db) {
	for _, q := range []message.Query{
		{Limit: 50},
		{Limit: 50, Offset: 1},
		{Limit: 1, Order: message.Descending},
		{Limit: 100, Filter: message.Filter{From: "+1", To: "+2", Since: instant(noon), Until: instant(noon), Text: "x"}},
	} {
		wantEqual(t, "page", message.Page{}, list(t, d, q))
	}
}

// testListOrder: by instant, then ID by bytes, then source by bytes.
func testListOrder(t *testing.T, d *db) {
	inOrder := []message.Message{
		newMessage("zz", "0001-01-01T00:00:00Z"),
		newMessage("y", "0001-01-01T00:00:00.000000001Z"),
		newMessage("x", "1969-12-31T23:59:58.9Z"),
		newMessage("w", "1969-12-31T23:59:59.1Z"),
		newMessage("v", "1969-12-31T23:59:59.999999999Z"),
		newMessage("u", "1970-01-01T00:00:00Z"),
		newMessage("t", "2025-01-15T09:59:59.999999999Z"),
		// As text a Z stands behind a point: the instant counts.
		newMessage("s", "2025-01-15T10:00:00Z"),
		newMessage("r", "2025-01-15T10:00:00.05Z"),
		// One instant, written in three ways: the ID counts.
		newMessage("h", "2025-01-15T10:00:00.500000000Z"),
		newMessage("i", "2025-01-15T10:00:00.5Z"),
		newMessage("j", "2025-01-15T10:00:00.50Z"),
		newMessage("g", "2025-01-15T10:00:00.500000001Z"),
		// By bytes of UTF-8, as no language sorts.
		newMessage(" ", noon),
		newMessage("0", noon),
		newMessage("1", noon),
		newMessage("10", noon),
		newMessage("9", noon),
		newMessage("B", noon),
		newMessage("Z", noon),
		newMessage("_", noon),
		newMessage("a", noon, setSource("Native")),
		newMessage("a", noon, setSource("a")),
		newMessage("a", noon),
		newMessage("a", noon, setSource("whatsapp")),
		newMessage("a ", noon),
		newMessage("a0", noon),
		newMessage("b", noon),
		newMessage("z", noon),
		newMessage("~", noon),
		newMessage("é", noon),
		newMessage("ﬀ", noon), // U+FB00, behind which UTF-16 would sort U+1F600
		newMessage("😀", noon),
		newMessage("!", "9999-12-31T23:59:59.999999999Z"),
	}
	// Stored in another order, in calls of several sizes.
	shuffled := slices.Clone(inOrder)
	for i := range shuffled {
		j := (i * 7) % len(shuffled)
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	for part := range slices.Chunk(shuffled, 5) {
		save(t, d, part...)
	}
	// Filters that match all of them: another index may serve each.
	filters := []message.Filter{{}, {From: "+100"}, {To: "+200"}, {From: "+100", Until: instant("9999-12-31T23:59:59.999999999Z").Add(1)}}
	for _, f := range filters {
		page := list(t, d, message.Query{Filter: f, Limit: message.MaxLimit})
		wantEqual(t, fmt.Sprintf("without an order, filter %+v", f), inOrder, page.Messages)
		page = list(t, d, message.Query{Filter: f, Limit: message.MaxLimit, Order: message.Ascending})
		wantEqual(t, fmt.Sprintf("ascending, filter %+v", f), inOrder, page.Messages)
	}
	slices.Reverse(inOrder)
	for _, f := range filters {
		page := list(t, d, message.Query{Filter: f, Limit: message.MaxLimit, Order: message.Descending})
		wantEqual(t, fmt.Sprintf("descending, filter %+v", f), inOrder, page.Messages)
	}
}

func testListFilters(t *testing.T, d *db) {
	save(t, d,
		newMessage("1", "2025-01-15T09:00:00Z", setFrom("+1"), setTo("+9"), setText("Hello")),
		newMessage("2", "2025-01-15T10:00:00Z", setFrom("+1"), setTo("+8"), setText("hello world")),
		newMessage("3", "2025-01-15T10:00:00.5Z", setFrom("+2"), setTo("+9")),
		newMessage("4", "2025-01-15T10:00:00.50Z", setFrom("+12"), setTo("+9"), setText("World")),
		newMessage("5", "2025-01-15T11:00:00Z", setFrom("+01"), setTo("+8"), setText("")),
		newMessage("6", "2025-01-15T11:00:00.000000001Z", setFrom("+1"), setTo("+9"), setText("HELLO"), setSource("twilio")),
	)
	at := instant
	india := time.FixedZone("", 5*3600+1800)
	tests := []struct {
		name   string
		filter message.Filter
		want   string
	}{
		{"none", message.Filter{}, "1 2 3 4 5 6"},
		{"from", message.Filter{From: "+1"}, "1 2 6"},
		{"from, all of it", message.Filter{From: "+12"}, "4"},
		{"from with a zero", message.Filter{From: "+01"}, "5"},
		{"from, nobody", message.Filter{From: "+3"}, ""},
		{"from is not a pattern", message.Filter{From: "+%"}, ""},
		{"to", message.Filter{To: "+9"}, "1 3 4 6"},
		{"from and to", message.Filter{From: "+1", To: "+9"}, "1 6"},
		{"since is inclusive", message.Filter{Since: at("2025-01-15T10:00:00Z")}, "2 3 4 5 6"},
		{"since a nanosecond later", message.Filter{Since: at("2025-01-15T10:00:00.000000001Z")}, "3 4 5 6"},
		{"since a fraction", message.Filter{Since: at("2025-01-15T10:00:00.500Z")}, "3 4 5 6"},
		{"until is exclusive", message.Filter{Until: at("2025-01-15T10:00:00Z")}, "1"},
		{"until a nanosecond later", message.Filter{Until: at("2025-01-15T10:00:00.000000001Z")}, "1 2"},
		{"until a fraction", message.Filter{Until: at("2025-01-15T10:00:00.5Z")}, "1 2"},
		{"until the last", message.Filter{Until: at("2025-01-15T11:00:00.000000001Z")}, "1 2 3 4 5"},
		{"since and until", message.Filter{Since: at("2025-01-15T10:00:00Z"), Until: at("2025-01-15T11:00:00Z")}, "2 3 4"},
		{"since and until, one instant", message.Filter{Since: at("2025-01-15T10:00:00Z"), Until: at("2025-01-15T10:00:00Z")}, ""},
		{"since behind until", message.Filter{Since: at("2025-01-15T11:00:00Z"), Until: at("2025-01-15T09:00:00Z")}, ""},
		{"since in another zone", message.Filter{Since: at("2025-01-15T11:00:00Z").In(india)}, "5 6"},
		{"until in another zone", message.Filter{Until: at("2025-01-15T10:00:00Z").In(india)}, "1"},
		{"since far ago", message.Filter{Since: time.Date(-4000, 1, 1, 0, 0, 0, 0, time.UTC)}, "1 2 3 4 5 6"},
		{"until far ahead", message.Filter{Until: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}, "1 2 3 4 5 6"},
		{"text", message.Filter{Text: "hello"}, "1 2 6"},
		{"text and from", message.Filter{Text: "WORLD", From: "+1"}, "2"},
		{"text and to", message.Filter{Text: "o", To: "+9"}, "1 4 6"},
		{"source", message.Filter{Source: message.SourceNative}, "1 2 3 4 5"},
		{"another source", message.Filter{Source: "twilio"}, "6"},
		{"source, in its case", message.Filter{Source: "Twilio"}, ""},
		{"source is not a pattern", message.Filter{Source: "%"}, ""},
		{"source, none of the kind", message.Filter{Source: "native "}, ""},
		{"source and from", message.Filter{Source: message.SourceNative, From: "+1"}, "1 2"},
		{"source and text", message.Filter{Source: "twilio", Text: "hello"}, "6"},
		{"source and since", message.Filter{Source: message.SourceNative, Since: at("2025-01-15T10:00:00.5Z")}, "3 4 5"},
		{"all", message.Filter{From: "+1", To: "+9", Since: at("2025-01-15T09:00:00Z"), Until: at("2025-01-15T12:00:00Z"), Text: "ell"}, "1 6"},
		{"all but one", message.Filter{From: "+1", To: "+9", Since: at("2025-01-15T09:00:00.1Z"), Until: at("2025-01-15T12:00:00Z"), Text: "ell"}, "6"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := strings.Fields(tt.want)
			page := list(t, d, message.Query{Limit: message.MaxLimit, Filter: tt.filter})
			wantEqual(t, "IDs", want, ids(page.Messages))
			wantEqual(t, "total", int64(len(want)), page.Total)
			wantEqual(t, "next cursor", "", page.NextCursor)
			page = list(t, d, message.Query{Limit: message.MaxLimit, Filter: tt.filter, NoTotal: true})
			wantEqual(t, "IDs without a total", want, ids(page.Messages))
			wantEqual(t, "no total", -1, page.Total)

			slices.Reverse(want)
			page = list(t, d, message.Query{Limit: message.MaxLimit, Filter: tt.filter, Order: message.Descending})
			wantEqual(t, "IDs, descending", want, ids(page.Messages))

			if len(want) > 1 {
				page = list(t, d, message.Query{Limit: 1, Offset: 1, Filter: tt.filter, Order: message.Descending})
				wantEqual(t, "ID on the second page", want[1:2], ids(page.Messages))
				wantEqual(t, "total on the second page", int64(len(want)), page.Total)
			}
		})
	}
}

// testListText: a substring without regard to case in any script, in which
// nothing is a wildcard.
func testListText(t *testing.T, d *db) {
	texts := map[string]string{
		"school":    "L'ÉCOLE est finie",
		"accent":    "e\u0301cole", // e and a combining accent: other characters
		"percent":   "100% sure",
		"hundred":   "100 sure",
		"underline": "snake_case",
		"snake":     "snakeXcase",
		"backslash": `C:\temp`,
		"quotes":    `it's "so"`,
		"sql":       "'; DROP TABLE messages; --",
		"greek":     "ΟΔΥΣΣΕΥΣ",
		"cyrillic":  "Привет, МИР",
		"german":    "Straße",
		"kelvin":    "300 \u212A", // the Kelvin sign
		"dotted":    "\u0130stanbul",
		"long s":    "Congre\u017f\u017f",
		"emoji":     "👍🏽 ok",
		"lines":     "first\nsecond\tthird",
		"empty":     "",
		"long":      strings.Repeat("😀", message.MaxTextLength-6) + "needle",
	}
	for id, text := range texts {
		save(t, d, newMessage(id, noon, setText(text)))
	}
	save(t, d, newMessage("null", noon))

	tests := []struct {
		needle string
		want   []string
	}{
		{"école", []string{"school"}},
		{"École", []string{"school"}},
		{"E\u0301COLE", []string{"accent"}},
		{"cole", []string{"accent", "school"}},
		{"%", []string{"percent"}},
		{"100%", []string{"percent"}},
		{"_", []string{"underline"}},
		{"snake_c", []string{"underline"}},
		{"%%", nil},
		{"s%e", nil},
		{`\`, []string{"backslash"}},
		{`:\T`, []string{"backslash"}},
		{`\\`, nil},
		{`\%`, nil},
		{"'", []string{"quotes", "school", "sql"}},
		{`"SO"`, []string{"quotes"}},
		{"drop table", []string{"sql"}},
		{"*", nil},
		{".", nil},
		{"[a-z]", nil},
		{"οδυσσευσ", []string{"greek"}},
		{"οδυσσευς", []string{"greek"}},
		{"ПРИВЕТ, мир", []string{"cyrillic"}},
		{"STRAẞE", []string{"german"}},
		{"strasse", nil}, // one character for one: simple folding
		{"300 k", []string{"kelvin"}},
		{"stanbul", []string{"dotted"}},
		{"i\u0307stanbul", nil},
		{"istanbul", nil},
		{"CONGRESS", []string{"long s"}},
		{"👍", []string{"emoji"}},
		{"👍 ok", nil},
		{"FIRST\nSECOND", []string{"lines"}},
		{"\t", []string{"lines"}},
		{"NEEDLE", []string{"long"}},
		{strings.Repeat("😀", message.MaxTextLength-6) + "NEEDLE", []string{"long"}},
		{strings.Repeat("x", 10_000), nil},
		{"null", nil},
		{"nil", nil},
	}
	for _, tt := range tests {
		page := list(t, d, message.Query{Limit: message.MaxLimit, Filter: message.Filter{Text: tt.needle}})
		what := tt.needle
		if len(what) > 40 {
			what = what[:40]
		}
		wantEqual(t, "IDs of the messages with "+what, tt.want, ids(page.Messages))
		wantEqual(t, "total of the messages with "+what, int64(len(tt.want)), page.Total)
	}
}

func testListOffset(t *testing.T, d *db) {
	const n = 7
	var want []string
	for i := range n {
		id := string(rune('a' + i))
		want = append(want, id)
		save(t, d, newMessage(id, noon, setFrom("+"+string(rune('1'+i%2)))))
	}
	for _, order := range []message.Order{message.Ascending, message.Descending} {
		for limit := 1; limit <= n+1; limit++ {
			for offset := range n + 2 {
				page := list(t, d, message.Query{Limit: limit, Offset: int64(offset), Order: order})
				end := min(offset+limit, n)
				wantEqual(t, "IDs", want[min(offset, n):end], ids(page.Messages))
				wantEqual(t, "total", n, page.Total)
				if more := offset+limit < n; more != (page.NextCursor != "") {
					t.Errorf("limit %d, offset %d: next cursor %q, but is there more: %v", limit, offset, page.NextCursor, more)
				}
			}
		}
		slices.Reverse(want)
	}
	for _, offset := range []int64{n, n + 1, 1_000_000, math.MaxInt32 + 1, math.MaxInt64 - message.MaxLimit, math.MaxInt64} {
		for _, order := range []message.Order{message.Ascending, message.Descending} {
			page := list(t, d, message.Query{Limit: message.MaxLimit, Offset: offset, Order: order})
			wantEqual(t, "page past the end", message.Page{Total: n}, page)
			page = list(t, d, message.Query{Limit: 1, Offset: offset, Order: order, Filter: message.Filter{From: "+1"}})
			wantEqual(t, "filtered page past the end", message.Page{Total: (n + 1) / 2}, page)
		}
	}
}

// testContent: what was saved comes back as it was, from List and from Get.
func testContent(t *testing.T, d *db) {
	messages := []message.Message{
		newMessage("no text", noon),
		newMessage("empty text", noon, setText("")),
		newMessage("space", noon, setText(" ")),
		newMessage("looks like null", noon, setText("null")),
		newMessage("looks like a number", noon, setText("0123.50")),
		newMessage("ends with spaces", noon, setText("a  ")),
		newMessage("control characters", noon, setText("\x01\t\r\n\x1b[31m\x7f\u0085")),
		newMessage("not normalised", noon, setText("e\u0301 é \ufb00")),
		newMessage("odd characters", noon, setText("\ufeff\u200b\u202e\u2028\ufffd\uffff\U0010ffff")),
		newMessage("longest", noon, setText(strings.Repeat("\U0010ffff", message.MaxTextLength))),
		newMessage("nine digits", "2025-01-15T12:00:00.123456789Z"),
		newMessage("nine zeros", "2025-01-15T12:00:00.000000000Z"),
		newMessage("one zero", "2025-01-15T12:00:00.0Z"),
		newMessage("first instant", "0001-01-01T00:00:00Z"),
		newMessage("last instant", "9999-12-31T23:59:59.999999999Z"),
		newMessage("leap day", "2024-02-29T23:59:59Z"),
		newMessage("before 1970", "1969-12-31T23:59:59.999999999Z"),
		newMessage("shortest numbers", noon, setFrom("+0"), setTo("+1")),
		newMessage("longest numbers", noon, setFrom("+012345678901234"), setTo("+999999999999999")),
	}
	save(t, d, messages...)
	byID := map[string]message.Message{}
	for _, m := range everything(t, d) {
		byID[m.ID] = m
	}
	for _, m := range messages {
		wantEqual(t, m.ID+" from List", m, byID[m.ID])
		got, err := d.Get(t.Context(), m.Source, m.ID)
		if err != nil {
			t.Errorf("Get(%q): %v", m.ID, err)
		}
		wantEqual(t, m.ID+" from Get", m, got)
		if got.At.Location() != time.UTC {
			t.Errorf("%s: At is in %v, want UTC", m.ID, got.At.Location())
		}
	}
}

// testReadContextEnded: that a read ended early is told as unavailable, and not
// as an empty answer.
func testReadContextEnded(t *testing.T, d *db) {
	save(t, d, newMessage("a", noon))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, listErr := d.List(ctx, message.Query{Limit: 1})
	_, getErr := d.Get(ctx, "", "a")
	_, statsErr := d.Stats(ctx, message.Filter{})
	_, timelineErr := d.Timeline(ctx, message.Filter{}, message.Day)
	for what, err := range map[string]error{"List": listErr, "Get": getErr, "Stats": statsErr, "Timeline": timelineErr} {
		if !errors.Is(err, message.ErrUnavailable) {
			t.Errorf("%s with an ended context: got %v, want ErrUnavailable", what, err)
		}
	}
}
