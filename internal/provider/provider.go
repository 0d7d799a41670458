// Package provider knows the formats in which webhooks arrive: for each, how a
// delivery is verified, what it holds, how it is acknowledged, and how a sample
// of it is made. One file is one provider, and All is the list of them; what
// needs a file more than that begins its name with the provider's.
//
// A provider is a struct whose fields are its settings, with the tags that the
// command line reads: name is the flag, setting the variable, help its sentence;
// secret:"" says that the value may stand in a file as well.
package provider

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/signature"
)

// All returns every provider there is, without settings. The first is lyftr's
// own format. Adding one is a file and a line here.
func All() []Provider {
	return []Provider{
		&Native{},
		&WhatsApp{},
		&Twilio{},
		&Standard{},
	}
}

// MaxBodyBytes is the longest body of a delivery, other than in lyftr's own
// format: WhatsApp's are up to 3 MB.
const MaxBodyBytes = 4 << 20

// Provider is one format in which webhooks arrive. After Prepare it is not
// changed any more and may be used by many goroutines.
type Provider interface {
	// Source names it: the source of its messages, and the last part of its Path.
	Source() string
	// Prepare makes the keys from the settings. The error names the setting that is
	// wrong and says what would be right; it holds no secret.
	Prepare() error
	// Warnings are what is allowed in the settings and not wise, each a sentence.
	Warnings() []string
	// KeyIDs are the names of the active secrets. Without any the provider is off.
	KeyIDs() []string
	// Switch names the setting that switches it on.
	Switch() string
	// Recognizes reports whether a request looks like a delivery of this provider,
	// by its headers alone, whether its signature is right or not.
	Recognizes(h http.Header) bool
	// Verify reports under which secret the signature is right. It looks at
	// nothing of the body but its bytes. The error is a *Refusal.
	Verify(r *Request) (keyID string, err error)
	// Parse returns what a verified delivery holds. The error is a
	// *message.InvalidError.
	Parse(r *Request) (Content, error)
	// Acknowledge tells the sender that the delivery is stored.
	Acknowledge(w http.ResponseWriter) error
	// UseSecret sets the current secret in place of the setting's, before Prepare.
	UseSecret(secret string)
	// Compose returns the body of a delivery that holds one message.
	Compose(m message.Message) ([]byte, error)
	// Sign returns the headers with which a body is posted to the URL, its
	// signature by the current secret among them. It needs no Prepare. Without a
	// secret the error is ErrNoSecret.
	Sign(url string, body []byte, now time.Time) (http.Header, error)
}

// Path is where a provider's deliveries are received.
func Path(p Provider) string {
	if p.Source() == message.SourceNative {
		return "/webhook"
	}
	return "/webhook/" + p.Source()
}

// Challenger is a provider that asks by GET whether a path is meant for it.
type Challenger interface {
	// Challenge returns the answer, as plain text. The error is a *Refusal.
	Challenge(query url.Values) (answer string, err error)
}

// Request is a delivery as it arrived.
type Request struct {
	Header http.Header
	URL    *url.URL // path and query as the sender wrote them
	Host   string   // for whom the sender says it is, which proves nothing
	Body   []byte   // the exact bytes
	Now    time.Time
	// Brief, if set, is asked when the signature is wrong. If it says so nobody
	// wants to know why:
	// finding that out is more work than a stranger should make.
	Brief func() bool
}

// brief reports whether a refusal needs no more than that it is one.
func (r *Request) brief() bool { return r.Brief != nil && r.Brief() }

// errBrief is the refusal of which nobody wants to know more.
var errBrief = &Refusal{"the signature fits no secret"}

// Content is what a delivery holds.
type Content struct {
	Messages []message.Message
	Statuses []message.Status
	// Ignored is how many updates are none of lyftr's business.
	Ignored int
}

// Refusal is why a delivery is not accepted. The sender is not told: Reason is
// for whoever runs the service. It holds no secret and nothing of the body.
type Refusal struct {
	Reason string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }

func refusef(format string, args ...any) error {
	return &Refusal{fmt.Sprintf(format, args...)}
}

// ErrNoSecret is what Sign returns without a secret to sign with.
var ErrNoSecret = errors.New("no secret to sign with")

// secondsLayout is how a message's TS is written if its provider sends none that
// a message can have.
const secondsLayout = "2006-01-02T15:04:05Z"

// Names of the keys of a setting and of its PREVIOUS.
const (
	keyCurrent  = "current"
	keyPrevious = "previous"
)

// keysOf makes the keys of a secret and of the one before it. name is the
// setting's.
func keysOf(name, current, previous string) ([]signature.Key, error) {
	if current == "" && previous != "" {
		return nil, fmt.Errorf("%s_PREVIOUS is set but %s is not: set the current secret too", name, name)
	}
	var keys []signature.Key
	if current != "" {
		keys = append(keys, signature.Key{ID: keyCurrent, Secret: []byte(current)})
	}
	if previous != "" {
		keys = append(keys, signature.Key{ID: keyPrevious, Secret: []byte(previous)})
	}
	return keys, nil
}

// shortSecret is the length below which a secret draws a warning, in bytes.
const shortSecret = 16

// warnShort warns of a secret that can be guessed.
func warnShort(name, secret string) []string {
	if secret == "" || len(secret) >= shortSecret {
		return nil
	}
	return []string{fmt.Sprintf("%s is short, it has %d bytes: take at least %d", name, len(secret), shortSecret)}
}

// single returns the value of a header that must be there exactly once.
func single(h http.Header, name string) (string, error) {
	switch values := h[http.CanonicalHeaderKey(name)]; len(values) {
	case 1:
		return values[0], nil
	case 0:
		return "", refusef("the header %s is missing", name)
	default:
		return "", refusef("the header %s is there %d times", name, len(values))
	}
}
