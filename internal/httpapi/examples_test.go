package httpapi_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"lyftr/internal/provider"
)

// documented is a service as the document's examples have it.
type documented struct {
	*service
	signers map[string]provider.Provider // by their paths
}

const (
	exampleToken = "TOKEN"
	exampleSite  = "https://hooks.example.com"
)

// TestExamples runs every example of the document: the requests are answered as
// it says, the answers are those to the requests in their summaries.
func TestExamples(t *testing.T) {
	t.Parallel()
	d := &documented{signers: map[string]provider.Provider{}}
	d.service = start(t, func(c *config) {
		c.tokens = []string{exampleToken}
		c.setup = func(p provider.Provider) {
			switch p := p.(type) {
			case *provider.WhatsApp:
				p.AppSecret, p.VerifyToken = "0123456789abcdef-of-whatsapp", exampleToken
			case *provider.Twilio:
				p.AuthToken, p.PublicURL = "0123456789abcdef", exampleSite
			case *provider.Standard:
				p.Secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
			}
			d.signers[provider.Path(p)] = p
		}
	})
	d.never = []string{"Hello"} // the token is a word that names of settings have
	// What is sent comes first, what is erased last.
	operations := slices.Clone(contractOf(t).operations)
	order := func(o *operation) int { return slices.Index([]string{"POST", "GET", "DELETE"}, o.method) }
	slices.SortStableFunc(operations, func(a, b *operation) int { return order(a) - order(b) })
	refused := false
	for _, o := range operations {
		if o.method == http.MethodGet && !refused {
			refused = true
			d.post(hello, header("X-Signature")).is(t, 401, signatureBody)
		}
		d.requests(o)
		for status, r := range o.responses {
			for kind, m := range r.content {
				for name, e := range m.examples {
					d.answers(o, status, kind, name, e)
				}
			}
		}
		if needsToken(o) {
			d.do(o.method, o.path, nil).is(t, 401, tokenBody)
		}
	}
}

func needsToken(o *operation) bool {
	list, _ := o.node["security"].([]any)
	return slices.ContainsFunc(list, func(one any) bool { return one.(map[string]any)["token"] != nil })
}

// requests sends the examples of an operation's body, in the order of their
// names.
func (d *documented) requests(o *operation) {
	d.t.Helper()
	if o.node["requestBody"] == nil {
		return
	}
	content := o.node["requestBody"].(map[string]any)["content"].(map[string]any)
	for kind, m := range content {
		examples, _ := m.(map[string]any)["examples"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(examples)) {
			value := examples[name].(map[string]any)["value"]
			status := http.StatusOK
			if d.signers[o.path] == nil {
				status = http.StatusSeeOther
			}
			if a := d.send(o, bodyOf(kind, value)); a.status != status {
				d.t.Errorf("%s %s, the example %s: %d %s", o.method, o.path, name, a.status, a.body)
			}
		}
	}
}

// bodyOf is a value as it is sent.
func bodyOf(kind string, value any) string {
	if kind == "application/json" {
		b, _ := json.Marshal(value) // it was JSON
		return string(b)
	}
	form := url.Values{}
	for name, v := range value.(map[string]any) {
		form.Set(name, v.(string))
	}
	return form.Encode()
}

// send posts a body, signed as the operation asks for.
func (d *documented) send(o *operation, body string) answer {
	d.t.Helper()
	signer, target := d.signers[o.path], o.path
	if signer == nil {
		return d.postForm(target, body)
	}
	form := body
	if strings.HasPrefix(body, "{") && o.path == "/webhook/twilio" {
		// Of what is no form Twilio signs the hash alone, in the query.
		target += fmt.Sprintf("?bodySHA256=%x", sha256.Sum256([]byte(body)))
		form = ""
	}
	headers, err := signer.Sign(exampleSite+target, []byte(form), time.Now())
	if err != nil {
		d.t.Fatal(err)
	}
	if form != body {
		headers.Set("Content-Type", "application/json")
	}
	return d.do(o.method, target, strings.NewReader(body), func(r *http.Request) {
		maps.Copy(r.Header, headers)
	})
}

// answers makes the request that an example's summary is, if it is one, and wants
// the answer that the example is.
func (d *documented) answers(o *operation, status int, kind, name string, e example) {
	d.t.Helper()
	var a answer
	withToken := header("Authorization", "Bearer "+exampleToken)
	switch {
	case kind == "text/event-stream":
		a = d.stream(o.path+e.summary, strings.Count(e.value.(string), "\n"))
	case strings.HasPrefix(e.summary, "?"):
		a = d.do(o.method, o.path+e.summary, nil, withToken)
	case strings.HasPrefix(e.summary, "/"):
		a = d.do(o.method, e.summary, nil, withToken)
	case o.method == http.MethodPost && bodyForm.MatchString(e.summary):
		a = d.send(o, e.summary)
	case o.method == http.MethodGet && status == http.StatusOK:
		a = d.do(o.method, o.path, nil, withToken)
	default:
		return // of an error: TestDocumentErrors knows that it is one
	}
	where := fmt.Sprintf("%s %s, the example %s of %d: %.120q", o.method, o.path, name, status, e.summary)
	if a.status != status {
		d.t.Errorf("%s: got %d %s", where, a.status, a.body)
		return
	}
	if fault := d.differs(o, a.body, kind, e.value); fault != "" {
		d.t.Errorf("%s: %s\nin %.2000s", where, fault, a.body)
	}
}

