package message_test

import (
	"errors"
	"strings"
	"testing"

	"lyftr/internal/message"
)

// A body of a megabyte can hold two hundred thousand faults; its answer is not
// twenty times as long as the body.
func TestDecodeBoundsFaults(t *testing.T) {
	for name, b := range map[string]string{
		"repeated members": "{" + strings.Repeat(`"":0,`, 100_000) + `"":0}`,
		"lone surrogates":  `{"x":"` + strings.Repeat(`\ud800`, 100_000) + `"}`,
	} {
		_, err := message.Decode([]byte(b))
		var invalid *message.InvalidError
		if !errors.As(err, &invalid) {
			t.Fatalf("%s: %v", name, err)
		}
		if n := len(invalid.Faults); n != 100 {
			t.Errorf("%s: %d faults, want the first 100", name, n)
		}
	}
}

// For a person the faults are a short sentence, without a value.
func TestExplain(t *testing.T) {
	for body, want := range map[string]string{
		`{"message_id":"m1","from":"12345","to":"+1"}`: "from: must be + followed by 1 to 15 digits (E.164); ts: Field required",
		`{"message_id":`: "not JSON at byte 14: unexpected end of input",
		`{}`:             "message_id: Field required; from: Field required; and 2 more",
		`[]`:             "Input should be a JSON object",
	} {
		_, err := message.Decode([]byte(body))
		var invalid *message.InvalidError
		if !errors.As(err, &invalid) || invalid.Explain(2) != want {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}
