package provider

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// publicURL is the address at which senders reach lyftr, in parts.
type publicURL struct {
	scheme string
	host   string // without the port
	port   string // empty if none stands there
	path   string // without a slash at its end
}

// parsePublicURL reads PUBLIC_URL. The error holds nothing of it: there may be a
// password in it.
func parsePublicURL(text string) (*publicURL, error) {
	u, err := url.Parse(text)
	wrong := ""
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !rightPort(u):
		wrong = "is no URL of http:// or https:// and a host"
	case u.User != nil:
		wrong = "holds a user name, which must not be in it"
	case u.RawQuery != "" || u.ForceQuery:
		wrong = "has a query, which must not be in it: that of each request counts"
	case strings.Contains(text, "#"):
		wrong = "has a fragment, which must not be in it"
	}
	if wrong != "" {
		return nil, fmt.Errorf("%s %s: set it to the address at which senders reach lyftr, such as https://hooks.example.com", publicURLSetting, wrong)
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return &publicURL{u.Scheme, host, u.Port(), strings.TrimRight(u.EscapedPath(), "/")}, nil
}

func rightPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// whole reports whether all of the path stands in it, so that the request's does
// not follow.
func (p *publicURL) whole() bool { return strings.HasSuffix(p.path, "/webhook/"+sourceTwilio) }

// addresses are those which a sender may sign that posted to u, the first as
// PUBLIC_URL says it. Twilio signs the port of a scheme at one time and leaves it
// out at another; any other port is signed as it is.
func (p *publicURL) addresses(u *url.URL) []address {
	if p == nil {
		return nil
	}
	a := address{scheme: p.scheme, host: p.host, port: p.port, path: p.path, query: queryOf(u)}
	if !p.whole() {
		a.path += u.EscapedPath()
	}
	usual := usualPort(p.scheme)
	switch b := a; p.port {
	case "":
		b.port = usual
		return []address{a, b}
	case usual:
		b.port = ""
		return []address{a, b}
	}
	return []address{a}
}

func usualPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// queryOf returns the query of a URL as it was written, with its question mark.
func queryOf(u *url.URL) string {
	if u.RawQuery == "" && !u.ForceQuery {
		return ""
	}
	return "?" + u.RawQuery
}

// address is a URL in parts, as it is signed.
type address struct {
	scheme, host, port string
	path               string
	query              string // with its question mark, or empty
}

// String returns what is signed.
func (a address) String() string { return a.site() + a.path + a.query }

// site returns the address without path and query.
func (a address) site() string {
	if a.port == "" {
		return a.scheme + "://" + a.host
	}
	return a.scheme + "://" + a.host + ":" + a.port
}

// shown returns the address as a reason may show it: the values in the query are
// a sender's own business.
func (a address) shown() string {
	const most = 5
	s := a.site() + harmless(a.path)
	if a.query == "" {
		return s
	}
	var pairs []string
	for pair := range strings.SplitSeq(a.query[1:], "&") {
		if len(pairs) == most {
			pairs = append(pairs, "…")
			break
		}
		if name, _, ok := strings.Cut(pair, "="); ok {
			pairs = append(pairs, harmless(name)+"=…")
		} else {
			pairs = append(pairs, "…")
		}
	}
	return s + "?" + strings.Join(pairs, "&")
}

// harmless returns a name of a parameter, or a path, unless it could be something
// else: too long, a number, or of unusual characters.
func harmless(s string) string {
	const longest, digits = 100, 6
	row := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case '0' <= c && c <= '9':
			row++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte("_-./[]", c) >= 0:
			row = 0
		default:
			return "…"
		}
		if row > digits {
			return "…"
		}
	}
	if len(s) > longest {
		return "…"
	}
	return s
}

// maxTwilioClue is the longest text besides the URL for which others are tried, in
// bytes: longer than the longest message.
const maxTwilioClue = 16 << 10

