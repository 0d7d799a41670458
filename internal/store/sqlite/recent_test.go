package sqlite

import (
	"strings"
	"testing"

	"lyftr/internal/message"
)

// TestRecent: what is found is whole, in order, and as it was stored, or nothing.
func TestRecent(t *testing.T) {
	r := &recent{}
	add := func(first, deletions int64, texts ...string) {
		var list []*message.Message
		for _, text := range texts {
			list = append(list, &message.Message{From: "+1", To: "+2", Text: &text})
		}
		r.add(first, list, deletions)
	}
	found := func(from, to, deletions int64) (texts string) {
		for i, b := range r.find(from, to, deletions) {
			wantEqual(t, "id", from+int64(i), b.id)
			texts += b.text
		}
		return texts
	}
	add(7, 0, "a", "b")
	add(9, 0, "c")
	wantEqual(t, "all", "abc", found(7, 10, 0))
	wantEqual(t, "some", "b", found(8, 9, 0))
	wantEqual(t, "from before the first", "", found(6, 9, 0))
	wantEqual(t, "up to behind the last", "", found(7, 11, 0))
	r.forgetUpTo(9)
	wantEqual(t, "what was forgotten", "", found(8, 10, 0))
	wantEqual(t, "what was not", "c", found(9, 10, 0))

	wantEqual(t, "after a removal", "", found(9, 10, 1))
	wantEqual(t, "messages kept after a removal", 0, len(r.messages))
	add(10, 0, "d")
	add(11, 1, "e") // something was removed in between
	wantEqual(t, "stored before a removal", "", found(10, 12, 1))
	wantEqual(t, "stored after it", "e", found(11, 12, 1))

	add(13, 1, "f") // one is missing
	wantEqual(t, "on both sides of a gap", "", found(11, 14, 1))
	wantEqual(t, "behind the gap", "f", found(13, 14, 1))

	add(14, 1, strings.Repeat("g", mostRecentBytes))
	add(15, 1, "h")
	wantEqual(t, "what is too much to keep", "", found(13, 15, 1))
	wantEqual(t, "messages kept", 1, len(r.messages))
	wantEqual(t, "bytes kept", r.messages[0].size(), r.bytes)
}