// bodyForm is what a summary looks like that is a body.
var bodyForm = regexp.MustCompile(`^([\[{]|[a-z_]+=)`)

// stream reads so many lines of an event stream.
func (d *documented) stream(target string, lines int) answer {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+target, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer " + exampleToken}, "Accept": {"text/event-stream"}}
	resp, err := d.client.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	for read := bufio.NewReader(resp.Body); lines > 0; lines-- {
		line, err := read.ReadString('\n')
		if a.body += line; err != nil {
			d.t.Fatal(err)
		}
	}
	return a
}

// differs says where an answer is not what an example says, but for what is
// another one each time.
func (d *documented) differs(o *operation, got, kind string, want any) string {
	switch {
	case kind == "application/json":
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(got))
		if err != nil {
			return err.Error()
		}
		return differs(v, want, "", o.path == "/openapi.json")
	case o.path == "/metrics":
		for line := range strings.Lines(want.(string)) {
			if !strings.HasPrefix(line, "#") {
				line = line[:strings.LastIndexByte(line, ' ')+1]
			}
			if !strings.Contains(got, line) {
				return "there is no " + line
			}
		}
		return ""
	}
	text := masked(want.(string))
	if beginning, ok := strings.CutSuffix(text, "…"); ok && strings.HasPrefix(masked(got), beginning) {
		return ""
	}
	if masked(got) != text {
		return "want " + text
	}
	return ""
}

var (
	clock    = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z`)
	position = regexp.MustCompile(`(?m)^id: .*$`)
)

// masked is a text without what is another one each time.
func masked(s string) string {
	return position.ReplaceAllString(clock.ReplaceAllString(s, "NOW"), "id: X")
}

// volatile are the members that are others each time.
var volatile = []string{"received_at", "when", "request_id", "next_cursor"}

// differs compares two values. With some, want may have fewer members than got.
func differs(got, want any, place string, some bool) string {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || !some && len(g) != len(want) {
			return fmt.Sprintf("%s has other members: %v, want %v", place, got, want)
		}
		for name, w := range want {
			at := place + "/" + name
			v, there := g[name]
			if !there || slices.Contains(volatile, name) && (v == nil) != (w == nil) {
				return fmt.Sprintf("%s is %v, want %v", at, v, w)
			}
			if slices.Contains(volatile, name) {
				continue
			}
			if fault := differs(v, w, at, some); fault != "" {
				return fault
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(want) {
			return fmt.Sprintf("%s is %v, want %v", place, got, want)
		}
		for i := range want {
			if fault := differs(g[i], want[i], fmt.Sprint(place, "/", i), some); fault != "" {
				return fault
			}
		}
		return ""
	}
	if got != want {
		return fmt.Sprintf("%s is %v, want %v", place, got, want)
	}
	return ""
}

// Every parameter is one that the program knows, takes the values that the
// document says it takes, and is refused twice.
func TestParameters(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.seed(hello)
	r := &documentReader{root: contractOf(t).root}
	for _, o := range contractOf(t).operations {
		if o.method != http.MethodGet || o.responses[http.StatusUnprocessableEntity] == nil {
			continue
		}
		target := strings.ReplaceAll(o.path, "{message_id}", "m1") + "?"
		list, _ := o.node["parameters"].([]any)
		for i := range list {
			place, node := r.at("#/paths/" + escape(o.path) + "/get/parameters/" + fmt.Sprint(i))
			p := node.(map[string]any)
			name := p["name"].(string)
			if p["in"] != "query" {
				continue
			}
			needed := ""
			if o.path == "/statuses" && name != "message_id" {
				needed = "&message_id=m1"
			}
			_, node = r.at(place + "/schema")
			for _, v := range valuesOf(node.(map[string]any)) {
				one := url.QueryEscape(name) + "=" + url.QueryEscape(fmt.Sprint(v))
				if a := s.get(target + one + needed); a.status != 200 && a.status != 404 {
					t.Errorf("%s with %s: %d %s", o.path, one, a.status, a.body)
				}
				a := s.get(target + one + "&" + one + needed)
				if !slices.Contains(a.faults(t), "query."+name+":value_error") {
					t.Errorf("%s takes %s twice: %d %s", o.path, name, a.status, a.body)
				}
			}
		}
	}
}

// valuesOf are the values that a schema names, and those at its bounds.
func valuesOf(schema map[string]any) (values []any) {
	for _, name := range []string{"enum", "examples"} {
		list, _ := schema[name].([]any)
		values = append(values, list...)
	}
	for _, name := range []string{"default", "minimum", "maximum"} {
		if v, ok := schema[name]; ok {
			values = append(values, v)
		}
	}
	return values
}

// Every example of an answer is one of its schema. The linter says the same of
// those of requests.
func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	for _, o := range contractOf(t).operations {
		for status, r := range o.responses {
			for kind, m := range r.content {
				for name, e := range m.examples {
					if err := m.schema.Validate(e.value); err != nil {
						t.Errorf("%s %s, the example %s of %d as %s: %v", o.method, o.path, name, status, kind, err)
					}
				}
			}
		}
	}
}
