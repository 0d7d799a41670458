package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"lyftr/internal/signature"
)

// write puts text into a file at once, as a secret that is mounted changes.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// awaitLog waits until so many lines of the log hold the text.
func (p *process) awaitLog(t *testing.T, text string, count int) {
	t.Helper()
	waitFor(t, func() bool { return strings.Count(strings.Join(p.log(), "\n"), text) >= count })
}

// TestRotation changes the secret of senders who never cease: the new one and
// the old one are taken as the files say, by a changed file and by SIGHUP, and
// not one request is lost.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	current, previous, token := filepath.Join(dir, "current"), filepath.Join(dir, "previous"), filepath.Join(dir, "token")
	write(t, current, "secret-0-of-the-senders\n")
	write(t, previous, "nobody-knows-this-one\n")
	write(t, token, "token-0-of-the-readers\n")
	p := start(t, filepath.Join(t.TempDir(), "app.db"),
		"WEBHOOK_SECRET=", "WEBHOOK_SECRET_FILE="+current, "WEBHOOK_SECRET_PREVIOUS_FILE="+previous, "API_TOKEN_FILE="+token)

	var secret atomic.Pointer[string]
	use := func(s string) { secret.Store(&s) }
	use("secret-0-of-the-senders")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := newClient(t, 8)
	var sent atomic.Int64
	var wg sync.WaitGroup
	for sender := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				b := body(fmt.Sprintf("%d-%d", sender, i), "+919876543210", "2025-01-15T10:00:00Z", nil)
				status, answer := postSigned(client, p.url("/webhook"), b, signature.SignHex([]byte(*secret.Load()), b))
				if status != http.StatusOK {
					t.Errorf("signed with %s: %d %s", *secret.Load(), status, answer)
					return
				}
				sent.Add(1)
			}
		})
	}
	const said = `"msg":"secrets and tokens were read again"`
	for n := 1; n <= 2; n++ {
		before, next := fmt.Sprintf("secret-%d-of-the-senders", n-1), fmt.Sprintf("secret-%d-of-the-senders", n)
		write(t, previous, before+"\n")
		write(t, current, next+"\n")
		write(t, token, fmt.Sprintf("token-%d-of-the-readers\n", n))
		if n == 1 {
			p.awaitLog(t, said, n) // by itself
		} else {
			if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			p.awaitLog(t, said, n)
		}
		use(next)
	}
	// Whatever is wrong with the files, what is in force stays.
	write(t, current, "")
	p.awaitLog(t, "those before stay in force", 1)
	then := sent.Load()
	waitFor(t, func() bool { return sent.Load() > then+100 || t.Failed() })
	cancel()
	wg.Wait()
	if status, _ := postSigned(client, p.url("/webhook"), []byte("{}"), signature.SignHex([]byte("secret-0-of-the-senders"), []byte("{}"))); status != http.StatusUnauthorized {
		t.Errorf("the secret before the last but one: %d", status)
	}
	for n, want := range []int{http.StatusUnauthorized, http.StatusUnauthorized, http.StatusOK} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url("/messages?limit=1"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", fmt.Sprintf("Bearer token-%d-of-the-readers", n))
		if status, _ := do(client, r); status != want {
			t.Errorf("token %d: %d, want %d", n, status, want)
		}
	}
	if _, metrics := get(t, p.url("/metrics")); !bytes.Contains(metrics, []byte(`lyftr_secret_uses_total{key="previous",source="native"}`)) {
		t.Error("the uses of the previous secret are not counted")
	}
	if log := strings.Join(p.log(), "\n"); strings.Contains(log, "of-the-") {
		t.Error("the log holds a secret")
	}
	t.Logf("%d requests", sent.Load())
}

// TestTLS: the certificate is replaced while connections come and go.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	newCertificate(t, 1, cert, key)
	p := start(t, filepath.Join(t.TempDir(), "app.db"), "TLS_CERT_FILE="+cert, "TLS_KEY_FILE="+key)

	serial := func() int64 {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", p.address, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d", got)
	}
	kept := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer kept.CloseIdleConnections()
	ask := func() {
		b := body("m", "+919876543210", "2025-01-15T10:00:00Z", nil)
		if status, answer := post(kept, "https://"+p.address+"/webhook", b); status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
	}
	ask()
	newCertificate(t, 2, cert, key)
	p.awaitLog(t, "were read again", 1)
	ask()
	if got := serial(); got != 2 {
		t.Errorf("certificate %d after the change", got)
	}
	if resp, err := http.Get(p.url("/health/live")); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("it also answers without TLS")
		}
	}
}

// newCertificate writes a certificate for 127.0.0.1 with that number.
func newCertificate(t *testing.T, serial int64, certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	// One after the other: in between they do not fit.
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
}