// explain finds out why no auth token makes the signature.
func (t *Twilio) explain(d *twilioDelivery) error {
	if d.brief() {
		return errBrief
	}
	at := t.public.addresses(d.URL)
	if len(at) == 0 {
		return refusef("%s is not set", publicURLSetting)
	}
	if len(d.Header[headerTwilioSettings]) > 0 {
		return refusef("a webhook rule of Twilio signs with a shared key, which is not supported: except the URL from the rule, so that the auth token signs")
	}
	tails := d.tails
	if len(tails) == 0 {
		if err := t.explainBody(d, at); err != nil {
			return err
		}
		tails = [][]byte{nil}
	}
	if len(tails[0]) <= maxTwilioClue && len(d.Body) <= maxClueBody {
		if how, ok := t.right(t.clues.near, at, d, tails); ok {
			return refusef("the signature is right for the auth token %s: %s has to be the one in Twilio's console, character by character", how, t.Switch())
		}
		if err := t.explainURL(d, at[0], tails); err != nil {
			return err
		}
		if err := t.explainParameters(d, at); err != nil {
			return err
		}
	}
	return refusef("the signature fits no auth token for the URL %s: %s has to be the primary auth token of the account that sends, and the URL the one in Twilio's console, character by character", at[0].shown(), t.Switch())
}

// explainBody says what is wrong with a body for which nothing can vouch, if that
// is all.
func (t *Twilio) explainBody(d *twilioDelivery, at []address) error {
	if len(d.Body) <= maxTwilioClue {
		if _, ok := t.right(t.keys, at, d, [][]byte{parseForm(d.Body).sorted().joined()}); ok {
			return refusef("the signature is right for the body as a form: something changed the Content-Type on its way, which has to be %s", formType)
		}
	}
	if _, ok := t.right(t.keys, at, d, [][]byte{nil}); !ok {
		return nil
	}
	switch {
	case d.hashed == 0:
		return refusef("the signature is right for the URL alone, and nothing vouches for the body: it is no form (Content-Type %s), and its SHA-256 is not in the query as %s", formType, bodyHashName)
	case d.hashed > 1:
		return refusef("the signature is right for the URL, but %s is in its query %d times", bodyHashName, d.hashed)
	}
	if len(d.Body) <= maxClueBody {
		for v := range variants(d.Body) {
			changed := twilioDelivery{Request: &Request{URL: d.URL, Body: v.body}}
			if changed.hashFits() {
				return refusef("the signature is right for the body %s: something changed the body after it was signed, a proxy on its way", v.how)
			}
		}
	}
	return refusef("the signature is right for the URL, but the body's SHA-256 is not the %s of its query: something changed the body after it was signed", bodyHashName)
}

// explainURL looks for the URL for which the signature is right.
func (t *Twilio) explainURL(d *twilioDelivery, asked address, tails [][]byte) error {
	for _, other := range t.others(d.Request, asked) {
		if _, ok := t.right(t.keys, []address{other}, d, tails); ok {
			return refusef("the signature is right for the URL %s, and %s makes it %s: %s", other.shown(), publicURLSetting, asked.shown(), t.advice(d.URL, other, asked))
		}
	}
	return nil
}

// advice says how to make one URL of two.
func (t *Twilio) advice(u *url.URL, signed, asked address) string {
	const console = "write it so in Twilio's console"
	if signed.query != asked.query {
		return "something on the way changed the query, so let it pass the query as it is, or " + console
	}
	path, ok := strings.CutSuffix(signed.path, u.EscapedPath())
	if t.public.whole() {
		path, ok = signed.path, signed.path == asked.path
	}
	if !ok || strings.HasSuffix(path, "/") || harmless(path) != path {
		return console
	}
	return fmt.Sprintf("set %s to %s, or %s", publicURLSetting, signed.site()+path, console)
}

