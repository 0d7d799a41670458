package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// feedOf returns a feed of so many messages from the position after, as lyftr
// writes it. The position of a message is its number.
func feedOf(after, messages int) string {
	b := fmt.Sprintf("retry: 2000\nid: p%d\n\n", after)
	for i := after + 1; i <= messages; i++ {
		b += fmt.Sprintf(":\n\nid: p%d\nevent: message\ndata: {\"message_id\":\"m%d\",\"text\":\"x\"}\n\n", i, i)
	}
	return b
}

// position returns what a request asks for; messages is the end of the feed.
func position(r *http.Request, messages int) int {
	if id := r.Header.Get("Last-Event-Id"); id != "" {
		n, _ := strconv.Atoi(strings.TrimPrefix(id, "p"))
		return n
	}
	if r.URL.Query().Get("after") == feedLatest {
		return messages
	}
	return 0
}

func stream(w http.ResponseWriter, b string) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = w.Write([]byte(b))
	_ = http.NewResponseController(w).Flush()
}

// testFollower returns a follower of a server that answers with handle, and what
// it says to people.
func testFollower(t *testing.T, handle http.HandlerFunc) (f *follower, said *[]string) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL + "/feed")
	if err != nil {
		t.Fatal(err)
	}
	said = new([]string)
	f = newFollower(address, func(line string) { *said = append(*said, line) })
	f.retry = time.Microsecond
	t.Cleanup(f.client.CloseIdleConnections)
	return f, said
}

// soon ends what would try for ever.
func soon(t *testing.T) context.Context {
	t.Helper()
	const limit = 20 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// Wherever a stream is cut, nothing is lost and nothing comes twice.
func TestFollowCutAnywhere(t *testing.T) {
	const messages = 2
	whole := len(feedOf(0, messages))
	var atByte, connections atomic.Int64
	f, said := testFollower(t, func(w http.ResponseWriter, r *http.Request) {
		b := feedOf(position(r, messages), messages)
		if n := connections.Add(1); n < 3 {
			stream(w, b[:min(len(b), int(atByte.Load()/n))])
			panic(http.ErrAbortHandler)
		}
		stream(w, b)
	})
	for cut := range whole + 1 {
		atByte.Store(int64(cut))
		connections.Store(0)
		f.position, *said = "", nil
		var got []string
		err := f.follow(soon(t), func(ev event) error {
			if ev.data == nil {
				return nil
			}
			if got = append(got, ev.id+string(ev.data)); len(got) == messages {
				return errTailDone
			}
			return nil
		})
		want := []string{`p1{"message_id":"m1","text":"x"}`, `p2{"message_id":"m2","text":"x"}`}
		if !errors.Is(err, errTailDone) || !slices.Equal(got, want) {
			t.Fatalf("cut after %d bytes: got %q, %v", cut, got, err)
		}
		if f.away || len(*said)%2 != 0 || len(*said) > 4 {
			t.Fatalf("cut after %d bytes: it said %q", cut, *said)
		}
	}
}

// A reader of what is stored from now on does not begin anew when the connection
// is lost before anything came.
func TestFollowLatestResumed(t *testing.T) {
	var messages atomic.Int64
	messages.Store(5)
	f, _ := testFollower(t, func(w http.ResponseWriter, r *http.Request) {
		stream(w, feedOf(position(r, int(messages.Load())), int(messages.Load())))
		messages.Store(7) // while nobody is connected
	})
	f.after = feedLatest
	var got []string
	err := f.follow(soon(t), func(ev event) error {
		if ev.data != nil {
			got = append(got, ev.id)
		}
		if len(got) == 2 {
			return errTailDone
		}
		return nil
	})
	if !errors.Is(err, errTailDone) || !slices.Equal(got, []string{"p6", "p7"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// What passes is waited for, and said once.
func TestFollowAway(t *testing.T) {
	var tries atomic.Int64
	f, said := testFollower(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer token" {
			t.Errorf("Authorization: %q", got)
		}
		switch tries.Add(1) {
		case 1, 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			w.WriteHeader(http.StatusTooManyRequests)
		case 4:
			panic(http.ErrAbortHandler)
		default:
			stream(w, feedOf(position(r, 1), 1))
		}
	})
	f.token = "token"
	err := f.follow(soon(t), func(ev event) error {
		if ev.data != nil {
			return errTailDone
		}
		return nil
	})
	want := []string{f.url.String() + " answered 503; trying again until it works", "connected again"}
	if !errors.Is(err, errTailDone) || !slices.Equal(*said, want) {
		t.Errorf("it said %q, %v", *said, err)
	}
}

// A server that says nothing at all, not even that it is there, is left.
func TestFollowSilence(t *testing.T) {
	var tries atomic.Int64
	f, said := testFollower(t, func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			stream(w, feedOf(0, 0))
			<-r.Context().Done()
			return
		}
		stream(w, feedOf(0, 1))
	})
	f.silence = 50 * time.Millisecond
	err := f.follow(soon(t), func(ev event) error {
		if ev.data != nil {
			return errTailDone
		}
		return nil
	})
	if !errors.Is(err, errTailDone) || len(*said) != 2 || !strings.Contains((*said)[0], "nothing came") {
		t.Errorf("it said %q, %v", *said, err)
	}
}

// The end of the context is no error, whatever is waited for.
func TestFollowStopped(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"stream": func(w http.ResponseWriter, r *http.Request) { stream(w, feedOf(0, 1)); <-r.Context().Done() },
		"answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"retry":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	} {
		ctx, stop := context.WithCancel(soon(t))
		f, _ := testFollower(t, func(w http.ResponseWriter, r *http.Request) {
			time.AfterFunc(time.Millisecond, stop)
			handle(w, r)
		})
		f.retry = time.Hour
		if err := f.follow(ctx, func(event) error { return nil }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What trying again does not change ends it, with what to do.
func TestFollowRefused(t *testing.T) {
	for _, c := range []struct {
		name, token, position string
		status                int
		kind, body            string
		want                  string
	}{
		{"no token", "", "", 401, "application/json", "{}", "set API_TOKEN or give --api-token"},
		{"wrong token", "x", "", 401, "application/json", "{}", "another API_TOKEN"},
		{"bad after", "", "", 422, "application/json", "{}", "--after is no position"},
		{"foreign position", "", "p1", 422, "application/json", "{}", "does not know the position"},
		{"no such page", "", "", 404, "text/html", "<html>", "is not lyftr: it said 404"},
		{"a page", "", "", 200, "text/html; charset=utf-8", "<html>", "is not lyftr: it said 200"},
		{"an older feed", "", "", 200, "application/json", `{"data":[]}`, "is not lyftr"},
		{"no position", "", "", 200, "text/event-stream", "data: {}\n\n", "not the feed of lyftr"},
		{"a position that no header takes", "", "", 200, "text/event-stream", "id: a\x00b\n\n", "not the feed of lyftr"},
	} {
		f, said := testFollower(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		})
		f.token, f.position = c.token, c.position
		err := f.follow(soon(t), func(event) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) || len(*said) > 0 {
			t.Errorf("%s: got %v, want %q in it; it said %q", c.name, err, c.want, *said)
		}
	}
}
