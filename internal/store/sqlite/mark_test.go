package sqlite

import (
	"os"
	"strings"
	"testing"
)

// TestMissing: a start says, once, which committed messages are missing, and
// nothing when none are.
func TestMissing(t *testing.T) {
	path := newPath(t)
	s, shut := open(t, path, Options{})
	save(t, s, "a", "b")
	shut()
	wantSaid(t, "after an orderly end", path, "", nil)
	older, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, shut = open(t, path, Options{})
	save(t, s, "c")
	save(t, s, "c", "d", "e")
	shut()
	// No start has noted anything since: it is the commits that did.
	if err := os.WriteFile(path, older, 0o600); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, "with an older file", path, "committed messages are missing", float64(3))
	wantSaid(t, "at the start after that", path, "", nil)

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, "with a new file", path, "another database", nil)
	if err := os.Truncate(path+".lock", 0); err != nil {
		t.Fatal(err)
	}
	wantSaid(t, "without a mark", path, "", nil)
}

// wantSaid opens and closes the database and checks what the mark had it say.
func wantSaid(t *testing.T, when, path, words string, missing any) {
	t.Helper()
	var log logLines
	_, shut := open(t, path, Options{Logger: log.logger()})
	shut()
	said := false
	for _, line := range log.lines(t) {
		msg, _ := line["msg"].(string)
		if level := line["level"]; level != "WARN" && level != "ERROR" {
			continue
		}
		said = true
		if words == "" || !strings.Contains(msg, words) || line["missing"] != missing {
			t.Errorf("%s: %v", when, line)
		}
	}
	if said != (words != "") {
		t.Errorf("%s: said anything: %v", when, said)
	}
}
