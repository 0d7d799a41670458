package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"lyftr/internal/httpapi"
)

var writeDocument = flag.Bool("write-openapi", false, "write openapi.json")

// The JSON is the YAML, member by member in its order.
func TestDocumentJSON(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(source, &node); err != nil {
		t.Fatal(err)
	}
	compact, err := appendJSON(nil, &node)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Indent(&want, compact, "", " "); err != nil {
		t.Fatal(err)
	}
	want.WriteByte('\n')
	if *writeDocument {
		if err := os.WriteFile("openapi.json", want.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile("openapi.json"); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("openapi.json is not what openapi.yaml says (%v): go generate ./internal/httpapi makes it", err)
	}
}

// appendJSON appends a document of YAML as JSON.
func appendJSON(b []byte, n *yaml.Node) ([]byte, error) {
	var err error
	list := func(open, end byte, separators string, nodes []*yaml.Node) {
		b = append(b, open)
		for i, one := range nodes {
			if i > 0 {
				b = append(b, separators[i%len(separators)])
			}
			if err == nil {
				b, err = appendJSON(b, one)
			}
		}
		b = append(b, end)
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return appendJSON(b, n.Content[0])
	case yaml.AliasNode:
		return appendJSON(b, n.Alias)
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			if n.Content[i].Tag != "!!str" {
				return nil, fmt.Errorf("line %d: a name that is not a string", n.Content[i].Line)
			}
		}
		list('{', '}', ",:", n.Content)
	case yaml.SequenceNode:
		list('[', ']', ",", n.Content)
	default:
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return nil, err
		}
		b = append(b, bytes.TrimSpace(out.Bytes())...)
	}
	return b, err
}

// The document is one of OpenAPI 3.1, by the schema of those who made it.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile("testdata/openapi-3.1/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(contractOf(t).root); err != nil {
		t.Error(err)
	}
}

// Every route is documented with every status that it answers with, and nothing
// besides.
func TestDocumentRoutes(t *testing.T) {
	t.Parallel()
	want, got := map[string][]int{}, map[string][]int{}
	for _, r := range httpapi.AllRoutes() {
		slices.Sort(r.Statuses)
		want[r.Method+" "+r.Label] = r.Statuses
	}
	for _, o := range contractOf(t).operations {
		got[o.method+" "+o.path] = slices.Sorted(maps.Keys(o.responses))
	}
	for name, statuses := range want {
		if !slices.Equal(got[name], statuses) {
			t.Errorf("%s is documented with %v, it answers with %v", name, got[name], statuses)
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s is documented, and no route", name)
		}
	}
}

// Every error that there is has an example, and every example of an error is one
// that there is.
func TestDocumentErrors(t *testing.T) {
	t.Parallel()
	got := map[string]bool{}
	collect := func(responses map[int]*response) {
		for status, r := range responses {
			for _, m := range r.content {
				for _, e := range m.examples {
					if detail, ok := detailOf(e.value); ok {
						got[fmt.Sprint(status, " ", detail)] = true
					}
				}
			}
		}
	}
	c := contractOf(t)
	collect(c.unmatched)
	for _, o := range c.operations {
		collect(o.responses)
	}
	want := errorTable(t)
	if !maps.Equal(got, want) {
		t.Errorf("documented are\n%s\nthere are\n%s", strings.Join(slices.Sorted(maps.Keys(got)), "\n"), strings.Join(slices.Sorted(maps.Keys(want)), "\n"))
	}
}

// errorTable reads the errors out of the program: status and detail of each that
// a client can get.
func errorTable(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	texts, list := map[string]string{}, map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if text, ok := spec.Values[0].(*ast.BasicLit); ok && text.Kind == gotoken.STRING {
				texts[spec.Names[0].Name], _ = strconv.Unquote(text.Value)
			}
		}
		return true
	})
	ast.Inspect(file, func(n ast.Node) bool {
		l, ok := n.(*ast.CompositeLit)
		if !ok || len(l.Elts) != 3 {
			return true
		}
		if kind, ok := l.Type.(*ast.Ident); !ok || kind.Name != "answerError" {
			return true
		}
		status, ok := l.Elts[0].(*ast.SelectorExpr)
		if !ok {
			return true // that of a client that has gone
		}
		var detail string
		switch d := l.Elts[1].(type) {
		case *ast.BasicLit:
			detail, _ = strconv.Unquote(d.Value)
		case *ast.Ident:
			detail = texts[d.Name]
		}
		if detail != "" {
			list[fmt.Sprint(statusNamed(status.Sel.Name), " ", detail)] = true
		}
		return true
	})
	return list
}

// statusNamed is the status of a name of net/http.
func statusNamed(name string) int {
	for status := 400; status < 600; status++ {
		words := strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(status))
		if words != "" && strings.EqualFold("Status"+words, name) {
			return status
		}
	}
	return 0
}

