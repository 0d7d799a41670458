package storetest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"lyftr/internal/message"
)

// model is what a message.Store promises, said with a slice and loops.
type model struct {
	rows     []message.Message
	statuses []message.Status
	removed  map[identity]bool
	// ordered are the rows in list order, and folded their texts; nil if rows
	// has changed since they were.
	ordered []message.Message
	folded  []string
}

type identity struct{ source, id string }

func (m *model) find(source, id string) *message.Message {
	for i := range m.rows {
		if m.rows[i].Source == source && m.rows[i].ID == id {
			return &m.rows[i]
		}
	}
	return nil
}

func (m *model) save(messages []message.Message) []message.Outcome {
	var outcomes []message.Outcome
	for _, n := range messages {
		switch stored := m.find(n.Source, n.ID); {
		case m.removed[identity{n.Source, n.ID}]:
			outcomes = append(outcomes, duplicate)
		case stored == nil:
			if n.ReceivedAt.IsZero() {
				n.ReceivedAt = time.Now()
			}
			m.rows, m.ordered = append(m.rows, n), nil
			outcomes = append(outcomes, created)
		case sameContent(stored, &n):
			outcomes = append(outcomes, duplicate)
		default:
			outcomes = append(outcomes, mismatch)
		}
	}
	return outcomes
}

func (m *model) status(source, id, status string) (s message.Status, there bool) {
	for _, s := range m.statuses {
		if s.Source == source && s.ID == id && s.Status == status {
			return s, true
		}
	}
	return s, false
}

func (m *model) saveStatuses(statuses []message.Status) []message.Outcome {
	var outcomes []message.Outcome
	for _, s := range statuses {
		if _, there := m.status(s.Source, s.ID, s.Status); there || m.removed[identity{s.Source, s.ID}] {
			outcomes = append(outcomes, duplicate)
			continue
		}
		if s.ReceivedAt.IsZero() {
			s.ReceivedAt = time.Now()
		}
		m.statuses, outcomes = append(m.statuses, s), append(outcomes, created)
	}
	return outcomes
}

// removeStatuses removes the statuses that f chooses.
func (m *model) removeStatuses(f func(message.Status) bool) {
	m.statuses = slices.DeleteFunc(m.statuses, f)
}

// allStatuses are the statuses in the order of a walk.
func (m *model) allStatuses() []message.Status {
	all := slices.Clone(m.statuses)
	slices.SortFunc(all, func(a, b message.Status) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Source, b.Source), strings.Compare(a.Status, b.Status))
	})
	return all
}

func (m *model) statusesOf(source, id string) []message.Status {
	var of []message.Status
	for _, s := range m.allStatuses() {
		if s.ID != id {
			continue
		}
		if source == "" {
			source = s.Source // the first in order
		}
		if s.Source == source {
			of = append(of, s)
		}
	}
	slices.SortFunc(of, func(a, b message.Status) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Status, b.Status))
	})
	return of
}

// remove removes the messages that f chooses, with what was reported of them,
// and returns how many.
func (m *model) remove(f func(message.Message) bool) int64 {
	m.ordered = nil
	gone := map[identity]bool{}
	m.rows = slices.DeleteFunc(m.rows, func(r message.Message) bool {
		if !f(r) {
			return false
		}
		gone[identity{r.Source, r.ID}] = true
		m.remember(r.Source, r.ID)
		return true
	})
	m.removeStatuses(func(s message.Status) bool { return gone[identity{s.Source, s.ID}] })
	return int64(len(gone))
}

// remember lets nothing of a message be stored again.
func (m *model) remember(source, id string) {
	if m.removed == nil {
		m.removed = map[identity]bool{}
	}
	m.removed[identity{source, id}] = true
}

func (m *model) erase(from string) int64 {
	if from == "" {
		return 0 // nobody
	}
	removed := m.remove(func(r message.Message) bool { return r.From == from })
	m.removeStatuses(func(s message.Status) bool {
		if s.Recipient == from && m.find(s.Source, s.ID) == nil {
			m.remember(s.Source, s.ID)
		}
		return s.Recipient == from
	})
	return removed
}

