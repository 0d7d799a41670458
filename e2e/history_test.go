package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// history is what clients did at the same time and what they were told. Times
// are of one clock that never goes back.
type history struct {
	items   map[string]*item
	saves   []save
	looks   []look
	follows []follow
}

// item is a message that somebody tried to save. Whoever did sent the same but
// for the text.
type item struct {
	id, from, ts, word string
}

// before reports whether a list in ascending order has the item before the other.
func (i *item) before(o *item) bool {
	return cmp.Or(strings.Compare(i.ts, o.ts), strings.Compare(i.id, o.id)) < 0
}

// span is when an operation was under way.
type span struct{ begin, end time.Duration }

// save is one attempt to save an item.
type save struct {
	span
	id, text string
	status   int    // 0 if there was no answer
	outcome  string // that the log has: created, duplicate or mismatch; empty if it has none
}

// acknowledged reports whether the sender was told that the message is stored.
func (s *save) acknowledged() bool { return s.status == 200 }

// refused reports whether he was told that it never will be.
func (s *save) refused() bool { return s.status >= 400 && s.status < 500 }

// look is one question and its answer.
type look struct {
	span
	asked string
	holds func(*item) bool  // whether the answer has to show an item that is stored
	seen  map[string]string // texts by id
	// counts tells which items the total counts, all of which have the same
	// question; nil if there is no total.
	counts   func(*item) bool
	question string
	total    int
}

// follow is one reader of the feed.
type follow struct {
	pages []feedPage
}

// feedPage is an answer to one who goes on behind the page before.
type feedPage struct {
	span
	ids  []string
	last bool // there was no more at that time
}

const never = time.Duration(1<<63 - 1)

// fact is what the history proves of one item.
type fact struct {
	tried  time.Duration // nothing was sent of it before
	stored time.Duration // from then on it is stored for sure
	proof  string        // why
	text   string        // that is stored, if anybody has seen it
}

// check holds the history to what lyftr promises. For each item there is at most
// one moment before which it is not there and after which it is, and that lies
// between the first attempt and the first answer that proves it: the answer to a
// save, or one that shows it. Everything else has to agree with one such moment.
func (h *history) check() (violations []string) {
	say := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	facts := h.facts(say)
	h.checkSaves(facts, say)
	for i := range h.looks {
		h.checkLook(&h.looks[i], facts, say)
	}
	h.checkTotals(say)
	for i := range h.follows {
		h.checkFollow(&h.follows[i], facts, say)
	}
	h.checkOrder(say)
	return violations
}

type sayer func(format string, args ...any)

// facts gathers what each item's first attempt and first proof are.
func (h *history) facts(say sayer) map[string]*fact {
	facts := map[string]*fact{}
	for id := range h.items {
		facts[id] = &fact{tried: never, stored: never}
	}
	proof := func(id string, end time.Duration, why string) {
		if f := facts[id]; f != nil && end < f.stored {
			f.stored, f.proof = end, why
		}
	}
	for _, s := range h.saves {
		if !s.refused() {
			facts[s.id].tried = min(facts[s.id].tried, s.begin)
		}
		if s.acknowledged() {
			proof(s.id, s.end, "acknowledged")
		}
		if f := facts[s.id]; s.outcome == "created" {
			if f.text != "" {
				say("%s was created twice", s.id)
			}
			f.text = s.text
		}
	}
	for _, l := range h.looks {
		for id, text := range l.seen {
			f := facts[id]
			if f == nil {
				say("%s shows %s, which nobody sent", l.asked, id)
				continue
			}
			proof(id, l.end, "shown by "+l.asked)
			if f.text == "" {
				f.text = text
			}
			if f.text != text {
				say("%s shows %s with the text %q, which is %q", l.asked, id, text, f.text)
			}
		}
	}
	for _, f := range h.follows {
		for _, p := range f.pages {
			for _, id := range p.ids {
				proof(id, p.end, "shown by the feed")
			}
		}
	}
	return facts
}

// checkSaves holds the outcomes to the facts.
func (h *history) checkSaves(facts map[string]*fact, say sayer) {
	// The first two attempts at each: a duplicate needs another than itself.
	first, second := map[string]time.Duration{}, map[string]time.Duration{}
	sent := map[string]map[string]time.Duration{}
	for _, s := range h.saves {
		if s.refused() {
			continue
		}
		if sent[s.id] == nil {
			sent[s.id], first[s.id], second[s.id] = map[string]time.Duration{}, never, never
		}
		if s.begin < first[s.id] {
			first[s.id], second[s.id] = s.begin, first[s.id]
		} else {
			second[s.id] = min(second[s.id], s.begin)
		}
		if at, ok := sent[s.id][s.text]; !ok || s.begin < at {
			sent[s.id][s.text] = s.begin
		}
	}
	for _, s := range h.saves {
		f := facts[s.id]
		switch s.outcome {
		case "created":
			if f.stored < s.begin {
				say("%s was created although it was there (%s)", s.id, f.proof)
			}
		case "duplicate", "mismatch":
			other := first[s.id]
			if s.begin == other {
				other = second[s.id]
			}
			if other > s.end {
				say("%s was a duplicate before anybody else had sent it", s.id)
			}
			if same := s.text == f.text; f.text != "" && same != (s.outcome == "duplicate") {
				say("%s was a %s with the text %q, and the one that is stored is %q", s.id, s.outcome, s.text, f.text)
			}
		}
	}
	for id, f := range facts {
		if _, ok := sent[id][f.text]; f.text != "" && !ok {
			say("%s is stored with the text %q, which nobody sent", id, f.text)
		}
	}
}

