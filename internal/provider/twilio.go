package provider

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // Twilio signs with it, and as an HMAC it is not broken
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/signature"
)

// HeaderTwilioSignature is the header that carries the signature of Twilio's
// deliveries: the base64 of HMAC-SHA1(auth token, URL and parameters).
const HeaderTwilioSignature = "X-Twilio-Signature"

// headerTwilioSettings says that a webhook rule of the account signs with a key
// and a hash of its own.
const headerTwilioSettings = "X-Twilio-Webhooks-Signature-Settings"

// Twilio is Twilio's SMS and WhatsApp: a message or the status of one in each
// request, as a form, signed together with the URL that the sender knows.
type Twilio struct {
	AuthToken string `name:"twilio-auth-token" setting:"TWILIO_AUTH_TOKEN" secret:"" placeholder:"TOKEN" help:"Primary auth token of the Twilio account whose messages are received. Without it none is accepted."`
	Previous  string `name:"twilio-auth-token-previous" setting:"TWILIO_AUTH_TOKEN_PREVIOUS" secret:"" placeholder:"TOKEN" help:"Auth token that stays valid while Twilio moves to the new one."`
	PublicURL string `name:"public-url" setting:"PUBLIC_URL" placeholder:"URL" help:"The address at which senders reach lyftr, such as https://hooks.example.com. Twilio signs it."`

	keys   *signature.Keyring
	clues  clues
	public *publicURL // nil without one
}

const (
	sourceTwilio     = "twilio"
	publicURLSetting = "PUBLIC_URL"
)

// Source implements Provider.
func (*Twilio) Source() string { return sourceTwilio }

// Switch implements Provider.
func (*Twilio) Switch() string { return "TWILIO_AUTH_TOKEN" }

// Prepare implements Provider.
func (t *Twilio) Prepare() error {
	keys, err := keysOf(t.Switch(), t.AuthToken, t.Previous)
	t.keys, t.clues, t.public = signature.NewKeyringOf(sha1.New, keys...), newClues(sha1.New, keys), nil
	switch {
	case err != nil:
		return err
	case t.PublicURL != "":
		t.public, err = parsePublicURL(t.PublicURL)
		return err
	case len(keys) > 0:
		return errors.New("TWILIO_AUTH_TOKEN is set but PUBLIC_URL is not: Twilio signs the URL that it posts to, so set PUBLIC_URL to what stands before /webhook/twilio in Twilio's console, such as https://hooks.example.com")
	}
	return nil
}

// Warnings implements Provider.
func (t *Twilio) Warnings() []string { return warnShort(t.Switch(), t.AuthToken) }

// KeyIDs implements Provider.
func (t *Twilio) KeyIDs() []string { return t.keys.IDs() }

// Recognizes implements Provider.
func (*Twilio) Recognizes(h http.Header) bool {
	return len(h[http.CanonicalHeaderKey(HeaderTwilioSignature)]) > 0
}

// maxParameters is how many a form may have: Twilio's have some forty.
const maxParameters = 1000

// twilioDelivery is a delivery and what of it besides the URL may be signed.
type twilioDelivery struct {
	*Request
	mac    []byte
	form   bool       // by its Content-Type
	params parameters // of a form
	hashed int        // how many bodySHA256 the query has
	// tails are what follows the URL in what is signed. There is none if nothing
	// can vouch for the body.
	tails [][]byte
}

// Verify implements Provider. A form is signed behind the URL. Of any other body
// the query holds the SHA-256, and the URL is all that is signed. Twilio's own
// libraries disagree on a form whose SHA-256 is in the query: either will do,
// since each vouches for URL and body.
func (t *Twilio) Verify(r *Request) (keyID string, err error) {
	value, err := single(r.Header, HeaderTwilioSignature)
	if err != nil {
		return "", err
	}
	d := twilioDelivery{Request: r, form: isForm(r.Header)}
	if d.mac, err = d.decode(value); err != nil {
		return "", err
	}
	if d.form {
		if bytes.Count(r.Body, []byte("&")) >= maxParameters {
			return "", refusef("the form has more than %d parameters", maxParameters)
		}
		d.params = parseForm(r.Body)
		d.tails = append(d.tails, d.params.sorted().joined())
	}
	if d.hashFits() || len(r.Body) == 0 && !d.form {
		d.tails = append(d.tails, nil)
	}
	if keyID, ok := t.right(t.keys, t.public.addresses(r.URL), &d, d.tails); ok {
		return keyID, nil
	}
	return "", t.explain(&d)
}

// decode returns the MAC that the header carries.
func (d *twilioDelivery) decode(value string) ([]byte, error) {
	mac, ok := decodeMAC(value, sha1.Size)
	switch {
	case ok:
		return mac, nil
	case len(d.Header[headerTwilioSettings]) > 0:
		return nil, refusef("a webhook rule of Twilio signs with a shared key, which is not supported: except the URL from the rule, so that the auth token signs")
	}
	return nil, refusef("the header %s has %d characters: it must be the base64 of the 20 bytes of HMAC-SHA1 and nothing else", HeaderTwilioSignature, len(value))
}

// decodeMAC decodes standard base64 with padding of that many bytes.
func decodeMAC(s string, size int) ([]byte, bool) {
	if len(s) != base64.StdEncoding.EncodedLen(size) {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) == size
}

// isForm reports whether the body is a form.
func isForm(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), formType)
}

const formType = "application/x-www-form-urlencoded"

