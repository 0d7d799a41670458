package cli

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// healthcheckCommand is lyftr healthcheck.
type healthcheckCommand struct {
	Port int    `setting:"PORT" default:"8000" placeholder:"PORT" help:"Port of the server on this machine."`
	TLS  string `name:"tls-cert-file" setting:"TLS_CERT_FILE" placeholder:"FILE" help:"Certificate of that server, if it serves HTTPS."`
	URL  string `placeholder:"URL" help:"Ask this address instead."`
}

// Help implements kong.HelpProvider.
func (c *healthcheckCommand) Help() string {
	return `Exit code 0 if the server is ready, 1 if not or if there is none.

  lyftr healthcheck
  lyftr healthcheck --url https://hooks.example.com/health/ready`
}

// healthcheckTimeout bounds the question.
const healthcheckTimeout = 3 * time.Second

// Run fails unless the server says that it is ready.
func (c *healthcheckCommand) Run(e *environment) error {
	url, client := c.URL, &http.Client{Timeout: healthcheckTimeout}
	if url == "" {
		url, client.Transport = localServer(c.Port, c.TLS != "")
		url += "/health/ready"
	}
	request, err := http.NewRequestWithContext(e.ctx, http.MethodGet, url, nil)
	if err != nil {
		return usagef("--url: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer response.Body.Close()
	const longest = 4 << 10
	body, err := io.ReadAll(io.LimitReader(response.Body, longest))
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	if _, err := fmt.Fprintf(e.stdout, "%s\n", body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("healthcheck: the server answered %s", response.Status)
	}
	return nil
}
