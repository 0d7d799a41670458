package message

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// cursorVersion is the first byte of every cursor; it changes with the format.
const cursorVersion = 1

// cursorMACSize is how many bytes of the MAC a cursor carries.
const cursorMACSize = 16

// Position is a place in the order of a list: behind the message that has this
// key.
type Position struct {
	At     time.Time
	ID     string
	Source string
}

// EncodeCursor returns the cursor that continues behind p. It is readable by
// ParseCursor with the same key, filter and order only: the key is a secret of
// the database, so that nobody can make a cursor that a store did not give out.
func EncodeCursor(key []byte, f Filter, o Order, p Position) string {
	b := make([]byte, 0, 64+len(p.ID)+len(p.Source))
	b = append(b, cursorVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(p.At.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(p.At.Nanosecond()))
	b = binary.AppendUvarint(b, uint64(len(p.ID)))
	b = append(b, p.ID...)
	b = append(b, p.Source...)
	b = append(b, cursorMAC(key, f, o, b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseCursor returns the position in a cursor, or ErrBadCursor.
func ParseCursor(key []byte, f Filter, o Order, cursor string) (Position, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	const fixed = 1 + 8 + 4
	// The decoder skips line breaks: a cursor has one way to be written.
	if err != nil || strings.ContainsAny(cursor, "\r\n") || len(b) < fixed+1+cursorMACSize || b[0] != cursorVersion {
		return Position{}, ErrBadCursor
	}
	payload, mac := b[:len(b)-cursorMACSize], b[len(b)-cursorMACSize:]
	if !hmac.Equal(mac, cursorMAC(key, f, o, payload)) {
		return Position{}, ErrBadCursor
	}
	at := time.Unix(int64(binary.BigEndian.Uint64(payload[1:])), int64(binary.BigEndian.Uint32(payload[9:]))).UTC()
	n, size := binary.Uvarint(payload[fixed:])
	rest := payload[fixed:]
	if size <= 0 || n > uint64(len(rest)-size) {
		return Position{}, ErrBadCursor
	}
	rest = rest[size:]
	return Position{At: at, ID: string(rest[:n]), Source: string(rest[n:])}, nil
}

// cursorMAC binds a cursor's payload to the query that it belongs to.
func cursorMAC(key []byte, f Filter, o Order, payload []byte) []byte {
	h := hmac.New(sha256.New, key)
	var size [binary.MaxVarintLen64]byte
	field := func(b string) {
		// The length in front keeps neighbouring fields apart.
		h.Write(size[:binary.PutUvarint(size[:], uint64(len(b)))])
		h.Write([]byte(b))
	}
	if o != Descending {
		o = Ascending
	}
	field("lyftr cursor")
	field(string(o))
	field(f.From)
	field(f.To)
	field(f.Since.UTC().Format(time.RFC3339Nano))
	field(f.Until.UTC().Format(time.RFC3339Nano))
	field(Fold(f.Text))
	field(string(payload))
	if f.Source != "" { // those without one are as they were before there was one
		field(f.Source)
	}
	return h.Sum(nil)[:cursorMACSize]
}
