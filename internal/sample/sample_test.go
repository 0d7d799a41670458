package sample_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/sample"
)

var start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// take returns the next n messages.
func take(g *sample.Generator, n int) []message.Message {
	messages := make([]message.Message, n)
	for i := range messages {
		messages[i] = g.Next()
	}
	return messages
}

// year is a large sample that several tests look at.
func year(n int) []message.Message {
	return take(sample.New(sample.Options{Start: start, Count: int64(n), Received: true}), n)
}

func TestTheSameOptionsMakeTheSameMessages(t *testing.T) {
	const n = 3000
	o := sample.Options{Seed: 7, Start: start, Count: n, Received: true}
	all := take(sample.New(o), n)
	if diff := cmp.Diff(all, take(sample.New(o), n)); diff != "" {
		t.Errorf("the second time:\n%s", diff)
	}
	for _, from := range []int{1, 1000, n - 1} {
		o := o
		o.Skip = int64(from)
		if diff := cmp.Diff(all[from], sample.New(o).Next()); diff != "" {
			t.Errorf("the first after %d skipped:\n%s", from, diff)
		}
	}
	o.Seed++
	seen := map[string]bool{}
	for _, m := range slices.Concat(all, take(sample.New(o), n)) {
		if seen[m.ID] {
			t.Errorf("two messages have the id %s", m.ID)
		}
		seen[m.ID] = true
	}
}

// TestMixedIsTheSameOfMoreSources: but for their sources mixed messages are those
// that are not, and all of a sender have one source.
func TestMixedIsTheSameOfMoreSources(t *testing.T) {
	const n = 3000
	o := sample.Options{Seed: 7, Start: start, Count: n}
	want := take(sample.New(o), n)
	o.Mixed = true
	got := take(sample.New(o), n)
	ofSender, count := map[string]string{}, map[string]int{}
	for i := range got {
		m := &got[i]
		if known, ok := ofSender[m.From]; ok && known != m.Source {
			t.Errorf("%s writes by %s and %s", m.From, known, m.Source)
		}
		ofSender[m.From] = m.Source
		count[m.Source]++
		m.Source = message.SourceNative
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mixed ones differ:\n%s", diff)
	}
	if len(count) != 4 || count[message.SourceNative] < n/3 || count["whatsapp"] < n/10 {
		t.Errorf("messages of each source: %v", count)
	}
}

