package httpapi

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"lyftr/internal/message"
)

// FuzzQuery holds parseListQuery to its promises for any query: it does not
// panic, what it accepts is within the limits and as narrow as it was asked to
// be, and what it refuses it refuses by the name of a parameter.
func FuzzQuery(f *testing.F) {
	for _, raw := range []string{
		"", "&", "=", "limit=2&offset=0", "limit=100&offset=9223372036854775807", "limit=0", "limit=-0", "limit=+5", "limit=%EF%BC%91", "limit=1&limit=2",
		"from=+919876543210", "from=%2B919876543210&to=+1", "from_msisdn=%20919876543210", "from=+1&from_msisdn=+1", "to=&to_msisdn=",
		"since=2025-01-15T09:30:00Z&until=2025-01-15T15:00:00+05:30", "since=0001-01-01T00:00:00Z", "until=9999-12-31T23:59:59-23:59", "since=x",
		"q=Hello", "q=%25_%5C", "q=a;b", "q=%ff", "q=%00", "q=%", "q=%zz&limit=5", "cursor=x&order=desc", "order=ASC", "%71=x",
		"source=whatsapp&fields=all&total=none", "source=&fields=&total=", "fields=raw", "total=0", "source=a&source=b", "unknown=1&unknown=2",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, all, err := parseListQuery(raw)
		if err != nil {
			var invalid *message.InvalidError
			if !errors.As(err, &invalid) || len(invalid.Faults) == 0 {
				t.Fatalf("?%s: %T %v", raw, err, err)
			}
			for _, fault := range invalid.Faults {
				if len(fault.Loc) != 2 || fault.Loc[0] != "query" || fault.Msg == "" || fault.Type == "" {
					t.Errorf("?%s: %+v", raw, fault)
				}
				if name, ok := fault.Loc[1].(string); !ok || name == "" && !strings.Contains("&"+raw, "&=") {
					t.Errorf("?%s: no name in %+v", raw, fault)
				}
			}
			return
		}
		if q.Limit < 1 || q.Limit > message.MaxLimit || q.Offset < 0 || q.Order != message.Ascending && q.Order != message.Descending {
			t.Fatalf("?%s: %+v", raw, q)
		}
		for _, s := range []string{q.From, q.To, q.Text, q.Cursor, q.Source} {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
				t.Errorf("?%s: %q", raw, s)
			}
		}
		// An independent reading of the query: no filter was lost.
		v, err := url.ParseQuery(strings.ReplaceAll(raw, ";", "%3B"))
		if err != nil {
			t.Fatalf("?%s was accepted: %v", raw, err)
		}
		get := func(names ...string) string {
			var all []string
			for _, name := range names {
				all = append(all, v[name]...)
			}
			if len(all) > 1 {
				t.Fatalf("?%s was accepted with %q given %d times", raw, names, len(all))
			}
			return strings.Join(all, "")
		}
		phone := func(names ...string) string {
			s := get(names...)
			if rest, ok := strings.CutPrefix(s, " "); ok {
				s = "+" + rest
			}
			return s
		}
		for what, pair := range map[string][2]string{
			"from":   {q.From, phone("from", "from_msisdn")},
			"to":     {q.To, phone("to", "to_msisdn")},
			"q":      {q.Text, get("q")},
			"cursor": {q.Cursor, get("cursor")},
			"source": {q.Source, get("source")},
		} {
			if pair[0] != pair[1] {
				t.Errorf("?%s: %s is %q, want %q", raw, what, pair[0], pair[1])
			}
		}
		if (get("since") == "") != q.Since.IsZero() || (get("until") == "") != q.Until.IsZero() {
			t.Errorf("?%s: since %v, until %v", raw, q.Since, q.Until)
		}
		if want := get("order"); want != "" && want != string(q.Order) {
			t.Errorf("?%s: order is %q", raw, q.Order)
		}
		if all != (get("fields") == "all") || q.NoTotal != (get("total") == "none") {
			t.Errorf("?%s: all fields %v, no total %v", raw, all, q.NoTotal)
		}
	})
}
