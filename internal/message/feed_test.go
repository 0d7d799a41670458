package message_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"lyftr/internal/message"
)

// TestFeedPosition: a position brings back what it was made of, with its own key
// only, and no other writing of it does.
func TestFeedPosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "payload")
		position := message.SignFeedPosition(key, payload)
		got, err := message.OpenFeedPosition(key, position)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("got %x, %v, want %x", got, err, payload)
		}
		bad := func(what string, key []byte, position string) {
			t.Helper()
			if got, err := message.OpenFeedPosition(key, position); !errors.Is(err, message.ErrBadCursor) || got != nil {
				t.Errorf("%s: got %x, %v, want ErrBadCursor", what, got, err)
			}
		}
		other := bytes.Clone(key)
		other[rapid.IntRange(0, len(key)-1).Draw(t, "byte of the key")] ^= 1
		bad("another key", other, position)
		raw, err := base64.RawURLEncoding.DecodeString(position)
		if err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, len(raw)-1).Draw(t, "byte")
		raw[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		bad("a bit changed", key, base64.RawURLEncoding.EncodeToString(raw))
		bad("cut short", key, position[:rapid.IntRange(0, len(position)-1).Draw(t, "length")])
		bad("with a newline", key, position[:4]+"\n"+position[4:])
		bad("a cursor of a list", key, message.EncodeCursor(key, message.Filter{}, message.Ascending, message.Position{ID: string(payload)}))
	})
}