// checkLook holds one answer to what has to be in it and what cannot be.
func (h *history) checkLook(l *look, facts map[string]*fact, say sayer) {
	least, most := 0, 0
	for id, f := range facts {
		i := h.items[id]
		_, seen := l.seen[id]
		switch {
		case seen && !l.holds(i):
			say("%s shows %s, which does not belong there", l.asked, id)
		case seen && f.tried > l.end:
			say("%s shows %s before it was sent", l.asked, id)
		case !seen && l.holds(i) && f.stored < l.begin:
			say("%s does not show %s, which was %s before", l.asked, id, f.proof)
		}
		if l.counts == nil || !l.counts(i) {
			continue
		}
		if f.stored < l.begin {
			least++
		}
		if f.tried < l.end {
			most++
		}
	}
	if l.counts != nil && (l.total < least || l.total > most) {
		say("%s counts %d, and there were %d to %d", l.asked, l.total, least, most)
	}
}

// checkTotals makes sure that no total is less than an earlier one.
func (h *history) checkTotals(say sayer) {
	byQuestion := map[string][]*look{}
	for i := range h.looks {
		if l := &h.looks[i]; l.counts != nil {
			byQuestion[l.question] = append(byQuestion[l.question], l)
		}
	}
	for _, begun := range byQuestion {
		ended := slices.Clone(begun)
		slices.SortFunc(begun, func(a, b *look) int { return cmp.Compare(a.begin, b.begin) })
		slices.SortFunc(ended, func(a, b *look) int { return cmp.Compare(a.end, b.end) })
		highest := 0 // of those that ended before this one began
		for _, l := range begun {
			for len(ended) > 0 && ended[0].end < l.begin {
				highest = max(highest, ended[0].total)
				ended = ended[1:]
			}
			if l.total < highest {
				say("%s counts %d, and before there were %d", l.asked, l.total, highest)
			}
		}
	}
}

// checkFollow makes sure that a reader of the feed gets everything once, and is
// not told that there is no more as long as there is.
func (h *history) checkFollow(f *follow, facts map[string]*fact, say sayer) {
	seen := map[string]bool{}
	for _, p := range f.pages {
		for _, id := range p.ids {
			fact := facts[id]
			switch {
			case fact == nil:
				say("the feed has %s, which nobody sent", id)
			case fact.tried > p.end:
				say("the feed has %s before it was sent", id)
			}
			if seen[id] {
				say("the feed has %s twice", id)
			}
			seen[id] = true
		}
		if !p.last {
			continue
		}
		for id, fact := range facts {
			if !seen[id] && fact.stored < p.begin {
				say("the feed ends without %s, which was %s before", id, fact.proof)
			}
		}
	}
}

// checkOrder makes sure that all readers of the feed are told the same.
func (h *history) checkOrder(say sayer) {
	var longest []string
	for round := range 2 {
		for _, f := range h.follows {
			var order []string
			for _, p := range f.pages {
				order = append(order, p.ids...)
			}
			if round == 0 && len(order) > len(longest) {
				longest = order
			}
			if round == 1 && !slices.Equal(order, longest[:len(order)]) {
				say("the feed has another order for another reader")
			}
		}
	}
}

// at makes a span of milliseconds.
func at(begin, end int) span {
	return span{time.Duration(begin) * time.Millisecond, time.Duration(end) * time.Millisecond}
}

