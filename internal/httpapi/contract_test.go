package httpapi_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract is the API document, to which the harness holds every answer that a
// test gets.
type contract struct {
	root       map[string]any
	operations []*operation
	unmatched  map[int]*response // what is answered where there is no operation
	full       *jsonschema.Schema
	seen       sync.Map // the bodies that are known to be right
}

// operation is a path and a method of the document.
type operation struct {
	method, path string
	node         map[string]any
	matches      *regexp.Regexp
	responses    map[int]*response
}

// response is what an operation answers with one status.
type response struct {
	headers map[string]headerRule
	content map[string]*media // by its type, without parameters
}

type headerRule struct {
	required, integer bool
	schema            *jsonschema.Schema
}

type media struct {
	schema   *jsonschema.Schema
	examples map[string]example
}

// example is one of the document; its summary may be the request that it answers.
type example struct {
	summary string
	value   any
}

// theContract reads the document once.
var theContract = sync.OnceValues(func() (*contract, error) {
	b, err := os.ReadFile("openapi.json")
	if err != nil {
		return nil, err
	}
	return newContract(b)
})

func contractOf(t testing.TB) *contract {
	t.Helper()
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newContract(document []byte) (c *contract, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("read the document: %v", v)
		}
	}()
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, err
	}
	r := &documentReader{root: root.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	r.compiler.AssertFormat()
	if err := r.compiler.AddResource("openapi.json", root); err != nil {
		return nil, err
	}
	c = &contract{root: r.root, unmatched: r.responses("#/x-unmatched"), full: r.schema("#/components/schemas/FullMessage")}
	for path := range r.object("#/paths") {
		at := "#/paths/" + escape(path)
		for method, node := range r.object(at) {
			c.operations = append(c.operations, &operation{
				method: strings.ToUpper(method), path: path, node: node.(map[string]any),
				matches:   pathForm(path),
				responses: r.responses(at + "/" + method + "/responses"),
			})
		}
	}
	slices.SortFunc(c.operations, func(a, b *operation) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	return c, nil
}

var pathParameter = regexp.MustCompile(`\\\{[^}]*\\\}`)

// pathForm is what paths of a template look like; the last parameter may hold
// slashes.
func pathForm(template string) *regexp.Regexp {
	return regexp.MustCompile(`(?s)^` + pathParameter.ReplaceAllString(regexp.QuoteMeta(template), ".*") + `$`)
}

func escape(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// documentReader walks the document. What it does not find makes it panic.
type documentReader struct {
	root     map[string]any
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

// at follows references to where something stands.
func (r *documentReader) at(pointer string) (place string, node any) {
	node = r.root
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		if list, ok := node.([]any); ok {
			i, err := strconv.Atoi(part)
			if err != nil {
				panic(pointer)
			}
			node = list[i]
			continue
		}
		found, ok := node.(map[string]any)[part]
		if !ok {
			panic("there is no " + pointer)
		}
		node = found
	}
	if m, ok := node.(map[string]any); ok {
		if to, ok := m["$ref"].(string); ok {
			return r.at(to)
		}
	}
	return pointer, node
}

func (r *documentReader) object(pointer string) map[string]any {
	_, node := r.at(pointer)
	return node.(map[string]any)
}

func (r *documentReader) schema(pointer string) *jsonschema.Schema {
	place, _ := r.at(pointer)
	if s := r.schemas[place]; s != nil {
		return s
	}
	s, err := r.compiler.Compile("openapi.json" + place)
	if err != nil {
		panic(err)
	}
	r.schemas[place] = s
	return s
}

func (r *documentReader) responses(pointer string) map[int]*response {
	list := map[int]*response{}
	for status := range r.object(pointer) {
		n, err := strconv.Atoi(status)
		if err != nil {
			panic(pointer)
		}
		place, node := r.at(pointer + "/" + status)
		one := &response{headers: map[string]headerRule{}, content: map[string]*media{}}
		parts := node.(map[string]any)
		if headers, ok := parts["headers"].(map[string]any); ok {
			for name := range headers {
				where, node := r.at(place + "/headers/" + name)
				required, _ := node.(map[string]any)["required"].(bool)
				schema := node.(map[string]any)["schema"].(map[string]any)
				one.headers[http.CanonicalHeaderKey(name)] = headerRule{required, schema["type"] == "integer", r.schema(where + "/schema")}
			}
		}
		one.content = r.media(place)
		list[n] = one
	}
	return list
}

// media are the types of what stands at a place, if it has a content.
func (r *documentReader) media(place string) map[string]*media {
	list := map[string]*media{}
	_, node := r.at(place)
	content, _ := node.(map[string]any)["content"].(map[string]any)
	for kind := range content {
		where := place + "/content/" + escape(kind)
		one := &media{schema: r.schema(where + "/schema"), examples: map[string]example{}}
		examples, _ := content[kind].(map[string]any)["examples"].(map[string]any)
		for name, e := range examples {
			one.examples[name] = example{e.(map[string]any)["summary"].(string), e.(map[string]any)["value"]}
		}
		list[kind] = one
	}
	return list
}

// find returns what the document says of an answer to a request, which is not
// known (nil) for a target that is no path.
func (c *contract) find(method, target string, status int) (*response, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path, known := "", false
	if u, err := url.ParseRequestURI(target); err == nil {
		path = u.Path
	}
	var found *operation
	for _, o := range c.operations {
		if o.matches.MatchString(path) {
			known = true
			if o.method == method {
				found = o
			}
		}
	}
	switch {
	case found != nil:
		if r := found.responses[status]; r != nil {
			return r, nil
		}
		return nil, fmt.Errorf("%s %s is not documented to answer %d", found.method, found.path, status)
	case known && status != http.StatusMethodNotAllowed:
		return nil, fmt.Errorf("%s of a path that has not that method is answered %d", method, status)
	case !known && status != http.StatusNotFound:
		return nil, fmt.Errorf("a path that is not documented is answered %d", status)
	}
	return c.unmatched[status], nil
}

// check holds an answer to the document.
func (c *contract) check(method, target string, status int, header http.Header, body []byte) error {
	r, err := c.find(method, target, status)
	if err != nil {
		return err
	}
	for name, rule := range r.headers {
		if err := rule.check(name, header[name]); err != nil {
			return err
		}
	}
	given := header.Get("Content-Type")
	if len(r.content) == 0 {
		if len(body) > 0 || given != "" {
			return fmt.Errorf("%d is documented without a body, and has one of the type %q", status, given)
		}
		return nil
	}
	kind, _, err := mime.ParseMediaType(given)
	if err != nil {
		return fmt.Errorf("the Content-Type %q: %w", given, err)
	}
	m := r.content[kind]
	switch {
	case m == nil:
		return fmt.Errorf("%d is not documented to have the type %s", status, kind)
	case method == http.MethodHead:
		return nil
	}
	return c.once(m.schema, string(body), func() error { return c.checkBody(m, kind, status, body) })
}

// once checks a text against a schema, unless it was found to be right before:
// most answers are like another one.
func (c *contract) once(s *jsonschema.Schema, text string, check func() error) error {
	type key struct {
		*jsonschema.Schema
		text string
	}
	k := key{s, text}
	if _, ok := c.seen.Load(k); ok {
		return nil
	}
	err := check()
	if err == nil {
		c.seen.Store(k, nil)
	}
	return err
}

func (h headerRule) check(name string, values []string) error {
	switch {
	case len(values) == 0 && h.required:
		return fmt.Errorf("the header %s is missing", name)
	case len(values) == 0:
		return nil
	case len(values) > 1:
		return fmt.Errorf("the header %s is there %d times", name, len(values))
	}
	var v any = values[0]
	if h.integer {
		v = json.Number(values[0])
	}
	if err := h.schema.Validate(v); err != nil {
		return fmt.Errorf("the header %s: %w", name, err)
	}
	return nil
}

func (c *contract) checkBody(m *media, kind string, status int, body []byte) error {
	switch kind {
	case "application/json":
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			return err
		}
		if err := m.schema.Validate(v); err != nil {
			return err
		}
		if detail, ok := detailOf(v); ok && status >= http.StatusBadRequest && !m.documents(detail) {
			return fmt.Errorf("%d has no example with the detail %q", status, detail)
		}
		return nil
	case "application/x-ndjson":
		for line := range bytes.Lines(body) {
			if err := c.checkFull(line); err != nil {
				return err
			}
		}
	case "text/csv":
		rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
		if err != nil {
			return err
		}
		text, _ := m.examples["csv"].value.(string)
		names, _, _ := strings.Cut(text, "\r\n")
		if want := strings.Split(strings.ReplaceAll(names, `"`, ""), ","); len(rows) == 0 || !slices.Equal(rows[0], want) {
			return fmt.Errorf("the columns are not %q", want)
		}
	case "text/event-stream":
		return errors.New("a stream is checked event by event")
	}
	return m.schema.Validate(string(body))
}

// checkFull holds a message to what the feed and the export give.
func (c *contract) checkFull(text []byte) error {
	return c.once(c.full, string(text), func() error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return c.full.Validate(v)
	})
}

// detailOf returns the sentence of an error.
func detailOf(v any) (string, bool) {
	m, _ := v.(map[string]any)
	detail, ok := m["detail"].(string)
	return detail, ok
}

// documents reports whether an example has that detail.
func (m *media) documents(detail string) bool {
	for _, e := range m.examples {
		if d, _ := detailOf(e.value); d == detail {
			return true
		}
	}
	return false
}

// holds compares the answer to a request with the document, and returns it.
func (s *service) holds(method, target string, a answer) answer {
	s.t.Helper()
	if _, ok := s.t.(*testing.B); ok || a.status == 0 {
		return a
	}
	if err := contractOf(s.t).check(method, target, a.status, a.header, []byte(a.body)); err != nil {
		s.t.Errorf("%s %.200s is answered otherwise than openapi.yaml says: %v: %.300s", method, target, err, a.body)
	}
	return a
}
