package message_test

import (
	"testing"
	"time"

	"lyftr/internal/message"
)

func TestSameContent(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m *message.Message)
		want   bool
	}{
		{"nothing", func(*message.Message) {}, true},
		{"another copy of the text", func(m *message.Message) { m.Text = ptr("Hello") }, true},
		{"from", func(m *message.Message) { m.From = "+1" }, false},
		{"to", func(m *message.Message) { m.To = "+1" }, false},
		{"ts", func(m *message.Message) { m.TS = "2025-01-15T10:00:01Z"; m.At = m.At.Add(time.Second) }, false},
		{"ts written otherwise", func(m *message.Message) { m.TS = "2025-01-15T10:00:00.0Z" }, false},
		{"text", func(m *message.Message) { m.Text = ptr("hello") }, false},
		{"no text", func(m *message.Message) { m.Text = nil }, false},
		{"empty text", func(m *message.Message) { m.Text = ptr("") }, false},
		// The identity is what the caller compared before it asks.
		{"source", func(m *message.Message) { m.Source = "whatsapp" }, true},
		{"id", func(m *message.Message) { m.ID = "m2" }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := example(), example()
			c.change(&b)
			if a.SameContent(&b) != c.want || b.SameContent(&a) != c.want {
				t.Errorf("got %v and %v, want %v", a.SameContent(&b), b.SameContent(&a), c.want)
			}
		})
	}
	t.Run("none and empty", func(t *testing.T) {
		a, b := example(), example()
		a.Text, b.Text = nil, ptr("")
		if a.SameContent(&b) || b.SameContent(&a) {
			t.Error("no text and an empty text are the same")
		}
	})
	t.Run("both none", func(t *testing.T) {
		a, b := example(), example()
		a.Text, b.Text = nil, nil
		if !a.SameContent(&b) {
			t.Error("two messages without a text differ")
		}
	})
}
