package cli

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"lyftr/internal/provider"
	"lyftr/internal/telemetry"
)

// benchBareCommand is lyftr bench bare.
type benchBareCommand struct {
	Secret string `setting:"WEBHOOK_SECRET" secret:"" placeholder:"SECRET" help:"Secret that messages are signed with."`
	Host   string `default:"127.0.0.1" placeholder:"ADDRESS" help:"Address to listen on."`
	Port   int    `default:"0" placeholder:"PORT" help:"Port to listen on; 0 takes a free one, which the log line has."`
}

// Help implements kong.HelpProvider.
func (c *benchBareCommand) Help() string {
	return `STORES NOTHING: it is the yardstick for bench write. A handler of Go's net/http, set up as Go is, that reads each body, verifies its
signature, parses it and answers 200. What it takes a second is what this machine could take at most. Give bench write its address as --url.

  lyftr bench bare --port 8001`
}

const (
	bareBodyBytes = 1 << 20
	bareTimeout   = 10 * time.Second
)

// Run answers until the context ends.
func (c *benchBareCommand) Run(e *environment) error {
	if c.Secret == "" {
		return usagef("no secret to verify webhooks with: set WEBHOOK_SECRET or give --secret")
	}
	listener, err := (&net.ListenConfig{}).Listen(e.ctx, "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("bench bare: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /webhook", bareHandler([]byte(c.Secret)))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: bareTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	telemetry.NewLogger(e.stdout, slog.LevelInfo).Info("listening", "address", listener.Addr().String(), "tls", false, "stores", false)
	select {
	case <-e.ctx.Done():
	case err := <-served:
		return fmt.Errorf("bench bare: %w", err)
	}
	stop, cancel := context.WithTimeout(context.Background(), bareTimeout)
	defer cancel()
	err = server.Shutdown(stop)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("bench bare: %w", err)
	}
	return err
}

// bareHandler is what a handler cannot do without.
func bareHandler(secret []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bareBodyBytes))
		if err != nil {
			http.Error(w, "body", http.StatusBadRequest)
			return
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		got, err := hex.DecodeString(r.Header.Get(provider.HeaderSignature))
		if err != nil || !hmac.Equal(mac.Sum(nil), got) {
			http.Error(w, "signature", http.StatusUnauthorized)
			return
		}
		var m webhookBody
		if err := json.Unmarshal(body, &m); err != nil || m.ID == "" {
			http.Error(w, "json", http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"ok"}`) // who went away does not need it
	}
}