// others are the addresses that are taken for PUBLIC_URL's by mistake, those first
// that differ least.
func (t *Twilio) others(r *Request, asked address) []address {
	var list []address
	seen := map[address]bool{}
	for _, path := range paths(r, asked) {
		for _, a := range sites(r, asked) {
			a.path, a.query = path.path, path.query
			if !seen[a] {
				seen[a] = true
				list = append(list, a)
			}
		}
	}
	return list
}

// sites are addresses without paths: schemes, hosts and ports in every way in which
// proxies and requests name them.
func sites(r *Request, asked address) []address {
	host, port := splitHost(r.Host)
	proxyHost, proxyPort := splitHost(forwarded(r.Header, "X-Forwarded-Host"))
	ports := []string{"", asked.port, port, proxyPort, forwarded(r.Header, "X-Forwarded-Port")}
	var list []address
	for _, host := range []string{asked.host, host, proxyHost} {
		if host == "" {
			continue
		}
		for _, scheme := range []string{"https", "http"} {
			for _, port := range append(ports, usualPort(scheme)) {
				list = append(list, address{scheme: scheme, host: host, port: port})
			}
		}
	}
	return list
}

// paths are addresses of a path and a query only.
func paths(r *Request, asked address) []address {
	own := r.URL.EscapedPath()
	list := []address{
		{path: asked.path},
		{path: strings.TrimSuffix(asked.path, "/"), query: asked.query},
		{path: asked.path + "/", query: asked.query},
		{path: own, query: asked.query},
		{path: forwarded(r.Header, "X-Forwarded-Prefix") + own, query: asked.query},
	}
	for _, name := range []string{"X-Forwarded-Uri", "X-Original-Uri"} {
		if u, err := url.ParseRequestURI(forwarded(r.Header, name)); err == nil {
			list = append(list, address{path: u.EscapedPath(), query: queryOf(u)})
		}
	}
	return append([]address{{path: asked.path, query: asked.query}}, list...)
}

// forwarded returns what the first proxy wrote into a header, empty if that is
// too long to be true.
func forwarded(h http.Header, name string) string {
	const longest = 255
	s, _, _ := strings.Cut(h.Get(name), ",")
	if s = strings.TrimSpace(s); len(s) > longest {
		return ""
	}
	return s
}

// splitHost parts a host from its port. Both are empty if it is none.
func splitHost(s string) (host, port string) {
	u, err := url.Parse("http://" + s)
	if err != nil || u.Host != s {
		return "", ""
	}
	return strings.TrimSuffix(s, ":"+u.Port()), u.Port()
}

// explainParameters looks for the parameters for which the signature is right.
func (t *Twilio) explainParameters(d *twilioDelivery, at []address) error {
	if !d.form {
		return nil
	}
	for _, v := range []struct {
		how  string
		tail []byte
	}{
		{"without any parameter: something added the body on its way, or the sender is not Twilio", nil},
		{"with the parameters in the order of the form: they have to be sorted by name", d.params.joined()},
		{"with the form as it is written in place of its parameters: they have to be sorted and decoded", d.Body},
		{"with the line breaks of Unix: something changed them on their way", replaced(d.params, "\r\n", "\n")},
		{"with the line breaks of Windows: something changed them on their way", replaced(d.params, "\n", "\r\n")},
	} {
		if _, ok := t.right(t.keys, at, d, [][]byte{v.tail}); ok {
			return refusef("the signature is right for the URL %s", v.how)
		}
	}
	const most = 100
	p := d.params.sorted()
	for i := range min(len(p), most) {
		if _, ok := t.right(t.keys, at[:1], d, [][]byte{append(p[:i:i], p[i+1:]...).joined()}); ok {
			return refusef("the signature is right without the parameter %s: something added it on its way", harmless(p[i].name))
		}
	}
	return nil
}

// replaced returns what is signed if that stands in the values in place of what.
func replaced(p parameters, what, by string) []byte {
	q := make(parameters, len(p))
	for i, one := range p {
		q[i] = parameter{one.name, strings.ReplaceAll(one.value, what, by)}
	}
	return q.sorted().joined()
}
