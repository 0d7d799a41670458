package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"lyftr/internal/message"
)

func testOutcomes(t *testing.T, d *db) {
	a := newMessage("a", noon, setText("one"))
	b := newMessage("b", noon)
	wantEqual(t, "first time", outcomes(created), save(t, d, a))
	wantEqual(t, "again", outcomes(duplicate), save(t, d, a))
	wantEqual(t, "a new one between two repeats", outcomes(duplicate, created, duplicate), save(t, d, a, b, a))
	wantEqual(t, "all again", outcomes(duplicate, duplicate), save(t, d, b, a))
	wantEqual(t, "stored", []message.Message{a, b}, everything(t, d))
}

func testMismatch(t *testing.T, d *db) {
	first := newMessage("a", "2025-01-15T10:00:00.5Z", setText("one"))
	silent := newMessage("silent", "2025-01-15T11:00:00Z")
	empty := newMessage("wordless", "2025-01-15T12:00:00Z", setText(""))
	save(t, d, first, silent, empty)
	with := func(m message.Message, edit func(*message.Message)) message.Message {
		edit(&m)
		return m
	}
	for what, other := range map[string]message.Message{
		"other sender":         with(first, setFrom("+101")),
		"other recipient":      with(first, setTo("+201")),
		"other instant":        with(first, setTS("2025-01-15T10:00:00.6Z")),
		"same instant, longer": with(first, setTS("2025-01-15T10:00:00.50Z")),
		"other text":           with(first, setText("two")),
		"text in other case":   with(first, setText("One")),
		"text with a space":    with(first, setText("one ")),
		"no text":              with(first, func(m *message.Message) { m.Text = nil }),
		"empty for no text":    with(silent, setText("")),
		"no text for empty":    with(empty, func(m *message.Message) { m.Text = nil }),
	} {
		wantEqual(t, what, outcomes(mismatch), save(t, d, other))
	}
	wantEqual(t, "the first content again", outcomes(duplicate, duplicate, duplicate), save(t, d, first, silent, empty))
	wantEqual(t, "stored", []message.Message{first, silent, empty}, everything(t, d))
}

func testRepeatsInOneCall(t *testing.T, d *db) {
	a := newMessage("a", noon, setText("one"))
	other := newMessage("a", noon, setText("two"))
	b := newMessage("b", noon)
	wantEqual(t, "outcomes", outcomes(created, duplicate, created, mismatch, duplicate), save(t, d, a, a, b, other, a))
	wantEqual(t, "stored", []message.Message{a, b}, everything(t, d))
}

// testOtherIdentity: an ID is opaque, so what looks alike is another message.
func testOtherIdentity(t *testing.T, d *db) {
	var messages []message.Message
	for _, id := range []string{
		"a", "A", "a ", " a", "á", "a\u0301", "а", "ａ", // the last two: Cyrillic, full width
		"1", "01", "1.0", "+1", "1e0", "0x1",
	} {
		messages = append(messages, newMessage(id, noon))
	}
	for _, source := range []string{"twilio", "Native", "native ", "whatsapp"} {
		messages = append(messages, newMessage("a", noon, setSource(source)))
	}
	for _, m := range messages {
		wantEqual(t, fmt.Sprintf("source %q, ID %q", m.Source, m.ID), outcomes(created), save(t, d, m))
	}
	wantEqual(t, "rows", len(messages), len(everything(t, d)))
}

func testSaveNothing(t *testing.T, d *db) {
	wantEqual(t, "outcomes", nil, save(t, d))
	wantEqual(t, "stored", nil, everything(t, d))
}

// atOnce runs f in n goroutines that start together, and returns what each
// returned.
func atOnce[T any](n int, f func(i int) T) []T {
	results := make([]T, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			results[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return results
}

const callersAtOnce = 64

func testSameIDAtOnce(t *testing.T, d *db) {
	for _, id := range []string{"first", "second"} {
		m := newMessage(id, noon, setText("same"))
		counts := map[message.Outcome]int{}
		for _, o := range atOnce(callersAtOnce, func(int) []message.Outcome { return saveInGoroutine(t, d, m) }) {
			for _, o := range o {
				counts[o]++
			}
		}
		wantEqual(t, "outcomes", map[message.Outcome]int{created: 1, duplicate: callersAtOnce - 1}, counts)
	}
	wantEqual(t, "rows", []string{"first", "second"}, ids(everything(t, d)))
}

// testOtherContentAtOnce: whoever is told that it created the message is whose
// content is stored.
func testOtherContentAtOnce(t *testing.T, d *db) {
	contents := make([]message.Message, callersAtOnce)
	for i := range contents {
		contents[i] = newMessage("a", noon, setText(fmt.Sprint(i)))
	}
	results := atOnce(callersAtOnce, func(i int) []message.Outcome { return saveInGoroutine(t, d, contents[i]) })
	var winners []message.Message
	for i, o := range results {
		switch {
		case len(o) == 1 && o[0] == created:
			winners = append(winners, contents[i])
		case len(o) != 1 || o[0] != mismatch:
			t.Errorf("call %d: got %v, want created or a mismatch", i, o)
		}
	}
	wantEqual(t, "who created it and what is stored", winners, everything(t, d))
	wantEqual(t, "how many created it", 1, len(winners))
}

// testOverlappingCalls: calls that hold the same messages in different order
// neither block each other nor store one twice.
func testOverlappingCalls(t *testing.T, d *db) {
	const n = 10
	var messages []message.Message
	for i := range n {
		messages = append(messages, newMessage(fmt.Sprintf("m%02d", i), noon))
	}
	results := atOnce(callersAtOnce, func(i int) []message.Outcome {
		var turned []message.Message
		for j := range n {
			k := (i + j) % n
			if i%2 == 1 {
				k = (i + n - j) % n
			}
			turned = append(turned, messages[k])
		}
		return saveInGoroutine(t, d, turned...)
	})
	counts := map[message.Outcome]int{}
	for _, o := range results {
		for _, o := range o {
			counts[o]++
		}
	}
	wantEqual(t, "outcomes", map[message.Outcome]int{created: n, duplicate: n * (callersAtOnce - 1)}, counts)
	wantEqual(t, "stored", messages, everything(t, d))
}

// saveInGoroutine is save where the test may not be ended.
func saveInGoroutine(t *testing.T, s message.Store, messages ...message.Message) []message.Outcome {
	outcomes, err := s.Save(t.Context(), messages, nil)
	if err != nil {
		t.Errorf("Save: %v", err)
	}
	return outcomes
}

func testSaveContextEnded(t *testing.T, d *db) {
	a, b := newMessage("a", noon), newMessage("b", noon)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if o, err := d.Save(ctx, []message.Message{a, b}, nil); !errors.Is(err, message.ErrUnavailable) || o != nil {
		t.Errorf("Save with an ended context: got %v, %v, want ErrUnavailable", o, err)
	}
	// Stored once or not at all: the repeat finds both alike.
	o := save(t, d, a, b)
	if len(o) != 2 || o[0] != o[1] || o[0].Mismatch {
		t.Errorf("Save again: got %v, want both created or both duplicates", o)
	}
	wantEqual(t, "stored", []message.Message{a, b}, everything(t, d))
}
