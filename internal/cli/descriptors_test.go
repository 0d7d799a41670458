package cli

import (
	"math"
	"testing"
)

// TestConnectionsFor leaves the database its descriptors, as far as there are any.
func TestConnectionsFor(t *testing.T) {
	for _, c := range []struct {
		most, descriptors, readers, want int
	}{
		{16384, math.MaxInt, 4, 16384}, // not known
		{16384, 65536, 4, 16384},
		{16384, 16384, 4, 16384 - 24 - 8},
		{16384, 1024, 64, 1024 - 24 - 128},
		{100, 1024, 4, 100},
		{16384, 64, 6, 64 - 24 - 12},
		{16384, 20, 6, 5}, // too few, and somebody is served
		{16384, 3, 6, 1},
	} {
		if got := connectionsFor(c.most, c.descriptors, c.readers); got != c.want {
			t.Errorf("of %d connections with %d descriptors and %d readers there are %d, want %d", c.most, c.descriptors, c.readers, got, c.want)
		}
	}
}
