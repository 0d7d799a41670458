package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"lyftr/internal/telemetry"
)

// certificate is the server's, as its files last were.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// certificate reads the certificate, nil if none is set.
func (c *serveCommand) certificate(f files) (*certificate, error) {
	if c.TLSCertFile == "" {
		return nil, nil
	}
	cert := &certificate{certFile: c.TLSCertFile, keyFile: c.TLSKeyFile}
	return cert, cert.load(f)
}

// load reads the files. If something is wrong with them the certificate stays
// as it was.
func (c *certificate) load(f files) error {
	chain, err := f.read(c.certFile)
	if err != nil {
		return fmt.Errorf("TLS_CERT_FILE: %w", err)
	}
	key, err := f.read(c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS_KEY_FILE: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("TLS_CERT_FILE and TLS_KEY_FILE: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// config is HTTP/1.1 over TLS with whatever certificate is current.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
	}
}

// localServer returns the address of the server on this machine, and what to
// reach it with. Its certificate has the name under which others know it.
func localServer(port int, https bool) (url string, transport *http.Transport) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if !https {
		return "http://" + address, &http.Transport{}
	}
	return "https://" + address, &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // nothing lies between
	}
}

// rareLines passes on what net/http says about connections, mostly failed
// handshakes, each kind at a bounded rate.
type rareLines struct {
	slog.Handler
	limit *telemetry.Limiter
}

func newRareLines(to slog.Handler) rareLines {
	return rareLines{to, telemetry.NewLimiter(time.Second)}
}

// Handle implements slog.Handler.
func (l rareLines) Handle(ctx context.Context, r slog.Record) error {
	kind, _, _ := strings.Cut(r.Message, " from ") // then comes the client
	ok, skipped := l.limit.Allow(kind, r.Time)
	if !ok {
		return nil
	}
	r = r.Clone()
	r.AddAttrs(slog.Int("not_logged_before", skipped))
	return l.Handler.Handle(ctx, r)
}