// TestMessagesAreValid sends the messages through the door that a webhook has to
// pass.
func TestMessagesAreValid(t *testing.T) {
	for _, m := range year(20_000) {
		body, err := json.Marshal(map[string]any{"message_id": m.ID, "from": m.From, "to": m.To, "ts": m.TS, "text": m.Text})
		if err != nil {
			t.Fatal(err)
		}
		got, err := message.Decode(body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		got.ReceivedAt = m.ReceivedAt
		if diff := cmp.Diff(m, got); diff != "" {
			t.Fatalf("decoded:\n%s", diff)
		}
	}
}

func TestTexts(t *testing.T) {
	messages := year(50_000)
	scripts := map[string]*unicode.RangeTable{
		"devanagari": unicode.Devanagari, "arabic": unicode.Arabic, "cyrillic": unicode.Cyrillic, "thai": unicode.Thai,
	}
	counts := map[string]float64{}
	bytes := 0
	for _, m := range messages {
		if m.Text == nil {
			counts["none"]++
			continue
		}
		if *m.Text == "" {
			counts["empty"]++
		}
		bytes += len(*m.Text)
		name := "latin"
		for script, table := range scripts {
			if strings.ContainsFunc(*m.Text, func(c rune) bool { return unicode.Is(table, c) }) {
				name = script
			}
		}
		if strings.ContainsFunc(*m.Text, func(c rune) bool { return unicode.In(c, unicode.Han, unicode.Hiragana, unicode.Katakana) }) {
			name = "cjk"
		}
		counts[name]++
		if words := len(strings.Fields(*m.Text)); words > 44 {
			t.Errorf("a text of %d words: %s", words, *m.Text)
		}
	}
	for name, want := range map[string]float64{
		"none": 0.02, "empty": 0.003, "latin": 0.66, "devanagari": 0.12, "arabic": 0.06, "cyrillic": 0.06, "cjk": 0.06, "thai": 0.02,
	} {
		if got := counts[name] / float64(len(messages)); math.Abs(got-want) > 0.15*want {
			t.Errorf("%s: %.4f of the messages, want about %.4f", name, got, want)
		}
	}
	if mean := float64(bytes) / float64(len(messages)); mean < 70 || mean > 90 {
		t.Errorf("a text has %.1f bytes on average, want 70 to 90", mean)
	}
}

// TestWordsFollowZipf compares how often English words of some ranks are used:
// as 1/(rank + 2.7).
func TestWordsFollowZipf(t *testing.T) {
	seen := map[string]float64{}
	for _, m := range year(50_000) {
		if m.Text != nil {
			for word := range strings.FieldsSeq(*m.Text) {
				seen[strings.ToLower(strings.Trim(word, ".,?!"))]++
			}
		}
	}
	// Words of no other language of the sample, with their ranks.
	ranks := map[string]float64{"the": 1, "you": 3, "please": 25, "today": 53, "friday": 348, "door": 398}
	for word, rank := range ranks {
		want := seen["the"] * (1 + 2.7) / (rank + 2.7)
		if got := seen[word]; math.Abs(got-want) > 0.2*want+4*math.Sqrt(want) {
			t.Errorf("%q of rank %.0f is there %.0f times, want about %.0f", word, rank, got, want)
		}
	}
}

func TestSenders(t *testing.T) {
	const n = 200_000
	messages := year(n)
	bySender, byRecipient := map[string]int{}, map[string]int{}
	for _, m := range messages {
		bySender[m.From]++
		byRecipient[m.To]++
	}
	counts := func(by map[string]int) []int {
		var all []int
		for _, c := range by {
			all = append(all, c)
		}
		slices.Sort(all)
		slices.Reverse(all)
		return all
	}
	senders, recipients := counts(bySender), counts(byRecipient)
	if senders[0] > n/100 || senders[0] < n/1000 {
		t.Errorf("the busiest sender wrote %d of %d messages", senders[0], n)
	}
	top := 0
	for _, c := range senders[:1000] {
		top += c
	}
	if share := float64(top) / n; share < 0.25 || share > 0.6 {
		t.Errorf("the thousand busiest senders wrote %.2f of the messages", share)
	}
	if len(senders) < 40_000 {
		t.Errorf("only %d of 100000 senders wrote", len(senders))
	}
	if len(recipients) != 20 || recipients[0] < 3*recipients[19] {
		t.Errorf("messages by recipient: %v", recipients)
	}
	busiest := sample.New(sample.Options{}).Busiest()
	if bySender[busiest] < senders[0]*8/10 {
		t.Errorf("%s is said to be the busiest and wrote %d messages, another %d", busiest, bySender[busiest], senders[0])
	}
	g := sample.New(sample.Options{Senders: 10})
	few := map[string]bool{}
	for _, m := range take(g, 2000) {
		few[m.From] = true
	}
	if len(few) != 10 {
		t.Errorf("%d of 10 senders wrote", len(few))
	}
}

func TestTimes(t *testing.T) {
	const n = 50_000
	var last message.Message
	var back, late, older, days, night, day float64
	for i, m := range year(n) {
		if m.ReceivedAt.Before(last.ReceivedAt) {
			t.Fatalf("message %d arrives at %s, the one before at %s", i, m.ReceivedAt, last.ReceivedAt)
		}
		if m.ReceivedAt.Before(start) || m.ReceivedAt.After(start.Add(365*24*time.Hour)) || m.At.After(m.ReceivedAt) {
			t.Fatalf("message %d of %s arrives at %s", i, m.At, m.ReceivedAt)
		}
		if m.At.Before(last.At) {
			back++
		}
		switch under := m.ReceivedAt.Sub(m.At); {
		case under > 24*time.Hour:
			days++
		case under > time.Hour:
			older++
		case under > time.Minute:
			late++
		}
		switch m.ReceivedAt.Hour() {
		case 1, 2, 3:
			night++
		case 10, 11, 12:
			day++
		}
		last = m
	}
	for name, c := range map[string]struct{ got, least, most float64 }{
		"steps back":    {back, 0.01 * n, 0.1 * n},
		"minutes late":  {late, 0.01 * n, 0.03 * n},
		"hours late":    {older, 0.005 * n, 0.015 * n},
		"days late":     {days, 0.0005 * n, 0.002 * n},
		"day for night": {day / night, 5, 20},
	} {
		if c.got < c.least || c.got > c.most {
			t.Errorf("%s: %.4g, want %.4g to %.4g", name, c.got, c.least, c.most)
		}
	}
}

// TestWordsAreAsFrequentAsTheySay counts the messages in which the words are
// that Words gives out for questions.
func TestWordsAreAsFrequentAsTheySay(t *testing.T) {
	const n = 50_000
	var texts []string
	for _, m := range year(n) {
		if m.Text != nil {
			texts = append(texts, *m.Text)
		}
	}
	words := sample.New(sample.Options{}).Words()
	source := rand.NewPCG(1, 2)
	for _, s := range []sample.Script{sample.Latin, sample.Devanagari, sample.Arabic, sample.Cyrillic, sample.CJK} {
		for f, band := range map[sample.Frequency][2]float64{
			sample.Rare: {0, 5e-6}, sample.Middle: {6e-4, 1.6e-3}, sample.Common: {6e-3, 1.6e-2}, sample.Tenth: {0.07, 0.14},
		} {
			if f == sample.Tenth && s != sample.Latin {
				continue
			}
			for range 3 {
				word := words.Word(source, s, f)
				got := 0.0
				for _, text := range texts {
					if strings.Contains(text, word) {
						got++
					}
				}
				// Chance spreads a count by its root.
				least, most := band[0]*n, band[1]*n
				if got < 0.85*least-4*math.Sqrt(least) || got > 1.15*most+4*math.Sqrt(most)+4 {
					t.Errorf("%q of script %d and frequency %d is in %.0f messages, want %.0f to %.0f", word, s, f, got, least, most)
				}
			}
		}
		for length := range 3 {
			if got := []rune(words.Characters(source, s, length+1)); len(got) != length+1 {
				t.Errorf("%q has not %d characters", string(got), length+1)
			}
		}
	}
	if word := words.Word(source, sample.Thai, sample.Tenth); word == "" {
		t.Error("no word where none is so frequent")
	}
	if phrase := words.Phrase(source); strings.Count(phrase, " ") != 1 {
		t.Errorf("%q is not two words", phrase)
	}
}

func TestNextMakesNoGarbage(t *testing.T) {
	g := sample.New(sample.Options{})
	var m message.Message
	// Its strings share one piece of memory, the pointer to the text is another.
	if got := testing.AllocsPerRun(1000, func() { m = g.Next() }); got > 2 {
		t.Errorf("%v allocations a message, the last %s", got, m.ID)
	}
}

func BenchmarkNext(b *testing.B) {
	g := sample.New(sample.Options{})
	b.ReportAllocs()
	for b.Loop() {
		g.Next()
	}
}
