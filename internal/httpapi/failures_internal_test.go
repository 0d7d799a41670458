package httpapi

import (
	"net/netip"
	"testing"
	"time"
)

func TestFailures(t *testing.T) {
	t.Parallel()
	const perMinute = 6
	one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	f, now := newFailures(perMinute), time.Unix(1_000_000, 0)
	burst := func(client netip.Addr, want int) {
		t.Helper()
		for i := range want {
			if wait := f.wait(client, now); wait != 0 {
				t.Fatalf("failure %d: has to wait %v", i, wait)
			}
			if wait := f.add(client, now); wait != 0 {
				t.Fatalf("failure %d is not let through for %v", i, wait)
			}
		}
	}
	burst(one, perMinute)
	for range 3 { // what is not let through is not owed
		if wait, again := f.add(one, now), f.wait(one, now); wait != 10*time.Second || again != wait {
			t.Errorf("has to wait %v and %v, want 10s", wait, again)
		}
	}
	burst(other, perMinute)
	now = now.Add(9 * time.Second)
	if wait := f.add(one, now); wait != time.Second {
		t.Errorf("has to wait %v, want 1s", wait)
	}
	now = now.Add(time.Second)
	burst(one, 1)
	if wait := f.add(one, now); wait != 10*time.Second {
		t.Errorf("has to wait %v, want 10s", wait)
	}
	now = now.Add(time.Hour) // no more than a minute's worth gathers
	burst(one, perMinute)
	if f.add(one, now) == 0 {
		t.Error("more than the limit was let through after an hour")
	}

	none := newFailures(0)
	for range 1000 {
		if none.add(one, now)+none.wait(one, now) != 0 {
			t.Fatal("0 is a limit")
		}
	}
}

// Strangers with ever new addresses take no memory, and do not wash out those
// who have failed most.
func TestFailuresAreBounded(t *testing.T) {
	t.Parallel()
	f, now := newFailures(2), time.Unix(1_000_000, 0)
	bad := netip.MustParseAddr("192.0.2.1")
	f.add(bad, now)
	f.add(bad, now)
	address := netip.MustParseAddr("2001:db8::")
	for range 3 * maxFailers {
		address = address.Next()
		if wait := f.add(address, now); wait != 0 {
			t.Fatalf("a stranger has to wait %v", wait)
		}
	}
	if len(f.byClient) != maxFailers || len(f.queue) != maxFailers {
		t.Errorf("%d clients are remembered, %d stand in the queue, want %d", len(f.byClient), len(f.queue), maxFailers)
	}
	if f.wait(bad, now) == 0 {
		t.Error("the worst was forgotten")
	}
	now = now.Add(time.Minute)
	f.add(address.Next(), now)
	if f.add(bad, now) != 0 || len(f.byClient) != 2 || len(f.queue) != 2 {
		t.Errorf("%d clients are remembered when all but two are forgiven", len(f.byClient))
	}
}
