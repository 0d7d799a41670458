package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
)

// signer are the settings of what signs as a sender does.
type signer struct {
	providerSettings
	Provider string `default:"native" placeholder:"NAME" values:"native,whatsapp,twilio,standard" help:"Whose format: native (lyftr's own), whatsapp, twilio or standard."`
	Secret   string `placeholder:"SECRET" help:"Secret to sign with, in place of the provider's setting."`
	SignedAt string `placeholder:"TIME" help:"Time that is signed where the format has one; now if left out."`
}

// chosen returns the provider of that name, with the secret to sign with.
func (s *signer) chosen() (provider.Provider, error) {
	for _, p := range s.list() {
		if p.Source() == s.Provider {
			if s.Secret != "" {
				p.UseSecret(s.Secret)
			}
			return p, nil
		}
	}
	return nil, usagef("--provider: %q is none: use %s", s.Provider, strings.Join(s.sources(), ", "))
}

// sign returns the headers for a body that is posted to the URL.
func (s *signer) sign(p provider.Provider, url string, body []byte) (map[string][]string, error) {
	now := time.Now()
	if s.SignedAt != "" {
		at, err := message.ParseInstant(s.SignedAt)
		if err != nil {
			return nil, usagef("--signed-at: %w", err)
		}
		now = at
	}
	h, err := p.Sign(url, body, now)
	switch {
	case errors.Is(err, provider.ErrNoSecret):
		return nil, usagef("no secret to sign with: set %s or give --secret", p.Switch())
	case err != nil:
		return nil, usageError{err}
	}
	return h, nil
}

// signCommand is lyftr sign.
type signCommand struct {
	signer
	File string `arg:"" optional:"" default:"-" help:"File whose bytes are signed; - is standard input."`
	URL  string `placeholder:"URL" help:"Where it will be posted, if that is signed as well."`
}

// Help implements kong.HelpProvider.
func (c *signCommand) Help() string {
	return `Prints the value of the header X-Signature, or all headers of another format, as curl takes them by -H @FILE.

  lyftr sign body.json
  curl -H "X-Signature: $(lyftr sign body.json)" --data-binary @body.json http://localhost:8000/webhook
  lyftr sign --provider standard --url https://hooks.example.com/webhook/standard body.json > headers`
}

// Run prints the value of the header X-Signature, or the headers of another
// format, as curl takes them by -H @FILE.
func (c *signCommand) Run(e *environment) error {
	p, err := c.chosen()
	if err != nil {
		return err
	}
	body, err := readInput(c.File, e.stdin)
	if err != nil {
		return err
	}
	headers, err := c.sign(p, c.URL, body)
	if err != nil {
		return err
	}
	if value := headers[provider.HeaderSignature]; len(value) > 0 {
		_, err = fmt.Fprintln(e.stdout, value[0])
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		for _, value := range headers[name] {
			if _, err := fmt.Fprintf(e.stdout, "%s: %s\n", name, value); err != nil {
				return err
			}
		}
	}
	return nil
}
