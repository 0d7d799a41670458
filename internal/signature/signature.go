// Package signature signs and verifies webhook bodies with HMAC. A Keyring
// holds every secret that is active for one source, so that a secret can be
// replaced without refusing what is signed with the old one.
//
// It imports the standard library only.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
)

// Key is a secret under a name that may be shown.
type Key struct {
	ID     string // names the key in metrics and logs
	Secret []byte // never empty
}

// Keyring verifies signatures of one source with any of its keys. The zero
// Keyring has no key and verifies nothing. It may be used by many goroutines.
type Keyring struct {
	keys []ringKey
	ids  []string // of keys
}

type ringKey struct {
	id string
	// macs holds idle HMAC states: setting one up costs two hash blocks and
	// four allocations, resetting one almost nothing.
	macs *sync.Pool
}

// state is one reusable HMAC computation.
type state struct {
	mac hash.Hash
	sum []byte
}

// NewKeyring returns a keyring of the keys for HMAC-SHA256. It panics on an
// empty secret, with which everybody could sign.
func NewKeyring(keys ...Key) *Keyring { return NewKeyringOf(sha256.New, keys...) }

// NewKeyringOf is NewKeyring for HMAC over another hash.
func NewKeyringOf(hash func() hash.Hash, keys ...Key) *Keyring {
	r := &Keyring{}
	for _, k := range keys {
		if len(k.Secret) == 0 {
			panic("signature: key " + k.ID + " has an empty secret")
		}
		secret := append([]byte(nil), k.Secret...)
		r.ids = append(r.ids, k.ID)
		r.keys = append(r.keys, ringKey{id: k.ID, macs: &sync.Pool{
			New: func() any {
				mac := hmac.New(hash, secret)
				return &state{mac: mac, sum: make([]byte, 0, mac.Size())}
			},
		}})
	}
	return r
}

// Empty reports whether the keyring has no key.
func (r *Keyring) Empty() bool { return len(r.keys) == 0 }

// IDs returns the names of the keys, in the order they were given. They must not
// be changed.
func (r *Keyring) IDs() []string { return r.ids }

// VerifyHex reports whether signature is the HMAC-SHA256 of body, in hex of
// either case, under one of the keys, and which. It tries every key and
// compares in constant time.
func (r *Keyring) VerifyHex(body []byte, signature string) (keyID string, ok bool) {
	var got [sha256.Size]byte
	if len(signature) != hex.EncodedLen(len(got)) {
		return "", false
	}
	var text [2 * sha256.Size]byte
	copy(text[:], signature)
	if _, err := hex.Decode(got[:], text[:]); err != nil {
		return "", false
	}
	return r.Verify([][]byte{got[:]}, body)
}

// Verify reports whether one of the macs is the HMAC of the parts, one behind the
// other, under one of the keys, and which key. It tries every key and compares
// in constant time.
func (r *Keyring) Verify(macs [][]byte, parts ...[]byte) (keyID string, ok bool) {
	for i := range r.keys {
		s := r.keys[i].macs.Get().(*state)
		s.mac.Reset()
		for _, p := range parts {
			s.mac.Write(p)
		}
		s.sum = s.mac.Sum(s.sum[:0])
		for _, mac := range macs {
			if hmac.Equal(s.sum, mac) && !ok {
				keyID, ok = r.keys[i].id, true
			}
		}
		r.keys[i].macs.Put(s)
	}
	return keyID, ok
}

// Sign returns the HMAC of the parts, one behind the other.
func Sign(hash func() hash.Hash, secret []byte, parts ...[]byte) []byte {
	mac := hmac.New(hash, secret)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// SignHex returns the HMAC-SHA256 of body under the secret in lower-case hex,
// as the header X-Signature carries it.
func SignHex(secret, body []byte) string {
	return hex.EncodeToString(Sign(sha256.New, secret, body))
}
