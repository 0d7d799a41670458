package message

import (
	"context"
	"sync/atomic"
	"time"
)

// SaveTimes are when the commit of a save began and when it ended, whatever came
// of it. A store that knows them sets them, for a caller who asks by
// WithSaveTimes. They may be read at any time, also of a save that goes on after
// its caller has given up. A nil *SaveTimes takes them for nobody.
type SaveTimes struct {
	begun, ended atomic.Int64 // Unix time in nanoseconds; 0 is not yet
}

// Begin notes when the commit began.
func (t *SaveTimes) Begin(at time.Time) {
	if t != nil {
		t.begun.Store(at.UnixNano())
	}
}

// End notes when the commit ended.
func (t *SaveTimes) End(at time.Time) {
	if t != nil {
		t.ended.Store(at.UnixNano())
	}
}

// Begun is when the commit began, or the zero time.
func (t *SaveTimes) Begun() time.Time { return timeOf(&t.begun) }

// Ended is when the commit ended, or the zero time.
func (t *SaveTimes) Ended() time.Time { return timeOf(&t.ended) }

func timeOf(nanoseconds *atomic.Int64) time.Time {
	if n := nanoseconds.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

type saveTimesKey struct{}

// WithSaveTimes returns a context whose save sets t.
func WithSaveTimes(ctx context.Context, t *SaveTimes) context.Context {
	return context.WithValue(ctx, saveTimesKey{}, t)
}

// SaveTimesOf returns what the save with that context has to set, or nil.
func SaveTimesOf(ctx context.Context) *SaveTimes {
	t, _ := ctx.Value(saveTimesKey{}).(*SaveTimes)
	return t
}
