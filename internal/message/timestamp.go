package message

import (
	"errors"
	"time"
)

// ErrTimestamp says what a message's timestamp has to look like.
var ErrTimestamp = errors.New("must be a UTC time YYYY-MM-DDTHH:MM:SSZ with at most nine digits of a fraction, and a real date")

// ErrInstant says what a time in a query has to look like.
var ErrInstant = errors.New("must be an RFC 3339 time such as 2025-01-15T09:30:00Z or 2025-01-15T09:30:00+05:30")

// ParseTimestamp parses the ts of a message: RFC 3339 in UTC, written with a
// Z, the fraction of 0 to 9 digits. It returns ErrTimestamp for anything else.
//
// time.Parse is not used because it takes commas for points, fractions of any
// length and one-digit hours.
func ParseTimestamp(s string) (time.Time, error) {
	t, zone, ok := parseDateTime(s)
	if !ok || zone != "Z" {
		return time.Time{}, ErrTimestamp
	}
	return t, nil
}

// ParseInstant parses a time in a query: as ParseTimestamp, but an offset from
// UTC may stand in place of the Z. A space is taken for the offset's plus sign,
// since that is what a raw + in a URL turns into. The result is in UTC.
func ParseInstant(s string) (time.Time, error) {
	t, zone, ok := parseDateTime(s)
	if !ok {
		return time.Time{}, ErrInstant
	}
	if zone == "Z" {
		return t, nil
	}
	if len(zone) != len("+00:00") || zone[3] != ':' {
		return time.Time{}, ErrInstant
	}
	hours, okH := digits(zone[1:3])
	minutes, okM := digits(zone[4:6])
	if !okH || !okM || hours > 23 || minutes > 59 {
		return time.Time{}, ErrInstant
	}
	offset := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	switch zone[0] {
	case '+', ' ':
		return t.Add(-offset), nil
	case '-':
		return t.Add(offset), nil
	}
	return time.Time{}, ErrInstant
}

// parseDateTime parses YYYY-MM-DDTHH:MM:SS, an optional fraction, and returns
// what follows as the zone.
func parseDateTime(s string) (t time.Time, zone string, ok bool) {
	const layout = "0000-00-00T00:00:00"
	if len(s) <= len(layout) || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, "", false
	}
	var n [6]int
	for i, part := range [6]string{s[0:4], s[5:7], s[8:10], s[11:13], s[14:16], s[17:19]} {
		if n[i], ok = digits(part); !ok {
			return time.Time{}, "", false
		}
	}
	zone = s[len(layout):]
	nanos := 0
	if zone[0] == '.' {
		end := 1
		for scale := 100_000_000; end < len(zone) && zone[end] >= '0' && zone[end] <= '9'; end++ {
			nanos += int(zone[end]-'0') * scale
			scale /= 10
		}
		if end == 1 || end > 10 {
			return time.Time{}, "", false
		}
		zone = zone[end:]
	}
	year, month, day := n[0], time.Month(n[1]), n[2]
	if year < 1 || n[3] > 23 || n[4] > 59 || n[5] > 59 {
		return time.Time{}, "", false
	}
	t = time.Date(year, month, day, n[3], n[4], n[5], nanos, time.UTC)
	// time.Date turns 30 February into 2 March: a real date comes back as it was.
	if t.Month() != month || t.Day() != day || month < 1 {
		return time.Time{}, "", false
	}
	return t, zone, true
}

// digits parses ASCII digits only.
func digits(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
