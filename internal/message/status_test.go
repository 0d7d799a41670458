package message_test

import (
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// TestCurrentStatus gives the reports in every order: arrival decides nothing.
func TestCurrentStatus(t *testing.T) {
	for _, c := range []struct {
		reports string // each a status and when it happened, in seconds
		want    string
	}{
		{"", ""},
		{"sent 1", "sent"},
		{"sent 1, delivered 2", "delivered"},
		{"sent 1, delivered 2, read 3", "read"},
		{"sent 3, delivered 2, read 1", "read"}, // clocks that are off unread nothing
		{"read 5", "read"},                      // delivered may never come
		{"delivered 5, read 5, played 5", "played"},
		{"sent 1, failed 2", "failed"},
		{"failed 2, sent 9", "failed"},
		{"failed 2, delivered 3", "delivered"}, // it went on after all
		{"failed 2, sent 1, read 3", "read"},
		{"failed 3, delivered 2", "failed"},
		{"failed 2, delivered 2", "failed"},
		{"delivered 1, failed 2, read 3", "read"},
		{"failed 2, delivered 3, read 1", "read"},
		{"failed 5, delivered 5, undelivered 5", "undelivered"},
		{"queued 1, sending 2, sent 3, undelivered 4", "undelivered"},
		{"accepted 1, queued 2", "queued"},
		{"failed 1, undelivered 2", "undelivered"}, // the later of equals
		{"warning 9", "warning"},
		{"warning 9, sent 1", "sent"},
		{"deleted 9, read 1", "read"},
	} {
		var statuses []message.Status
		for report := range strings.SplitSeq(c.reports, ", ") {
			word, second, ok := strings.Cut(report, " ")
			if ok {
				statuses = append(statuses, message.Status{Status: word, At: time.Unix(int64(second[0]-'0'), 0)})
			}
		}
		permute(statuses, func(order []message.Status) {
			if got := message.CurrentStatus(order); got != c.want {
				t.Errorf("%s: got %q from %v, want %q", c.reports, got, order, c.want)
			}
		})
	}
}

// permute calls f with every order of the list.
func permute(list []message.Status, f func([]message.Status)) {
	var from func(i int)
	from = func(i int) {
		if i >= len(list)-1 {
			f(list)
			return
		}
		for j := i; j < len(list); j++ {
			list[i], list[j] = list[j], list[i]
			from(i + 1)
			list[i], list[j] = list[j], list[i]
		}
	}
	from(0)
}

func TestSameContentOfArrival(t *testing.T) {
	a := message.Message{Source: "twilio", ID: "a", From: "+1", TS: "2025-01-15T10:00:00Z", TSIsArrival: true, Raw: []byte(`{"a":1}`)}
	b := a
	b.TS, b.TSIsArrival, b.Raw = "2025-01-15T10:00:07Z", false, nil
	if !a.SameContent(&b) || !b.SameContent(&a) {
		t.Error("a repeat that arrives later differs")
	}
	a.TSIsArrival = false
	if a.SameContent(&b) || b.SameContent(&a) {
		t.Error("another time that the sender gave is the same")
	}
}
