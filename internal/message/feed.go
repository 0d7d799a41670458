package message

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Limits of a page of the feed.
const (
	DefaultFeedLimit = 100
	MaxFeedLimit     = 1000
	// MaxFeedBytes is roughly how many bytes of text and raw JSON a page of the
	// feed holds, so that long ones do not make it a hundred times as large as
	// short ones.
	MaxFeedBytes = 256 << 10
)

// FeedLatest in place of a position stands for the end of the feed: behind it
// comes only what is stored from now on.
const FeedLatest = "latest"

// FeedPage is one page of the feed.
type FeedPage struct {
	// Messages are in the order in which they were stored.
	Messages []Message
	// Positions has for each message the position right behind it.
	Positions []string
	// Next is the position behind the page. It is always set.
	Next string
	// More is true if the page ended at its limit: there may be more already.
	More bool
}

// feedVersion is the first byte of every position; it changes with the format.
const feedVersion = 1

// SignFeedPosition returns the position with the payload, which only the store
// that made it has to understand. OpenFeedPosition reads it with the same key
// only; the key may be that of the cursors, neither can pass for the other.
func SignFeedPosition(key, payload []byte) string {
	b := make([]byte, 0, 1+len(payload)+cursorMACSize)
	b = append(b, feedVersion)
	b = append(b, payload...)
	b = append(b, feedMAC(key, b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// OpenFeedPosition returns the payload of a position, or ErrBadCursor.
func OpenFeedPosition(key []byte, position string) (payload []byte, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(position)
	// The decoder skips line breaks: a position has one way to be written.
	if err != nil || strings.ContainsAny(position, "\r\n") || len(b) < 1+cursorMACSize || b[0] != feedVersion {
		return nil, ErrBadCursor
	}
	signed, mac := b[:len(b)-cursorMACSize], b[len(b)-cursorMACSize:]
	if !hmac.Equal(mac, feedMAC(key, signed)) {
		return nil, ErrBadCursor
	}
	return signed[1:], nil
}

// feedMAC signs a position. What it begins with keeps it apart from cursorMAC,
// which begins with the length of another name.
func feedMAC(key, signed []byte) []byte {
	const name = "lyftr feed position"
	h := hmac.New(sha256.New, key)
	h.Write([]byte{byte(len(name))})
	h.Write([]byte(name))
	h.Write(signed)
	return h.Sum(nil)[:cursorMACSize]
}
