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
