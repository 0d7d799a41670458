package message_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"lyftr/internal/message"
)

func utc(year int, month time.Month, day, hour, minute, second, nanos int) time.Time {
	return time.Date(year, month, day, hour, minute, second, nanos, time.UTC)
}

func TestParseTimestamp(t *testing.T) {
	for _, c := range []struct {
		name, ts string
		want     time.Time
	}{
		{"plain", "2025-01-15T10:00:00Z", utc(2025, 1, 15, 10, 0, 0, 0)},
		{"1 digit", "2025-01-15T10:00:00.5Z", utc(2025, 1, 15, 10, 0, 0, 500_000_000)},
		{"2 digits", "2025-01-15T10:00:00.05Z", utc(2025, 1, 15, 10, 0, 0, 50_000_000)},
		{"3 digits", "2025-01-15T10:00:00.123Z", utc(2025, 1, 15, 10, 0, 0, 123_000_000)},
		{"4 digits", "2025-01-15T10:00:00.1234Z", utc(2025, 1, 15, 10, 0, 0, 123_400_000)},
		{"5 digits", "2025-01-15T10:00:00.12345Z", utc(2025, 1, 15, 10, 0, 0, 123_450_000)},
		{"6 digits", "2025-01-15T10:00:00.123456Z", utc(2025, 1, 15, 10, 0, 0, 123_456_000)},
		{"7 digits", "2025-01-15T10:00:00.1234567Z", utc(2025, 1, 15, 10, 0, 0, 123_456_700)},
		{"8 digits", "2025-01-15T10:00:00.12345678Z", utc(2025, 1, 15, 10, 0, 0, 123_456_780)},
		{"9 digits", "2025-01-15T10:00:00.123456789Z", utc(2025, 1, 15, 10, 0, 0, 123_456_789)},
		{"fraction of zeros", "2025-01-15T10:00:00.000000000Z", utc(2025, 1, 15, 10, 0, 0, 0)},
		{"fraction of nines", "2025-01-15T10:00:00.999999999Z", utc(2025, 1, 15, 10, 0, 0, 999_999_999)},
		{"end of a day", "2025-12-31T23:59:59Z", utc(2025, 12, 31, 23, 59, 59, 0)},
		{"leap day", "2024-02-29T00:00:00Z", utc(2024, 2, 29, 0, 0, 0, 0)},
		{"leap day of 2000", "2000-02-29T00:00:00Z", utc(2000, 2, 29, 0, 0, 0, 0)},
		{"before 1970", "1969-12-31T23:59:59.5Z", utc(1969, 12, 31, 23, 59, 59, 500_000_000)},
		{"first year", "0001-01-01T00:00:00Z", utc(1, 1, 1, 0, 0, 0, 0)},
		{"last year", "9999-12-31T23:59:59.999999999Z", utc(9999, 12, 31, 23, 59, 59, 999_999_999)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := message.ParseTimestamp(c.ts)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(c.want) || got.Location() != time.UTC {
				t.Errorf("got %v, want %v", got, c.want)
			}
			// A query takes whatever a message may carry.
			if got, err := message.ParseInstant(c.ts); err != nil || !got.Equal(c.want) {
				t.Errorf("as a query: %v, %v", got, err)
			}
			// The answer gives it back as it was received.
			m, err := message.Decode([]byte(with("ts", quoted(c.ts))))
			if err != nil || m.TS != c.ts || !m.At.Equal(c.want) {
				t.Errorf("as a message: %q, %v, %v", m.TS, m.At, err)
			}
		})
	}
}

