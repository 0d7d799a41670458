package httpapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// entry is a parsed log line; raw holds its text.
type entry map[string]any

var (
	tsForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)
	idForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

// maxLine is how long a request's line may be: its fields are bounded.
const maxLine = 8 << 10

// fault says what is wrong with a line, whatever it is about.
func (l entry) fault() string {
	str := func(name string) string { s, _ := l[name].(string); return s }
	switch {
	case l["invalid"] != nil:
		return "not one JSON object"
	case !tsForm.MatchString(str("ts")):
		return "ts is not UTC with milliseconds"
	case !slices.Contains([]string{"DEBUG", "INFO", "WARNING", "ERROR"}, str("level")):
		return "no level"
	case !l.isRequest():
		if str("msg") == "" {
			return "neither a request nor a message"
		}
		return ""
	}
	status, _ := l["status"].(float64)
	latency, isNumber := l["latency_ms"].(float64)
	level := "INFO"
	switch {
	case status >= 500:
		level = "ERROR"
	case status >= 400:
		level = "WARNING"
	}
	_, hasID := l["message_id"]
	_, hasDup := l["dup"].(bool)
	_, hasResult := l["result"].(string)
	_, hasPath := l["path"].(string)
	switch {
	case len(str("raw")) > maxLine:
		return "too long"
	case !idForm.MatchString(str("request_id")):
		return "request_id is not sane"
	case str("method") == "":
		return "no method"
	case !hasPath:
		return "no path"
	case status < 200 || status > 599 || status != float64(int(status)):
		return "status is not a status"
	case !isNumber || latency < 0:
		return "latency_ms is not a duration"
	case str("level") != level:
		return "the level does not go with the status"
	case hasID != hasDup || hasDup != hasResult:
		return "message_id, dup and result stand together or not at all"
	case hasID && (!strings.HasPrefix(str("path"), "/webhook") || str("method") != http.MethodPost && str("path") != "/webhook/whatsapp"):
		return "the members of a delivery on another request"
	case l["message_id"] == "":
		return "an unknown message_id is null"
	}
	return ""
}

func (l entry) isRequest() bool { return l["method"] != nil || l["status"] != nil }

// has holds a line to values, given as name, value, name, value…
func (l entry) has(t testing.TB, pairs ...any) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		name, want := pairs[i].(string), pairs[i+1]
		if n, ok := want.(int); ok {
			want = float64(n)
		}
		if got, there := l[name]; want == any(absent) {
			if there {
				t.Errorf("the line has %s %v: %s", name, got, l["raw"])
			}
		} else if !there || got != want {
			t.Errorf("the line has %s %v, want %v: %s", name, got, want, l["raw"])
		}
	}
}

// journal takes the log and hands out its complete lines.
type journal struct {
	mu    sync.Mutex
	rest  []byte // of a line that is not complete
	lines []entry
	byID  map[string]entry
	grown chan struct{} // closed and replaced when lines come
}

func newJournal() *journal {
	return &journal{byID: map[string]entry{}, grown: make(chan struct{})}
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rest = append(j.rest, p...)
	for {
		i := bytes.IndexByte(j.rest, '\n')
		if i < 0 {
			break
		}
		l := parseLine(string(j.rest[:i]))
		j.rest = j.rest[i+1:]
		j.lines = append(j.lines, l)
		if id, ok := l["request_id"].(string); ok && l.isRequest() {
			j.byID[id] = l
		}
	}
	close(j.grown)
	j.grown = make(chan struct{})
	return len(p), nil
}

func parseLine(text string) entry {
	var l entry
	if err := json.Unmarshal([]byte(text), &l); err != nil || l == nil || !utf8.ValidString(text) {
		l = entry{"invalid": true}
	}
	l["raw"] = text
	return l
}

// await waits for the line of a request.
func (j *journal) await(id string) (entry, bool) {
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		j.mu.Lock()
		l, ok := j.byID[id]
		grown := j.grown
		j.mu.Unlock()
		if ok {
			return l, true
		}
		select {
		case <-grown:
		case <-end.C:
			return nil, false
		}
	}
}

func (j *journal) all() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) requests() []entry {
	return slices.DeleteFunc(j.all(), func(l entry) bool { return !l.isRequest() })
}

func (j *journal) text() string {
	var b strings.Builder
	for _, l := range j.all() {
		b.WriteString(l["raw"].(string))
		b.WriteByte('\n')
	}
	return b.String()
}