// hashFits reports whether the query's bodySHA256, if it has exactly one, is the
// body's.
func (d *twilioDelivery) hashFits() bool {
	var given string
	for _, p := range parseForm([]byte(d.URL.RawQuery)) {
		if p.name == bodyHashName {
			given = p.value
			d.hashed++
		}
	}
	want, err := hex.DecodeString(given)
	if d.hashed != 1 || err != nil {
		return false
	}
	sum := sha256.Sum256(d.Body)
	return subtle.ConstantTimeCompare(sum[:], want) == 1
}

const bodyHashName = "bodySHA256"

// right reports under which key of the ring the signature is right for one of
// the addresses and one of the tails.
func (t *Twilio) right(ring *signature.Keyring, at []address, d *twilioDelivery, tails [][]byte) (keyID string, ok bool) {
	macs := [][]byte{d.mac}
	for _, a := range at {
		head := []byte(a.String())
		for _, tail := range tails {
			if keyID, ok := ring.Verify(macs, head, tail); ok {
				return keyID, true
			}
		}
	}
	return "", false
}

// Parse implements Provider.
func (*Twilio) Parse(r *Request) (Content, error) {
	var p parameters
	if isForm(r.Header) {
		p = parseForm(r.Body)
	} else {
		var err error
		if p, err = parseMembers(r.Body); err != nil {
			return Content{}, err
		}
	}
	p = p.sorted()
	sid := p.first("MessageSid", "SmsSid", "SmsMessageSid")
	if sid == "" {
		return Content{Ignored: 1}, nil
	}
	if status := p.reported(); status != "" {
		return statusOf(sid, status, p, r.Now), nil
	}
	return Content{Messages: []message.Message{messageOf(sid, p, r.Now)}}, nil
}

// parseMembers reads a JSON object. Other JSON has no members: Twilio posts its
// events as an array.
func parseMembers(body []byte) (parameters, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' && json.Valid(body) {
		return nil, nil
	}
	if err := message.CheckJSON(body); err != nil {
		return nil, err
	}
	var p parameters
	for name, v := range value(body).members() {
		if v.none() {
			continue
		}
		text, ok := v.str()
		if !ok {
			text = string(v)
		}
		p = append(p, parameter{string(name), text})
	}
	return p, nil
}

// reported returns the status that a callback reports, and nothing if it is a
// message that came in. MessageStatus belongs to callbacks, SmsStatus to old ones
// and to messages.
func (p parameters) reported() string {
	received := func(status string) bool { return status == "" || status == "received" || status == "receiving" }
	status := wordOf(p.first("MessageStatus"))
	if !received(status) {
		return status
	}
	status = wordOf(p.first("SmsStatus"))
	if received(status) || p.has("Body") || p.has("NumMedia") {
		return ""
	}
	return status
}

// wordOf returns a status as it is kept.
func wordOf(s string) string { return strings.ToLower(printable(s, maxStatusLength)) }

// statusOf returns what a status callback holds.
func statusOf(sid, status string, p parameters, now time.Time) Content {
	if idOf(sid, nil) != sid {
		return Content{Ignored: 1} // of no message that there can be
	}
	return Content{Statuses: []message.Status{{
		Source: sourceTwilio, ID: sid, Status: status, Recipient: partyOf(p.first("To")),
		At: now.UTC().Truncate(time.Millisecond), Raw: p.object(),
	}}}
}

// messageOf returns the message that came in. Nothing in it says when it was
// sent.
func messageOf(sid string, p parameters, now time.Time) message.Message {
	raw, at := p.object(), now.UTC().Truncate(time.Second)
	m := message.Message{
		Source: sourceTwilio, ID: idOf(sid, raw), From: partyOf(p.first("From")), To: partyOf(p.first("To")),
		TS: at.Format(secondsLayout), TSIsArrival: true, At: at, Raw: raw,
	}
	if m.From == "" {
		m.From = party(p.first("WaId"), p.first("ExternalUserId"))
	}
	if text := p.first("Body", "ButtonText"); text != "" {
		text = tidy(text)
		m.Text = &text
	}
	return m
}

// partyOf returns who a parameter names: a number, or whatever else the channel
// knows somebody by.
func partyOf(s string) string {
	return printable(strings.TrimPrefix(s, "whatsapp:"), maxPartyLength)
}

// Acknowledge implements Provider, with an empty answer in Twilio's language:
// anything else in words would be sent to the user as a reply.
func (*Twilio) Acknowledge(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/xml")
	_, err := io.WriteString(w, "<Response/>")
	return err
}

// Compose implements Provider.
func (*Twilio) Compose(m message.Message) ([]byte, error) {
	text := ""
	if m.Text != nil {
		text = *m.Text
	}
	return []byte(url.Values{
		"AccountSid":    {"AC" + strings.Repeat("0", 32)},
		"ApiVersion":    {"2010-04-01"},
		"Body":          {text},
		"From":          {m.From},
		"MessageSid":    {m.ID},
		"NumMedia":      {"0"},
		"NumSegments":   {"1"},
		"SmsMessageSid": {m.ID},
		"SmsSid":        {m.ID},
		"SmsStatus":     {"received"},
		"To":            {m.To},
	}.Encode()), nil
}

// Sign implements Provider: the body is a form.
func (t *Twilio) Sign(to string, body []byte, _ time.Time) (http.Header, error) {
	if t.AuthToken == "" {
		return nil, errNoSecret
	}
	to, _, _ = strings.Cut(to, "#") // a fragment is not sent
	mac := signature.Sign(sha1.New, []byte(t.AuthToken), []byte(to), parseForm(body).sorted().joined())
	return http.Header{
		"Content-Type":        {formType},
		HeaderTwilioSignature: {base64.StdEncoding.EncodeToString(mac)},
	}, nil
}