// TestHistoryCheck seeds a sound history with one fault after the other, each of
// which has to be found.
func TestHistoryCheck(t *testing.T) {
	all := func(*item) bool { return true }
	is := func(id string) func(*item) bool { return func(i *item) bool { return i.id == id } }
	get := func(when span, id, text string) look {
		l := look{span: when, asked: "GET " + id, holds: is(id), seen: map[string]string{}}
		if text != "" {
			l.seen[id] = text
		}
		return l
	}
	count := func(when span, total int) look {
		return look{span: when, asked: "GET /stats", holds: func(*item) bool { return false }, counts: all, question: "all", total: total}
	}
	sound := func() *history {
		h := &history{items: map[string]*item{}}
		for _, id := range []string{"a", "b", "c", "forged"} {
			h.items[id] = &item{id: id}
		}
		h.saves = []save{
			{at(0, 10), "a", "A", 200, "created"},
			{at(2, 12), "a", "other", 200, "mismatch"},
			{at(20, 30), "a", "A", 200, "duplicate"},
			{at(0, 50), "b", "B", 0, ""},                // killed, and stored
			{at(60, 70), "b", "B", 200, "duplicate"},    // so this is one
			{at(40, 45), "c", "C", 503, ""},             // never stored
			{at(40, 45), "forged", "bad", 401, ""},      // never to be
			{at(80, 85), "forged", "bad", 401, ""},      //
			{at(90, 99), "a", "other", 200, "mismatch"}, //
		}
		h.looks = []look{
			get(at(0, 5), "a", ""), get(at(3, 8), "a", "A"), get(at(9, 11), "a", "A"), get(at(1, 9), "b", ""),
			get(at(71, 72), "b", "B"), get(at(71, 72), "c", ""),
			{span: at(75, 80), asked: "GET /messages", holds: all, seen: map[string]string{"a": "A", "b": "B"}, counts: all, question: "all", total: 2},
			count(at(5, 20), 1), count(at(21, 40), 2), count(at(75, 80), 2),
		}
		h.follows = []follow{
			{[]feedPage{{at(5, 15), []string{"a"}, true}, {at(16, 75), []string{"b"}, false}, {at(76, 80), nil, true}}},
			{[]feedPage{{at(1, 2), nil, true}, {at(20, 22), []string{"a"}, true}}},
		}
		return h
	}
	if violations := sound().check(); len(violations) > 0 {
		t.Fatalf("a sound history has faults: %q", violations)
	}
	for name, c := range map[string]struct {
		seed func(h *history)
		want string
	}{
		"a lost acknowledgement":   {func(h *history) { h.looks = append(h.looks, get(at(13, 14), "a", "")) }, "does not show a, which was shown by GET a before"},
		"lost though only sent":    {func(h *history) { h.looks = []look{get(at(71, 72), "b", "")}; h.follows = nil }, "does not show b, which was acknowledged before"},
		"a read that goes back":    {func(h *history) { h.looks = append(h.looks, get(at(9, 10), "a", "")) }, "does not show a, which was shown by GET a before"},
		"lost in a list":           {func(h *history) { delete(h.looks[6].seen, "b") }, "GET /messages does not show b"},
		"not of this list":         {func(h *history) { h.looks[6].holds = is("a") }, "shows b, which does not belong"},
		"nobody sent it":           {func(h *history) { h.looks[6].seen["z"] = "Z" }, "shows z, which nobody sent"},
		"refused and shown":        {func(h *history) { h.looks[6].seen["forged"] = "bad" }, "shows forged before it was sent"},
		"shown before it was sent": {func(h *history) { h.looks = append(h.looks, get(at(30, 39), "c", "C")) }, "shows c before it was sent"},
		"other content":            {func(h *history) { h.looks[6].seen["a"] = "other" }, "shows a with the text"},
		"content that nobody sent": {func(h *history) { h.looks[4].seen["b"] = "x"; h.looks[6].seen["b"] = "x" }, "which nobody sent"},
		"created twice":            {func(h *history) { h.saves[2].outcome = "created" }, "a was created twice"},
		"created though it is there": {func(h *history) { h.saves[0] = save{at(13, 20), "a", "A", 200, "created"} },
			"a was created although it was there"},
		"a duplicate of nothing": {func(h *history) { h.saves = append(h.saves, save{at(30, 39), "c", "C", 200, "duplicate"}) },
			"c was a duplicate before"},
		"a duplicate of itself":   {func(h *history) { h.saves[5].outcome = "duplicate" }, "c was a duplicate before"},
		"a mismatch unseen":       {func(h *history) { h.saves[8].outcome = "duplicate" }, "a was a duplicate with the text"},
		"a mismatch that is none": {func(h *history) { h.saves[2].outcome = "mismatch" }, "a was a mismatch with the text"},
		"a total too low":         {func(h *history) { h.looks[9].total = 1 }, "counts 1, and there were 2 to 3"},
		"a total too high":        {func(h *history) { h.looks[9].total = 4 }, "counts 4, and there were 2 to 3"},
		"a total that goes back":  {func(h *history) { h.looks = append(h.looks, count(at(41, 42), 1)) }, "counts 1, and before there were 2"},
		"twice in the feed":       {func(h *history) { h.follows[0].pages[1].ids = []string{"b", "a"} }, "the feed has a twice"},
		"not in the feed":         {func(h *history) { h.follows[0].pages[1].ids = nil }, "the feed ends without b"},
		"too early in the feed":   {func(h *history) { h.follows[0].pages[0].ids = []string{"a", "c"} }, "the feed has c before"},
		"the feed in two orders":  {func(h *history) { h.follows[1].pages[1].ids = []string{"b", "a"} }, "another order"},
		"a stranger in the feed":  {func(h *history) { h.follows[0].pages[1].ids = []string{"b", "z"} }, "the feed has z, which nobody sent"},
	} {
		h := sound()
		c.seed(h)
		violations := h.check()
		if !slices.ContainsFunc(violations, func(v string) bool { return strings.Contains(v, c.want) }) {
			t.Errorf("%s is not found: %q", name, violations)
		}
	}
}