// badTimes are neither a message's timestamp nor a time in a query.
var badTimes = []struct{ name, ts string }{
	{"empty", ""},
	{"Z", "Z"},
	{"date alone", "2025-01-15"},
	{"date and Z", "2025-01-15Z"},
	{"no zone", "2025-01-15T10:00:00"},
	{"fraction and no zone", "2025-01-15T10:00:00.5"},
	{"no seconds", "2025-01-15T10:00Z"},
	{"10 digits of a fraction", "2025-01-15T10:00:00.1234567890Z"},
	{"100 digits of a fraction", "2025-01-15T10:00:00.0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000Z"},
	{"no digit of a fraction", "2025-01-15T10:00:00.Z"},
	{"comma", "2025-01-15T10:00:00,5Z"},
	{"two points", "2025-01-15T10:00:00.5.5Z"},
	{"sign in a fraction", "2025-01-15T10:00:00.-5Z"},
	{"leap second", "2016-12-31T23:59:60Z"},
	{"24:00:00", "2025-01-15T24:00:00Z"},
	{"minute 60", "2025-01-15T10:60:00Z"},
	{"second 60 within a day", "2025-01-15T10:00:60Z"},
	{"second 61", "2025-01-15T10:00:61Z"},
	{"30 February", "2025-02-30T10:00:00Z"},
	{"29 February of a common year", "2025-02-29T10:00:00Z"},
	{"29 February of 1900", "1900-02-29T10:00:00Z"},
	{"31 April", "2025-04-31T10:00:00Z"},
	{"32 January", "2025-01-32T10:00:00Z"},
	{"day 0", "2025-01-00T10:00:00Z"},
	{"month 0", "2025-00-15T10:00:00Z"},
	{"month 13", "2025-13-15T10:00:00Z"},
	{"year 0", "0000-01-01T00:00:00Z"},
	{"year 0 on its last day", "0000-12-31T23:59:59Z"},
	{"two-digit year", "25-01-15T10:00:00Z"},
	{"five-digit year", "12025-01-15T10:00:00Z"},
	{"negative year", "-025-01-15T10:00:00Z"},
	{"signed year", "+025-01-15T10:00:00Z"},
	{"one-digit month", "2025-1-15T10:00:00Z"},
	{"one-digit hour", "2025-01-15T9:00:00Z"},
	{"lower-case t", "2025-01-15t10:00:00Z"},
	{"lower-case z", "2025-01-15T10:00:00z"},
	{"space for T", "2025-01-15 10:00:00Z"},
	{"slashes", "2025/01/15T10:00:00Z"},
	{"basic form", "20250115T100000Z"},
	{"point for colon", "2025-01-15T10.00.00Z"},
	{"week date", "2025-W03-3T10:00:00Z"},
	{"space before", " 2025-01-15T10:00:00Z"},
	{"space behind", "2025-01-15T10:00:00Z "},
	{"newline behind", "2025-01-15T10:00:00Z\n"},
	{"space before Z", "2025-01-15T10:00:00 Z"},
	{"two zones", "2025-01-15T10:00:00ZZ"},
	{"Z and offset", "2025-01-15T10:00:00Z+00:00"},
	{"UTC", "2025-01-15T10:00:00UTC"},
	{"Arabic digits", "٢٠٢٥-01-15T10:00:00Z"},
	{"full-width digits", "2025-01-15T１0:00:00Z"},
	{"full-width fraction", "2025-01-15T10:00:00.５Z"},
	{"NUL", "2025-01-15T10:00:00\x00Z"},
	{"Unix time", "1736935200"},
	{"hexadecimal", "0x25-01-15T10:00:00Z"},
	{"underscore", "2_25-01-15T10:00:00Z"},
	{"offset without colon", "2025-01-15T10:00:00+0530"},
	{"offset of hours alone", "2025-01-15T10:00:00+05"},
	{"offset of one digit", "2025-01-15T10:00:00+5:30"},
	{"offset of 24 hours", "2025-01-15T10:00:00+24:00"},
	{"offset of 60 minutes", "2025-01-15T10:00:00+05:60"},
	{"offset with seconds", "2025-01-15T10:00:00+05:30:00"},
	{"offset without sign", "2025-01-15T10:00:00 5:30"},
	{"offset with two signs", "2025-01-15T10:00:00+-5:30"},
	{"offset with a letter", "2025-01-15T10:00:00+0a:30"},
	{"offset with a comma", "2025-01-15T10:00:00+05,30"},
	{"offset with Unicode minus", "2025-01-15T10:00:00−05:30"},
	{"offset with underscore", "2025-01-15T10:00:00_05:30"},
	{"offset with tab", "2025-01-15T10:00:00\t05:30"},
	{"two spaces before the offset", "2025-01-15T10:00:00  05:30"},
}

func TestParseTimestampRefuses(t *testing.T) {
	for _, c := range append(slices.Clone(badTimes), []struct{ name, ts string }{
		{"offset", "2025-01-15T10:00:00+05:30"},
		{"zero offset", "2025-01-15T10:00:00+00:00"},
		{"negative offset", "2025-01-15T10:00:00-08:00"},
		{"space for plus", "2025-01-15T10:00:00 05:30"},
	}...) {
		t.Run(c.name, func(t *testing.T) {
			got, err := message.ParseTimestamp(c.ts)
			if !errors.Is(err, message.ErrTimestamp) || !got.IsZero() {
				t.Errorf("got %v, %v", got, err)
			}
			if diff := cmp.Diff([]string{"ts: value_error"}, faults(t, with("ts", quoted(c.ts)))); diff != "" {
				t.Errorf("as a message: %s", diff)
			}
		})
	}
}

