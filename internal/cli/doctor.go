package cli

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/store"
)

// doctorCommand is lyftr doctor. It takes the settings of the server, from where
// the server takes them.
type doctorCommand struct {
	serveCommand

	URL    string `placeholder:"URL" help:"Address of the running server; http://127.0.0.1 and PORT if left out."`
	Public bool   `help:"Ask PUBLIC_URL as well, as a sender would reach it."`
}

// Help implements kong.HelpProvider.
func (c *doctorCommand) Help() string {
	return `Run it where the server runs, with the same settings: it checks them, opens the database for reading, asks the running
server, and lists why deliveries were refused. Exit code 1 if something has to be mended; refused deliveries are listed and
change nothing about it, for anybody may send them.

  lyftr doctor
  lyftr doctor --public
  lyftr doctor --url https://hooks.example.com`
}

// doctorTimeout bounds each question to a server.
const doctorTimeout = 5 * time.Second

// checkup is what was found out.
type checkup struct {
	*environment
	command  *doctorCommand
	problems int
	unsaid   error // the first line that could not be written
}

// Run checks everything it can, also when something was wrong before.
func (c *doctorCommand) Run(e *environment) error {
	d := &checkup{environment: e, command: c}
	d.settings()
	d.tls()
	d.database()
	running := d.server()
	if c.Public {
		d.publicURL()
	}
	d.refusals(running)
	if d.unsaid != nil {
		return d.unsaid
	}
	if d.problems > 0 {
		return fmt.Errorf("doctor: %d found that has to be mended", d.problems)
	}
	return nil
}

// Words in front of a line.
const (
	wordOK      = "ok"
	wordOff     = "off"
	wordWarning = "warning"
	wordProblem = "problem"
	wordRefused = "refused"
)

func (d *checkup) say(word, format string, args ...any) {
	if word == wordProblem {
		d.problems++
	}
	if _, err := fmt.Fprintf(d.stdout, "%-8s %s\n", word, oneLine(fmt.Sprintf(format, args...))); d.unsaid == nil {
		d.unsaid = err
	}
}

func (d *checkup) settings() {
	c := d.command
	if _, err := c.check(); err != nil {
		d.say(wordProblem, "settings: %s", err)
		return
	}
	d.say(wordOK, "settings can be used")
	for _, p := range c.list() {
		if keys := p.KeyIDs(); len(keys) > 0 {
			d.say(wordOK, "deliveries of the source %s are taken, with the secrets %s", p.Source(), strings.Join(keys, ", "))
		} else {
			d.say(wordOff, "deliveries of the source %s: %s is not set", p.Source(), p.Switch())
		}
	}
	if len(c.on()) == 0 {
		d.say(wordProblem, "no secret is set, so that every webhook is answered 503: set WEBHOOK_SECRET or that of a provider")
	}
	for _, w := range c.warnings() {
		d.say(wordWarning, "%s", w)
	}
	switch tokens := c.tokens(); {
	case len(tokens) == 0:
		d.say(wordWarning, "API_TOKEN is not set: whoever reaches this server can read the messages")
	case c.shortTokens() > 0:
		d.say(wordWarning, "API_TOKEN holds %d tokens that can be guessed: take at least %d bytes", c.shortTokens(), leastToken)
	}
	if info, err := os.Stat(".env"); err == nil && info.Mode().Perm()&0o077 != 0 {
		d.say(wordWarning, ".env can be read by others than its owner: chmod 600 .env")
	}
}

// expiresSoon is how long before its end a certificate draws a warning.
const expiresSoon = 14 * 24 * time.Hour

func (d *checkup) tls() {
	cert, err := d.command.certificate(files{})
	switch {
	case err != nil:
		d.say(wordProblem, "%s", err)
		return
	case cert == nil:
		return
	}
	leaf, err := x509.ParseCertificate(cert.current.Load().Certificate[0])
	if err != nil {
		d.say(wordProblem, "TLS_CERT_FILE: %s", err)
		return
	}
	end := leaf.NotAfter.UTC().Format(time.RFC3339)
	switch left := time.Until(leaf.NotAfter); {
	case left <= 0:
		d.say(wordProblem, "the certificate has ended at %s: put a new one into TLS_CERT_FILE, it is read within seconds", end)
	case left < expiresSoon:
		d.say(wordWarning, "the certificate ends at %s", end)
	default:
		d.say(wordOK, "the certificate is good until %s", end)
	}
}

func (d *checkup) open() (message.Store, error) {
	return store.Open(d.ctx, d.command.DatabaseURL, store.Options{ReadOnly: true})
}

func (d *checkup) database() {
	name := showDatabase(d.command.DatabaseURL)
	db, err := d.open()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.say(wordWarning, "database %s is not there yet: lyftr serve makes it", name)
		return
	case err != nil:
		d.say(wordProblem, "database %s: %s", name, err)
		return
	}
	defer func() {
		if err := db.Close(); err != nil {
			d.say(wordProblem, "database %s: %s", name, err)
		}
	}()
	if _, err := db.List(d.ctx, message.Query{Limit: 1}); err != nil {
		d.say(wordProblem, "database %s: %s", name, err)
		return
	}
	d.say(wordOK, "database %s can be read and holds %d messages", name, db.Status().Messages)
}

// base is the address of the server, and what it is reached with.
func (d *checkup) base() (string, *http.Transport) {
	if d.command.URL != "" {
		return strings.TrimSuffix(d.command.URL, "/"), &http.Transport{}
	}
	return localServer(d.command.Port, d.command.TLSCertFile != "")
}