func (m *model) expire(before time.Time) int64 {
	m.removeStatuses(func(s message.Status) bool { return s.ReceivedAt.Before(before) })
	return m.remove(func(r message.Message) bool { return r.At.Before(before) && r.ReceivedAt.Before(before) })
}

func sameContent(a, b *message.Message) bool {
	const none = "\x00none" // no text has a NUL
	text := func(m *message.Message) string {
		if m.Text == nil {
			return none
		}
		return *m.Text
	}
	return a.From == b.From && a.To == b.To && a.TS == b.TS && text(a) == text(b)
}

func (m *model) get(source, id string) *message.Message {
	if source != "" {
		return m.find(source, id)
	}
	var least *message.Message
	for i := range m.rows {
		if r := &m.rows[i]; r.ID == id && (least == nil || r.Source < least.Source) {
			least = r
		}
	}
	return least
}

// order fills in ordered and folded.
func (m *model) order() {
	if m.ordered != nil {
		return
	}
	m.ordered, m.folded = slices.Clone(m.rows), nil
	slices.SortFunc(m.ordered, func(a, b message.Message) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID), strings.Compare(a.Source, b.Source))
	})
	for _, r := range m.ordered {
		text := ""
		if r.Text != nil {
			text = message.Fold(*r.Text)
		}
		m.folded = append(m.folded, text)
	}
}

// matching are the messages that match, in list order.
func (m *model) matching(f message.Filter, o message.Order) []message.Message {
	m.order()
	needle := message.Fold(f.Text)
	var matching []message.Message
	for i, r := range m.ordered {
		if (f.From == "" || r.From == f.From) &&
			(f.To == "" || r.To == f.To) &&
			(f.Source == "" || r.Source == f.Source) &&
			(f.Since.IsZero() || !r.At.Before(f.Since)) &&
			(f.Until.IsZero() || r.At.Before(f.Until)) &&
			strings.Contains(m.folded[i], needle) {
			matching = append(matching, r)
		}
	}
	if o == message.Descending {
		slices.Reverse(matching)
	}
	return matching
}

func (m *model) stats(f message.Filter) message.Stats {
	matching := m.matching(f, message.Ascending)
	if len(matching) == 0 {
		return message.Stats{}
	}
	counts := map[string]int64{}
	for _, r := range matching {
		counts[r.From]++
	}
	var top []message.SenderCount
	for from, n := range counts {
		top = append(top, message.SenderCount{From: from, Count: n})
	}
	slices.SortFunc(top, func(a, b message.SenderCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.From, b.From))
	})
	return message.Stats{
		Total: int64(len(matching)), Senders: int64(len(counts)), Top: top[:min(len(top), message.TopSenders)],
		FirstTS: matching[0].TS, LastTS: matching[len(matching)-1].TS,
	}
}

// timeline returns false if there are too many buckets.
func (m *model) timeline(f message.Filter, b message.Bucket) ([]message.BucketCount, bool) {
	// Truncate counts from a midnight in the year 1.
	floor := func(t time.Time) time.Time { return t.UTC().Truncate(time.Duration(b)) }
	matching := m.matching(f, message.Ascending)
	if len(matching) == 0 && (f.Since.IsZero() || f.Until.IsZero()) {
		return nil, true
	}
	var first, last time.Time
	if len(matching) > 0 {
		first, last = floor(matching[0].At), floor(matching[len(matching)-1].At)
	}
	if !f.Since.IsZero() {
		first = floor(f.Since)
	}
	if !f.Until.IsZero() {
		last = floor(f.Until.Add(-1))
	}
	counts := map[time.Time]int64{}
	for _, r := range matching {
		counts[floor(r.At)]++
	}
	var line []message.BucketCount
	for start := first; !start.After(last); start = start.Add(time.Duration(b)) {
		if len(line) == message.MaxBuckets {
			return nil, false
		}
		line = append(line, message.BucketCount{Start: start, Count: counts[start]})
	}
	return line, true
}
