package cli

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tailFeed are the messages of a feed, in its order.
var tailFeed = []string{
	`{"message_id":"a","from":"+1","to":"+2","ts":"2025-01-15T10:00:00Z","text":"Straße","source":"native","received_at":null}`,
	`{"message_id":"b","from":"+3","to":"+2","ts":"2025-01-15T10:00:00Z","text":null,"source":"native","received_at":null}`,
	`{"message_id":"c","from":"+1","to":"+4","ts":"2025-01-15T10:00:00Z","text":"HELLO","source":"whatsapp","received_at":null,"raw":{"text":"hello"}}`,
	`{"message_id":"d","from":"+5","to":"","ts":"2025-01-15T10:00:00Z","text":"hello\u001b[2J` + "\u202e" + `","source":"twilio","received_at":null}`,
}

// tailServer serves tailFeed once a reader connects, and then stays silent.
func tailServer(t *testing.T) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after := position(r, len(tailFeed))
		b := feedOf(after, after)
		for i := after; i < len(tailFeed); i++ {
			b += "id: p" + string(rune('1'+i)) + "\nevent: message\ndata: " + tailFeed[i] + "\n\n"
		}
		stream(w, b)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// runTail runs lyftr tail with no other settings.
func runTail(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), append([]string{"tail"}, args...), func(string) (string, bool) { return "", false }, nil, &out, &errs)
	return code, out.String(), errs.String()
}

// Each filter is that of GET /messages; what passes is written byte for byte.
func TestTailFilters(t *testing.T) {
	url := tailServer(t)
	for _, c := range []struct {
		args string
		want []int
	}{
		{"--count=4", []int{0, 1, 2, 3}},
		{"--count=2 --from=+1", []int{0, 2}},
		{"--count=2 --to=+2", []int{0, 1}},
		{"--count=1 --source=whatsapp", []int{2}},
		{"--count=2 --text=HeLLo", []int{2, 3}},
		{"--count=1 --text=STRAßE", []int{0}},
		{"--count=1 --text=hello --from=+5", []int{3}},
	} {
		want := ""
		for _, i := range c.want {
			want += tailFeed[i] + "\n"
		}
		code, stdout, stderr := runTail(t, append(strings.Fields(c.args), "--all", "--url="+url)...)
		if code != exitDone || stdout != want || stderr != "" {
			t.Errorf("%s: exit code %d, got\n%swant\n%s%s", c.args, code, stdout, want, stderr)
		}
	}
}

func TestTailUsage(t *testing.T) {
	for _, args := range []string{"--url=localhost:8000", "--url=ftp://localhost", "--url=http://", "--url=%zz", "--all --after=p1", "--count=-1", "--color=red", "--format=csv"} {
		if code, stdout, stderr := runTail(t, strings.Fields(args)...); code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q", args, code, stderr)
		}
	}
}

// The next run goes on behind the last message that this one has written, also
// where filters leave messages out.
func TestTailPositionFile(t *testing.T) {
	url, file := tailServer(t), filepath.Join(t.TempDir(), "position")
	for _, c := range []struct{ args, want, position string }{
		{"--count=1 --all", tailFeed[0] + "\n", "p1\n"},
		{"--count=1 --all", tailFeed[1] + "\n", "p2\n"}, // the file says more than --all
		{"--count=1 --source=twilio", tailFeed[3] + "\n", "p4\n"},
	} {
		code, stdout, stderr := runTail(t, append(strings.Fields(c.args), "--position-file="+file, "--url="+url)...)
		position, err := os.ReadFile(file)
		if code != exitDone || stdout != c.want || err != nil || string(position) != c.position {
			t.Errorf("%s: exit code %d, position %q, %v, got %s%s", c.args, code, position, err, stdout, stderr)
		}
	}
	for _, broken := range []string{"", "\n", "p1\np2\n", "a b\n"} {
		if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := runTail(t, "--position-file="+file, "--url="+url); code != exitFailed || !strings.Contains(stderr, "holds no position") {
			t.Errorf("%q: exit code %d, %s", broken, code, stderr)
		}
	}
}

// failing is an output that takes so many writes.
type failing struct {
	takes int
	err   error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.takes--; f.takes < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// A pipe that is closed is the end, another failure is one; neither message that
// was not written counts as seen.
func TestTailOutputFails(t *testing.T) {
	url := tailServer(t)
	for _, c := range []struct {
		err  error
		code int
	}{{&os.PathError{Op: "write", Err: syscall.EPIPE}, exitDone}, {errors.New("disk full"), exitFailed}} {
		file := filepath.Join(t.TempDir(), "position")
		var stderr bytes.Buffer
		code := Run(t.Context(), []string{"tail", "--all", "--url=" + url, "--position-file=" + file},
			func(string) (string, bool) { return "", false }, nil, &failing{2, c.err}, &stderr)
		position, err := os.ReadFile(file)
		if code != c.code || string(position) != "p2\n" || err != nil || (stderr.Len() > 0) != (c.code != exitDone) {
			t.Errorf("%v: exit code %d, position %q, %v, %s", c.err, code, position, err, stderr.String())
		}
	}
}
