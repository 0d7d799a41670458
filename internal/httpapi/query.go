package httpapi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"lyftr/internal/message"
)

// values are the parameters of a request, and what is wrong with them.
type values struct {
	v      url.Values
	faults []message.Fault
}

// queryFault is an error in one parameter.
func queryFault(name, kind, msg string) *message.InvalidError {
	return &message.InvalidError{Faults: []message.Fault{{Loc: []any{"query", name}, Msg: msg, Type: kind}}}
}

// parseQuery parses the query of a URL. A query that cannot be parsed whole is
// an error: what is left of it would be another question. url.ParseQuery is not
// used because it refuses a semicolon, which is an ordinary character in a text
// that is looked for.
func parseQuery(raw string) (*values, error) {
	v := &values{v: url.Values{}}
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if pair == "" {
			continue
		}
		n, errName := url.QueryUnescape(name)
		s, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil {
			if errName != nil {
				n = "?" // a name that cannot be read
			}
			return nil, queryFault(n, message.FaultValue, "Value error, a percent escape is broken: write %25 for a percent sign")
		}
		v.v[n] = append(v.v[n], s)
	}
	return v, nil
}

func (v *values) fault(name, kind, msg string) {
	v.faults = append(v.faults, message.Fault{Loc: []any{"query", name}, Msg: msg, Type: kind})
}

// err returns all faults found so far as one error.
func (v *values) err() error {
	if len(v.faults) == 0 {
		return nil
	}
	return &message.InvalidError{Faults: v.faults}
}

// get returns the value of a parameter that may have several names, whether it
// was there, and under which name.
func (v *values) get(names ...string) (value, name string, ok bool) {
	var all []string
	for _, n := range names {
		if len(v.v[n]) > 0 {
			name = n
		}
		all = append(all, v.v[n]...)
	}
	if len(all) == 0 {
		return "", "", false
	}
	if len(all) > 1 {
		v.fault(name, message.FaultValue, "Value error, the parameter is given more than once")
		return "", "", false
	}
	return all[0], name, true
}

// text returns a filter; an empty one counts as absent.
func (v *values) text(names ...string) string {
	s, name, ok := v.get(names...)
	if !ok {
		return ""
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		v.fault(name, message.FaultValue, "Value error, must be valid UTF-8 without the character U+0000")
		return ""
	}
	return s
}

// phone returns a sender or a recipient. A raw + in a URL arrives as a space.
func (v *values) phone(names ...string) string {
	s := v.text(names...)
	if strings.HasPrefix(s, " ") {
		return "+" + s[1:]
	}
	return s
}

// time returns an instant, or the zero time if there is none.
func (v *values) time(name string) time.Time {
	s := v.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := message.ParseInstant(s)
	if err != nil {
		v.fault(name, message.FaultValue, "Value error, "+err.Error())
		return time.Time{}
	}
	if t.IsZero() {
		// The first instant of the year 1 would read as "no limit". No message
		// is older, so the instant before it means the same.
		return t.Add(-1)
	}
	return t
}

// integer returns a whole number of at least least, written in ASCII digits.
func (v *values) integer(name string, least, most, otherwise int64) int64 {
	s, _, ok := v.get(name)
	if !ok {
		return otherwise
	}
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		v.fault(name, message.FaultNotInteger, "Input should be a valid integer, unable to parse string as an integer")
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case strings.HasPrefix(s, "-") && (err != nil || n < least), err == nil && n < least:
		v.fault(name, message.FaultTooSmall, "Input should be greater than or equal to "+strconv.FormatInt(least, 10))
	case err != nil, n > most:
		v.fault(name, message.FaultTooLarge, "Input should be less than or equal to "+strconv.FormatInt(most, 10))
	default:
		return n
	}
	return otherwise
}

// choice returns one of a few words, the first if the parameter is absent.
func (v *values) choice(name string, words ...string) string {
	s, _, ok := v.get(name)
	if !ok || s == "" {
		return words[0]
	}
	if !slices.Contains(words, s) {
		v.fault(name, message.FaultEnumeration, "Input should be '"+strings.Join(words, "' or '")+"'")
		return words[0]
	}
	return s
}

// statsFilter returns the filters that lists and statistics share.
func (v *values) statsFilter() message.Filter {
	return message.Filter{
		From:   v.phone("from", "from_msisdn"),
		To:     v.phone("to", "to_msisdn"),
		Since:  v.time("since"),
		Until:  v.time("until"),
		Source: v.text("source"),
	}
}

func (v *values) bucket() (string, message.Bucket) {
	name := v.choice("bucket", "day", "hour", "minute")
	return name, map[string]message.Bucket{"minute": message.Minute, "hour": message.Hour, "day": message.Day}[name]
}

// Words of the parameters fields and total.
const (
	fieldsBasic, fieldsAll = "basic", "all"
	totalExact, totalNone  = "exact", "none"
)

// parseListQuery parses the query of GET /messages. all says that more is wanted
// of each message than the contract has.
func parseListQuery(raw string) (q message.Query, all bool, err error) {
	v, err := parseQuery(raw)
	if err != nil {
		return message.Query{}, false, err
	}
	const mostOffset = 1<<63 - 1
	q = message.Query{
		Filter: v.statsFilter(),
		Limit:  int(v.integer("limit", 1, message.MaxLimit, message.DefaultLimit)),
		Offset: v.integer("offset", 0, mostOffset, 0),
		Cursor: v.text("cursor"),
		Order:  message.Order(v.choice("order", string(message.Ascending), string(message.Descending))),
	}
	q.Text = v.text("q")
	q.NoTotal = v.choice("total", totalExact, totalNone) == totalNone
	all = v.choice("fields", fieldsBasic, fieldsAll) == fieldsAll
	return q, all, v.err()
}
