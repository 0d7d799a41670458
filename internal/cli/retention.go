package cli

import (
	"context"
	"log/slog"
	"math"
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
	var age time.Duration
	rest := s
	if number, behind, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || strings.Trim(number, "0123456789") != "" || n > int64(math.MaxInt64/day) {
			return 0, usagef(wrong, s)
		}
		age, rest = time.Duration(n)*day, behind
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > math.MaxInt64-age {
			return 0, usagef(wrong, s)
		}
		age += d
	}
	if age < leastRetention {
		return 0, usagef("RETENTION: %q is too short: use at least 8d, since senders repeat messages for up to seven days, or leave it unset to keep messages for ever", s)
	}
	return age, nil
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
