package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

func reject(t failer, s message.Store, rejections ...message.Rejection) {
	t.Helper()
	if err := s.Reject(t.Context(), rejections); err != nil {
		t.Fatalf("Reject: %v", err)
	}
}

func rejected(t failer, s message.Store, limit int) []message.Rejection {
	t.Helper()
	list, err := s.Rejected(t.Context(), limit)
	if err != nil {
		t.Fatalf("Rejected(%d): %v", limit, err)
	}
	return list
}

func newRejection(n int) message.Rejection {
	return message.Rejection{
		At: instant(noon).Add(time.Duration(n) * time.Millisecond), Source: "whatsapp", Status: 401, Result: "unauthorized",
		Reason: fmt.Sprint("reason ", n), Size: int64(n), RequestID: fmt.Sprint("request ", n), Times: 1,
	}
}

// newRejections are n of them, the oldest first.
func newRejections(from, n int) []message.Rejection {
	var list []message.Rejection
	for i := range n {
		list = append(list, newRejection(from+i))
	}
	return list
}

func newestFirst(list []message.Rejection) []message.Rejection {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// testRejected: everything comes back, the newest first, whatever the clock said.
func testRejected(t *testing.T, d *db) {
	wantEqual(t, "of an empty store", nil, rejected(t, d, 10))
	reject(t, d)
	want := []message.Rejection{
		newRejection(0),
		{
			At: instant("2025-01-15T12:00:00.789Z"), Source: "twilio", Status: 413, Result: "too_large",
			Reason: `body too large: "é" 😀 '%'`, Size: 1 << 40, Hash: strings.Repeat("0f", 32), RequestID: "r-1", Times: 1_000_000,
		},
		{At: instant("2001-01-01T00:00:00Z"), Source: "native", Times: 1}, // a clock that was set back
		newRejection(0), // word for word
	}
	reject(t, d, want[:3]...)
	reject(t, d, want[3])
	for range 2 {
		got := rejected(t, d, message.MaxRejections)
		wantEqual(t, "all", newestFirst(want), got)
		for _, r := range got {
			if r.At.Location() != time.UTC {
				t.Errorf("At is %v, want UTC", r.At)
			}
		}
		for _, limit := range []int{1, 2, len(want), len(want) + 1} {
			wantEqual(t, fmt.Sprint("the newest ", limit), newestFirst(want)[:min(limit, len(want))], rejected(t, d, limit))
		}
		wantEqual(t, "none", nil, rejected(t, d, 0))
		d.reopen(t)
	}
	wantEqual(t, "messages", nil, everything(t, d))
	wantEqual(t, "Status().Messages", 0, d.Status().Messages)
}

// testRejectedMany: the last ones are remembered, and no more.
func testRejectedMany(t *testing.T, d *db) {
	const most = message.MaxRejections
	made := 0
	check := func() {
		t.Helper()
		for _, limit := range []int{most, 10 * most} {
			got := rejected(t, d, limit)
			wantEqual(t, fmt.Sprintf("how many of %d", made), min(made, most), len(got))
			for i, r := range got {
				if r.Size != int64(made-1-i) {
					t.Fatalf("after %d: at %d from the newest is rejection %d", made, i, r.Size)
				}
			}
		}
	}
	for _, n := range []int{most - 1, 3, 1, 200, 2*most + 5, 7} {
		reject(t, d, newRejections(made, n)...)
		made += n
		check()
	}
	d.reopen(t)
	check()
	reject(t, d, newRejection(-1))
	wantEqual(t, "the newest", newRejection(-1), rejected(t, d, 1)[0])
}

// testRejectedAtOnce: none is lost, and those of one call keep their order.
func testRejectedAtOnce(t *testing.T, d *db) {
	const callers, calls, each = 8, 5, 4
	atOnce(callers, func(i int) bool {
		for c := range calls {
			if err := d.Reject(t.Context(), newRejections(1000*i+c*each, each)); err != nil {
				t.Errorf("Reject: %v", err)
			}
			if _, err := d.Rejected(t.Context(), 10); err != nil {
				t.Errorf("Rejected: %v", err)
			}
			saveInGoroutine(t, d, newMessage(fmt.Sprint(i, "-", c), noon))
		}
		return true
	})
	byCaller := map[int64][]message.Rejection{}
	for _, r := range newestFirst(rejected(t, d, message.MaxRejections)) {
		byCaller[r.Size/1000] = append(byCaller[r.Size/1000], r)
	}
	for i := range callers {
		wantEqual(t, fmt.Sprint("of caller ", i), newRejections(1000*i, calls*each), byCaller[int64(i)])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Rejected(ctx, 1); !errors.Is(err, message.ErrUnavailable) {
		t.Errorf("Rejected with an ended context: %v, want ErrUnavailable", err)
	}
}
