package cli

import (
	"fmt"

	"lyftr/internal/signature"
)

// signCommand is lyftr sign.
type signCommand struct {
	File   string `arg:"" optional:"" default:"-" help:"File whose bytes are signed; - is standard input."`
	Secret string `setting:"WEBHOOK_SECRET" secret:"" placeholder:"SECRET" help:"Secret to sign with."`
}

// Run prints the value of the header X-Signature.
func (c *signCommand) Run(e *environment) error {
	if c.Secret == "" {
		return usagef("no secret to sign with: set WEBHOOK_SECRET or give --secret")
	}
	body, err := readInput(c.File, e.stdin)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, signature.SignHex([]byte(c.Secret), body))
	return err
}