// ask returns the answer to a question to the server.
func (d *checkup) ask(base, path string, transport *http.Transport) (status int, header http.Header, body []byte, err error) {
	ctx, cancel := context.WithTimeout(d.ctx, doctorTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	if tokens := d.command.tokens(); len(tokens) > 0 {
		r.Header.Set("Authorization", "Bearer "+tokens[0])
	}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer answer.Body.Close()
	const longest = 4 << 20
	body, err = io.ReadAll(io.LimitReader(answer.Body, longest))
	return answer.StatusCode, answer.Header, body, err
}

// maxClockDifference is how far the server's clock may be from this one's before
// it is worth a word; a signature is refused after five minutes.
const maxClockDifference = 30 * time.Second

// server reports whether there is one.
func (d *checkup) server() (running bool) {
	base, transport := d.base()
	status, header, body, err := d.ask(base, "/health/ready", transport)
	if err != nil {
		d.say(wordProblem, "no server answers at %s: start lyftr serve, or name its address with --url (%s)", base, err)
		return false
	}
	var health struct {
		Status string
		Checks map[string]string
	}
	if err := json.Unmarshal(body, &health); err != nil || health.Status == "" {
		d.say(wordProblem, "what answers at %s is not lyftr: it said %d", base, status)
		return false
	}
	if status == http.StatusOK {
		d.say(wordOK, "server %s is ready", base)
	} else {
		var bad []string
		for name, state := range health.Checks {
			if state != "ok" {
				bad = append(bad, name+": "+state)
			}
		}
		slices.Sort(bad)
		d.say(wordProblem, "server %s is not ready: %s; its log says more", base, strings.Join(bad, "; "))
	}
	if at, err := http.ParseTime(header.Get("Date")); err == nil {
		if off := time.Since(at); off.Abs() > maxClockDifference {
			d.say(wordWarning, "the server's clock is %s away from this machine's: with five minutes Standard Webhooks are refused", off.Abs().Round(time.Second))
		}
	}
	return true
}

// publicURL asks the address under which senders reach lyftr.
func (d *checkup) publicURL() {
	for _, p := range d.command.list() {
		t, ok := p.(*provider.Twilio)
		if !ok || t.PublicURL == "" {
			continue
		}
		base := strings.TrimSuffix(t.PublicURL, "/")
		status, _, body, err := d.ask(base, "/health/live", &http.Transport{})
		switch {
		case err != nil:
			d.say(wordProblem, "PUBLIC_URL: nothing answers at %s: look at its name, certificate, firewall and proxy (%s)", base, err)
		case status != http.StatusOK || !strings.Contains(string(body), `"ok"`):
			d.say(wordProblem, "PUBLIC_URL: what answers at %s is not lyftr: it said %d to /health/live", base, status)
		default:
			d.say(wordOK, "PUBLIC_URL %s leads to lyftr", base)
		}
		return
	}
	d.say(wordWarning, "PUBLIC_URL is not set")
}

// refusalGroup is what was refused for one reason.
type refusalGroup struct {
	times int
	last  rejectionLine
}

// rejectionLine is an entry of GET /rejected.
type rejectionLine struct {
	When      time.Time
	Source    string
	Status    int
	Result    string
	Reason    string
	RequestID string `json:"request_id"`
	Times     int
}

// maxGroups is how many reasons are listed.
const maxGroups = 20

// refusals lists why deliveries were refused, as the server knows it, or else
// the database.
func (d *checkup) refusals(running bool) {
	list, err := d.rejected(running)
	if err != nil {
		d.say(wordProblem, "refused deliveries: %s", err)
		return
	}
	if len(list) == 0 {
		d.say(wordOK, "no delivery was refused")
		return
	}
	groups := map[[2]string]*refusalGroup{}
	for _, r := range list { // the newest first
		key := [2]string{r.Source, r.Reason}
		if groups[key] == nil {
			groups[key] = &refusalGroup{last: r}
		}
		groups[key].times += max(1, r.Times)
	}
	sorted := make([]*refusalGroup, 0, len(groups))
	for _, g := range groups {
		sorted = append(sorted, g)
	}
	slices.SortFunc(sorted, func(a, b *refusalGroup) int {
		return cmp.Or(b.last.When.Compare(a.last.When), strings.Compare(a.last.Reason, b.last.Reason))
	})
	for _, g := range sorted[:min(len(sorted), maxGroups)] {
		r := g.last
		d.say(wordRefused, "%d × %s, last at %s with %d (request %s): %s",
			g.times, cmp.Or(r.Source, "unknown source"), r.When.UTC().Format(time.RFC3339), r.Status, r.RequestID, r.Reason)
	}
	if more := len(sorted) - maxGroups; more > 0 {
		d.say(wordRefused, "and for %d other reasons: GET /rejected has them all", more)
	}
}

func (d *checkup) rejected(running bool) ([]rejectionLine, error) {
	if !running {
		return d.storedRejections()
	}
	base, transport := d.base()
	status, _, body, err := d.ask(base, "/rejected", transport)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusUnauthorized:
		return nil, errors.New("the server takes another API_TOKEN than the one that is set here")
	case status != http.StatusOK:
		return nil, fmt.Errorf("the server said %d", status)
	}
	var answer struct{ Data []rejectionLine }
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	return answer.Data, nil
}

// storedRejections reads what a server has left in the database.
func (d *checkup) storedRejections() (lines []rejectionLine, err error) {
	db, err := d.open()
	if err != nil {
		return nil, nil // which is said already
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	list, err := db.Rejected(d.ctx, message.MaxRejections)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		lines = append(lines, rejectionLine{r.At, r.Source, r.Status, r.Result, r.Reason, r.RequestID, r.Times})
	}
	return lines, nil
}