func TestParseInstant(t *testing.T) {
	for _, c := range []struct {
		name, s string
		want    time.Time
	}{
		{"Z", "2025-01-15T09:30:00Z", utc(2025, 1, 15, 9, 30, 0, 0)},
		{"plus", "2025-01-15T09:30:00+05:30", utc(2025, 1, 15, 4, 0, 0, 0)},
		{"space for plus", "2025-01-15T09:30:00 05:30", utc(2025, 1, 15, 4, 0, 0, 0)},
		{"minus", "2025-01-15T09:30:00-08:00", utc(2025, 1, 15, 17, 30, 0, 0)},
		{"plus zero", "2025-01-15T09:30:00+00:00", utc(2025, 1, 15, 9, 30, 0, 0)},
		{"minus zero", "2025-01-15T09:30:00-00:00", utc(2025, 1, 15, 9, 30, 0, 0)},
		{"into the next day", "2025-01-15T09:30:00-23:59", utc(2025, 1, 16, 9, 29, 0, 0)},
		{"into the day before", "2025-01-01T00:00:00+23:59", utc(2024, 12, 31, 0, 1, 0, 0)},
		{"fraction and offset", "2025-01-15T09:30:00.000000001+01:00", utc(2025, 1, 15, 8, 30, 0, 1)},
		{"fraction and space", "2025-01-15T09:30:00.5 01:00", utc(2025, 1, 15, 8, 30, 0, 500_000_000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := message.ParseInstant(c.s)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(c.want) || got.Location() != time.UTC {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestParseInstantRefuses(t *testing.T) {
	for _, c := range badTimes {
		t.Run(c.name, func(t *testing.T) {
			if got, err := message.ParseInstant(c.ts); !errors.Is(err, message.ErrInstant) || !got.IsZero() {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// Every time that the standard library writes in the contract's form is read
// as the same instant.
func TestParseTimestampRoundTrip(t *testing.T) {
	first, last := utc(1, 1, 1, 0, 0, 0, 0).Unix(), utc(9999, 12, 31, 23, 59, 59, 0).Unix()
	rapid.Check(t, func(t *rapid.T) {
		want := time.Unix(rapid.Int64Range(first, last).Draw(t, "unix"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
		got, err := message.ParseTimestamp(want.Format(time.RFC3339Nano))
		if err != nil || !got.Equal(want) {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
		offset := rapid.IntRange(-23*60-59, 23*60+59).Draw(t, "offset")
		local := want.In(time.FixedZone("", offset*60))
		if local.Year() < 1 || local.Year() > 9999 {
			return // cannot be written
		}
		got, err = message.ParseInstant(local.Format(time.RFC3339Nano))
		if err != nil || !got.Equal(want) {
			t.Fatalf("with offset: got %v, %v; want %v", got, err, want)
		}
	})
}

// The order of messages is that of the instants; that of the texts is another,
// for "." stands before "Z".
func TestOrderIsByInstant(t *testing.T) {
	inOrder := []string{
		"2025-01-15T10:00:00Z",
		"2025-01-15T10:00:00.000000001Z",
		"2025-01-15T10:00:00.09Z",
		"2025-01-15T10:00:00.1Z",
		"2025-01-15T10:00:00.10000001Z",
		"2025-01-15T10:00:00.9Z",
		"2025-01-15T10:00:01Z",
	}
	if slices.IsSorted(inOrder) {
		t.Fatal("the texts are in order themselves: the test proves nothing")
	}
	at := func(ts string) time.Time {
		m, err := message.Decode([]byte(with("ts", quoted(ts))))
		if err != nil {
			t.Fatal(err)
		}
		return m.At
	}
	for i := 1; i < len(inOrder); i++ {
		if !at(inOrder[i-1]).Before(at(inOrder[i])) {
			t.Errorf("%s is not before %s", inOrder[i-1], inOrder[i])
		}
	}
	if !at("2025-01-15T10:00:00Z").Equal(at("2025-01-15T10:00:00.000Z")) {
		t.Error("two ways to write one instant are not equal")
	}
}
