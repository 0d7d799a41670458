package cli

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"lyftr/internal/telemetry"
)

const day = 24 * time.Hour

const (
	// leastRetention is a day more than senders repeat for what they sent: while
	// one may still repeat a message, what was stored should be there to compare.
	leastRetention = 8 * day
	// expireEvery is how often messages are looked at for their age. A failure is
	// logged each time, so this bounds how often, too.
	expireEvery = 5 * time.Minute
)

// parseRetention parses a number of days, such as 90d, or a Go duration, or one
// behind the other. Of nothing it makes 0: keep for ever.
func parseRetention(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	const wrong = "RETENTION: %q is not a time such as 90d or 2160h"
	var days, rest time.Duration
	number, hours, ok := strings.Cut(s, "d")
	if !ok {
		number, hours = "", s
	} else {
		n, err := strconv.ParseUint(number, 10, 63)
		if err != nil || n > uint64(1<<63-1)/uint64(day) {
			return 0, usagef(wrong, s)
		}
		days = time.Duration(n) * day
	}
	if hours != "" {
		var err error
		if rest, err = time.ParseDuration(hours); err != nil || rest < 0 || days+rest < 0 {
			return 0, usagef(wrong, s)
		}
	}
	if days+rest < leastRetention {
		return 0, usagef("RETENTION: %q is too short: use at least 8d, since senders repeat messages for up to seven days, or leave it unset to keep messages for ever", s)
	}
	return days + rest, nil
}

// expirer is the part of a store that retention needs.
type expirer interface {
	Expire(ctx context.Context, before time.Time) (removed int64, err error)
}

// retention removes the messages that are older than age, and arrived longer
// ago than that, from a store.
type retention struct {
	store   expirer
	age     time.Duration
	log     *slog.Logger
	metrics *telemetry.Metrics
}

// start removes now and then, until stop is called, which waits for the end.
func (r *retention) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(expireEvery)
		defer tick.Stop()
		for {
			r.expire(ctx)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

func (r *retention) expire(ctx context.Context) {
	began := time.Now()
	removed, err := r.store.Expire(ctx, began.Add(-r.age))
	r.metrics.Removed(telemetry.ReasonExpired, removed)
	if removed > 0 {
		r.log.Info("removed expired messages", "messages", removed, "took_ms", time.Since(began).Milliseconds())
	}
	if err != nil && ctx.Err() == nil {
		r.log.Error("expired messages could not be removed", "error", err.Error())
	}
}
