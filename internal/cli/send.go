package cli

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
)

// sendCommand is lyftr send.
type sendCommand struct {
	signer
	URL       string `setting:"LYFTR_URL" placeholder:"URL" help:"Where to post it; http://localhost:8000 and the provider's path if left out."`
	Text      string `placeholder:"TEXT" help:"Text of the message; - reads it from standard input."`
	From      string `default:"+10000000001" placeholder:"NUMBER" help:"Sender."`
	To        string `default:"+10000000002" placeholder:"NUMBER" help:"Recipient."`
	TS        string `name:"ts" placeholder:"TIME" help:"Timestamp; now if left out."`
	MessageID string `name:"message-id" placeholder:"ID" help:"Identity of the message; a new one if left out."`
	Body      string `placeholder:"FILE" help:"Send these bytes as they are in place of a message made from flags; - is standard input."`
}

// Help implements kong.HelpProvider.
func (c *sendCommand) Help() string {
	return `Posts what a sender would, to try whether a server takes it. The exit code is 0 if it did.

  lyftr send --text "Hello"
  echo "Hello" | lyftr send --text - --from +919876543210 --to +14155550100
  lyftr send --provider whatsapp --url https://hooks.example.com/webhook/whatsapp --text "Hello"`
}

// sendTimeout bounds the whole exchange.
const sendTimeout = 30 * time.Second

// Run posts the message and prints the answer. Anything but a 200 is a failure.
func (c *sendCommand) Run(e *environment) error {
	p, err := c.chosen()
	if err != nil {
		return err
	}
	body, err := c.body(p, e.stdin)
	if err != nil {
		return err
	}
	url := cmp.Or(c.URL, "http://localhost:8000"+provider.Path(p))
	headers, err := c.sign(p, url, body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(e.ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return usagef("--url: %w", err)
	}
	request.Header = headers
	client := &http.Client{Timeout: sendTimeout}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	defer response.Body.Close()
	const longest = 64 << 10
	answer, err := io.ReadAll(io.LimitReader(response.Body, longest))
	if err != nil {
		return fmt.Errorf("send: read the answer: %w", err)
	}
	if _, err := fmt.Fprintf(e.stdout, "%s\n", bytes.TrimSpace(answer)); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("send: the server answered %s", response.Status)
	}
	return nil
}

// body returns the bytes to post.
func (c *sendCommand) body(p provider.Provider, stdin io.Reader) ([]byte, error) {
	if c.Body != "" {
		if c.Text != "" || c.MessageID != "" || c.TS != "" {
			return nil, usagef("--body holds the whole message: leave out --text, --message-id and --ts")
		}
		return readInput(c.Body, stdin)
	}
	m := message.Message{ID: c.MessageID, From: c.From, To: c.To, TS: c.TS}
	if m.ID == "" {
		m.ID = "send-" + strings.ToLower(rand.Text())
	}
	if m.TS == "" {
		m.TS = time.Now().UTC().Format("2006-01-02T15:04:05Z")
	}
	// What is no time is sent as it is, for the server to refuse.
	m.At, _ = message.ParseTimestamp(m.TS)
	switch c.Text {
	case "":
	case "-":
		text, err := readInput("-", stdin)
		if err != nil {
			return nil, err
		}
		s := strings.TrimSuffix(string(text), "\n")
		m.Text = &s
	default:
		m.Text = &c.Text
	}
	return p.Compose(m)
}

// readInput reads a file, or standard input if the name is -.
func readInput(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		b, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return b, nil
	}
	return os.ReadFile(name)
}
