package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lyftr/internal/message"
)

// saved are the messages that were acknowledged so far.
type saved struct {
	mu   sync.Mutex
	rows []message.Message
}

func (s *saved) add(messages []message.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, messages...)
}

func (s *saved) soFar() []message.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clip(s.rows)
}

// testManyWhileSaving: what was acknowledged is found at once by everything
// that it has, no total falls, and pages that are joined have all that was there
// at the start, once and in order.
func testManyWhileSaving(t *testing.T, d *db) {
	const savers, batches, batch = 3, 15, 50
	var there saved
	var wg sync.WaitGroup
	var running atomic.Int64
	running.Store(savers)
	for i := range savers {
		wg.Go(func() {
			defer running.Add(-1)
			for j := range batches {
				var messages []message.Message
				for k := range batch {
					n := j*batch + k
					messages = append(messages, newMessage(fmt.Sprintf("%d-%d-%d", n%7, n, i), instant(noon).Add(time.Duration(n/9)*time.Second).Format(time.RFC3339),
						setFrom(fmt.Sprintf("+%d", 1+n%5)), setTo(fmt.Sprintf("+%d", 1+n%3)), setText(fmt.Sprintf("common own%dx%dx 日本語 %d", i, n, n%10))))
				}
				wantEqual(t, "outcomes", slices.Repeat(outcomes(created), batch), saveInGoroutine(t, d, messages...))
				there.add(messages)
				wantFoundAtOnce(t, d, &messages[(j*31)%batch])
			}
		})
	}
	watch := func(f func()) {
		wg.Go(func() {
			for running.Load() > 0 && !t.Failed() {
				f()
			}
		})
	}
	for _, f := range []message.Filter{{}, {From: "+2"}, {To: "+1", Text: "COMMON"}, {Since: instant(noon).Add(20 * time.Second)}} {
		least := int64(0)
		watch(func() {
			before := int64(0)
			for _, m := range there.soFar() {
				if matches(f, &m) {
					before++
				}
			}
			least = wantNotFallen(t, d, f, max(least, before))
		})
	}
	turn := 0
	watch(func() {
		turn++
		q := message.Query{Limit: message.MaxLimit, Order: []message.Order{message.Ascending, message.Descending}[turn%2]}
		q.Filter = []message.Filter{{}, {From: "+3"}, {Text: "日本語 4"}}[turn%3]
		wantJoined(t, d, q, there.soFar())
	})
	wg.Wait()
	wantEqual(t, "total at the end", savers*batches*batch, list(t, d, message.Query{Limit: 1}).Total)
}

func matches(f message.Filter, m *message.Message) bool {
	return (f.From == "" || f.From == m.From) && (f.To == "" || f.To == m.To) && !m.At.Before(f.Since) &&
		(f.Text == "" || strings.Contains(message.Fold(*m.Text), message.Fold(f.Text)))
}

// wantFoundAtOnce looks a message up by its sender, recipient, time and words.
func wantFoundAtOnce(t *testing.T, s message.Store, m *message.Message) {
	own := strings.Fields(*m.Text)[1]
	second := message.Filter{Since: m.At, Until: m.At.Add(1), From: m.From, To: m.To}
	for _, f := range []message.Filter{
		{Text: own}, {Text: strings.ToUpper(own[1:])}, {Text: own + " 日"}, {From: m.From, Text: own}, {To: m.To, Text: own, Since: m.At}, second,
	} {
		page, err := s.List(t.Context(), message.Query{Filter: f, Limit: message.MaxLimit})
		if err != nil {
			t.Errorf("List(%+v): %v", f, err)
			continue
		}
		if !slices.ContainsFunc(page.Messages, func(g message.Message) bool { return g.ID == m.ID }) || f.Text != "" && page.Total != 1 {
			t.Errorf("%s, which was acknowledged, is not found by %+v among %d", m.ID, f, page.Total)
		}
	}
}

// wantNotFallen returns the total of now, by all who count.
func wantNotFallen(t *testing.T, s message.Store, f message.Filter, least int64) int64 {
	page, err := s.List(t.Context(), message.Query{Filter: f, Limit: 1})
	if err != nil {
		t.Errorf("List(%+v): %v", f, err)
		return least
	}
	st, err := s.Stats(t.Context(), f)
	if err != nil {
		t.Errorf("Stats(%+v): %v", f, err)
		return least
	}
	line, err := s.Timeline(t.Context(), f, message.Minute)
	if err != nil {
		t.Errorf("Timeline(%+v): %v", f, err)
		return least
	}
	var inLine, inTop int64
	for _, b := range line {
		inLine += b.Count
	}
	for _, c := range st.Top { // there are five senders
		inTop += c.Count
	}
	if page.Total < least || st.Total < page.Total || inTop != st.Total || inLine < st.Total {
		t.Errorf("%+v: %d were there, then List counts %d, then Stats %d, of its senders %d, then Timeline %d", f, least, page.Total, st.Total, inTop, inLine)
	}
	return inLine
}

// wantJoined follows the cursors to the end.
func wantJoined(t *testing.T, s message.Store, q message.Query, before []message.Message) {
	missing := map[string]bool{}
	for i := range before {
		if matches(q.Filter, &before[i]) {
			missing[before[i].ID] = true
		}
	}
	var last *message.Message
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Errorf("List(%+v): %v", q, err)
			return
		}
		for i := range page.Messages {
			m := &page.Messages[i]
			if last != nil {
				order := cmp.Or(last.At.Compare(m.At), strings.Compare(last.ID, m.ID))
				if order == 0 || (order > 0) != (q.Order == message.Descending) {
					t.Errorf("%s, %+v: %s %s is listed behind %s %s", q.Order, q.Filter, m.TS, m.ID, last.TS, last.ID)
				}
			}
			last = m
			delete(missing, m.ID)
		}
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			break
		}
	}
	if len(missing) > 0 {
		t.Errorf("%s, %+v: %d messages that were there at the start are on no page", q.Order, q.Filter, len(missing))
	}
}
