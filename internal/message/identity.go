package message

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
)

// identitySize is how many bytes of a MAC make an identity: enough that no two
// things share one.
const identitySize = 16

// DatabaseIdentity is what a database with that key is known by: the
// StoreStatus.Identity of every store.
func DatabaseIdentity(key []byte) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("lyftr database"))
	return hex.EncodeToString(h.Sum(nil)[:identitySize])
}

// Identities makes the hashes by which a store knows removed messages again.
// They tell nothing to whoever does not have the database's key. It may not be
// used by two goroutines at once.
type Identities struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

// NewIdentities makes the hashes of the database with that key.
func NewIdentities(key []byte) *Identities {
	return &Identities{mac: hmac.New(sha256.New, key)}
}

// Of returns the hash of a message's identity, 16 bytes; it may be used until
// the next call.
func (i *Identities) Of(source, id string) []byte {
	i.mac.Reset()
	for _, field := range [...]string{"lyftr removed", source, id} {
		// The length in front keeps neighbouring fields apart.
		i.mac.Write(binary.AppendUvarint(i.sum[:0], uint64(len(field))))
		i.mac.Write([]byte(field))
	}
	return i.mac.Sum(i.sum[:0])[:identitySize]
}
