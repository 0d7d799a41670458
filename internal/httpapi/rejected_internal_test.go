package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"lyftr/internal/message"
)

// rejecting is a store that keeps refused deliveries.
type rejecting struct {
	message.Store
	list []message.Rejection
}

func (s *rejecting) Reject(_ context.Context, list []message.Rejection) error {
	s.list = append(s.list, list...)
	return nil
}

// TestRefusalsFlood: whoever has ever so many deliveries refused does not push
// out the entries of others, and all of his are counted.
func TestRefusalsFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &rejecting{}
		r := &refusals{store: store}
		add := func(source, result string) {
			r.add(message.Rejection{At: time.Now(), Source: source, Result: result, Times: 1})
		}
		for range 3 {
			add("native", "limited")
			add("twilio", "limited")
		}
		const sent = 10_000
		for i := range sent {
			add([]string{"native", ""}[i%2], "too_large")
			if i%1000 == 999 {
				<-time.After(time.Second) // of the bubble's clock
			}
		}
		r.close()
		times := map[string]int{}
		for _, x := range store.list {
			times[x.Source+" "+x.Result] += x.Times
		}
		for what, want := range map[string]int{"native limited": 3, "twilio limited": 3, "native too_large": sent / 2, " too_large": sent / 2} {
			if times[what] != want {
				t.Errorf("%s was refused %d times, want %d", what, times[what], want)
			}
		}
		if n := len(store.list); n < refusalRoom || n > refusalRoom+30 {
			t.Errorf("%d entries", n)
		}
		<-time.After(time.Minute)
		for range 10 { // there is room again
			add("native", "invalid_signature")
		}
		before := len(store.list)
		r.close()
		if n := len(store.list) - before; n != 10 {
			t.Errorf("%d entries of 10", n)
		}
	})
}
