package httpapi

import (
	_ "embed"
	"encoding/json"
	"strings"
	"unicode"
)

// The API document is written by hand, in YAML. The JSON is made of it: the
// program itself has no use for YAML.
//
//go:generate go test -run ^TestDocumentJSON$ -write-openapi .

//go:embed openapi.yaml
var openAPIYAML string

//go:embed openapi.json
var openAPIJSON string

// What stands in both of them for what only the running program knows.
const (
	documentTitle   = `"Lyftr Webhook API"`
	documentVersion = `"dev"`
)

// document is the API document as this server gives it.
type document struct {
	json, yaml []byte
}

func newDocument(title, version string) document {
	named := strings.NewReplacer(documentTitle, quoted(title), documentVersion, quoted(version))
	return document{json: []byte(named.Replace(openAPIJSON)), yaml: []byte(named.Replace(openAPIYAML))}
}

// quoted returns a string as JSON and YAML both read it. YAML takes no control
// characters and encoding/json escapes not all of them; a name needs none.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	b, _ := json.Marshal(s) // which cannot fail
	return string(b)
}

// documentJSON answers GET /openapi.json.
func (s *Server) documentJSON(c *call) error {
	return c.writeDocument("application/json", s.document.json)
}

// documentYAML answers GET /openapi.yaml.
func (s *Server) documentYAML(c *call) error {
	return c.writeDocument("application/yaml", s.document.yaml)
}

func (c *call) writeDocument(kind string, body []byte) error {
	h := c.Header()
	h.Set("Cache-Control", "no-cache") // another version may have another one
	h.Set("Content-Type", kind)
	_, err := c.Write(body)
	return err
}
