package message_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"lyftr/internal/message"
)

// TestIdentities: another version of lyftr has to find the same identities
// in a database. The value was computed with openssl.
func TestIdentities(t *testing.T) {
	ids := message.NewIdentities([]byte("0123456789abcdef0123456789abcdef"))
	for range 2 {
		if got := hex.EncodeToString(ids.Of("native", "m1")); got != "14f96a45c8a61f9cccb9a95049837de4" {
			t.Errorf("identity %s", got)
		}
	}
	if bytes.Equal(bytes.Clone(ids.Of("ab", "c")), ids.Of("a", "bc")) {
		t.Error("source and ID run together")
	}
}