// What is served is the document, whatever the service is called.
func TestDocumentIsServed(t *testing.T) {
	t.Parallel()
	s := start(t, withToken)
	inJSON, inYAML := s.get("/openapi.json"), s.get("/openapi.yaml")
	var j, y map[string]any
	if err := json.Unmarshal([]byte(inJSON.body), &j); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(inYAML.body), &y); err != nil {
		t.Fatal(err)
	}
	for _, info := range []any{j["info"], y["info"]} {
		m := info.(map[string]any)
		if m["title"] != "Inbox <of> tests" || m["version"] != "test" {
			t.Errorf("the document is called %v %v", m["title"], m["version"])
		}
	}
	if a, b := inJSON.header.Get("Content-Type"), inYAML.header.Get("Content-Type"); a != "application/json" || b != "application/yaml" {
		t.Errorf("the types are %s and %s", a, b)
	}
}

// A contract that lets everything pass proves nothing.
func TestContractBites(t *testing.T) {
	t.Parallel()
	c := contractOf(t)
	header := func(changes ...string) http.Header {
		h := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"a"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"}}
		for i := 0; i < len(changes); i += 2 {
			if h.Del(changes[i]); changes[i+1] != "" {
				h.Set(changes[i], changes[i+1])
			}
		}
		return h
	}
	const (
		page    = `{"data":[],"total":0,"limit":1,"offset":0,"next_cursor":null}`
		faults  = `{"detail":[{"loc":["query","limit"],"msg":"x","type":"enum"}]}`
		message = `{"message_id":"m","from":"+1","to":"+2","ts":"2025-01-15T10:00:00Z","text":null`
		full    = `,"source":"native","received_at":"2025-01-15T10:00:00Z"`
		columns = `"message_id","from","to","ts","text","source","received_at"`
	)
	ndjson, csv := header("Content-Type", "application/x-ndjson", "Content-Disposition", `attachment; filename="lyftr-20250115T100000Z.ndjson"`),
		header("Content-Type", "text/csv; charset=utf-8", "Content-Disposition", `attachment; filename="lyftr-20250115T100000Z.csv"`)
	for _, x := range []struct {
		right          bool
		method, target string
		status         int
		header         http.Header
		body           string
	}{
		{true, "GET", "/messages?limit=1", 200, header(), page},
		{true, "HEAD", "/messages", 200, header(), ""},
		{true, "GET", "/messages/a/b", 404, header(), noMessageBody},
		{true, "GET", "/nothing", 404, header(), notFoundBody},
		{true, "PUT", "/messages", 405, header("Allow", "GET"), methodBody},
		{true, "GET", "/messages", 422, header(), faults},
		{true, "GET", "/messages", 503, header("Retry-After", "1"), unavailableBody},
		{true, "GET", "/export", 200, ndjson, message + full + "}\n"},
		{true, "GET", "/export", 200, csv, columns + `,"raw"` + "\r\n"},
		{false, "GET", "/messages", 404, header(), notFoundBody},
		{false, "GET", "/nothing", 200, header(), okBody},
		{false, "PUT", "/messages", 404, header(), notFoundBody},
		{false, "PUT", "/messages", 405, header(), methodBody},
		{false, "GET", "/messages", 200, header("Cache-Control", ""), page},
		{false, "GET", "/messages", 200, header("X-Request-Id", "a b"), page},
		{false, "GET", "/messages", 200, header("Content-Type", "text/plain"), page},
		{false, "GET", "/messages", 200, header(), strings.Replace(page, "{", `{"more":1,`, 1)},
		{false, "GET", "/messages", 200, header(), strings.Replace(page, "0", `"0"`, 1)},
		{false, "GET", "/messages", 200, header(), strings.Replace(page, `"limit":1,`, "", 1)},
		{false, "GET", "/messages", 200, header(), strings.Replace(page, "[]", "["+message+`,"raw":{}}]`, 1)},
		{false, "GET", "/messages", 422, header(), strings.Replace(faults, "enum", "other", 1)},
		{false, "GET", "/messages", 503, header("Retry-After", "soon"), unavailableBody},
		{false, "GET", "/messages", 503, header("Retry-After", "1"), `{"detail":"something else"}`},
		{false, "GET", "/export", 200, ndjson, message + full + "}\n" + message + "}\n"},
		{false, "GET", "/export", 200, csv, columns + "\r\n"},
		{false, "POST", "/sign-out", 303, header("Location", "/", "Set-Cookie", "lyftr_session=; Path=/"), ""},
	} {
		if err := c.check(x.method, x.target, x.status, x.header, []byte(x.body)); (err == nil) != x.right {
			t.Errorf("%s %s %d %v %s: %v", x.method, x.target, x.status, x.header, x.body, err)
		}
	}
}
