package telemetry

import (
	"fmt"
	"testing"
	"time"
)

// An error whose text is new each time must not fill the memory.
func TestLimiterBounded(t *testing.T) {
	l := NewLimiter(time.Minute)
	now := time.Now()
	for i := range 10_000 {
		if ok, _ := l.Allow(fmt.Sprint(i), now); !ok {
			t.Fatalf("new key %d was held back", i)
		}
		if len(l.seen) > maxRepeats {
			t.Fatalf("%d keys are kept", len(l.seen))
		}
	}
}
