package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"time"

	"lyftr/internal/sample"
)

// read is one kind of question.
type read struct {
	name string
	slow bool // may take long by its nature: it has to look at very many messages
	path func(a *asker) string
	// prepare, if there is one, asks what path needs to know; it is not measured.
	prepare func(ctx context.Context, a *asker) error
}

// allReads are all kinds of question, in the order in which they are asked. No
// two questions of a kind are the same where they can be different.
func allReads() []read {
	all := []read{
		{name: "first page", path: func(*asker) string { return "/messages" }},
		{name: "first page desc", path: func(*asker) string { return "/messages?order=desc" }},
		{name: "cursor", prepare: prepareCursor, path: cursorPath},
		{name: "offset", slow: true, path: func(a *asker) string {
			return question("/messages", "offset", strconv.FormatInt(a.total/10*9+a.random.Int64N(100), 10))
		}},
		{name: "from", path: func(a *asker) string { return question("/messages", "from", a.sender()) }},
		{name: "from the busiest", path: func(a *asker) string {
			return question("/messages", "from", a.generator.Busiest(), "limit", strconv.Itoa(1+a.random.IntN(100)))
		}},
		{name: "from desc", path: func(a *asker) string { return question("/messages", "from", a.sender(), "order", "desc") }},
		{name: "from since", path: func(a *asker) string {
			return question("/messages", "from", a.sender(), "since", stamp(a.instant()))
		}},
		{name: "since", path: func(a *asker) string { return question("/messages", "since", stamp(a.instant())) }},
		{name: "since until, a day", path: func(a *asker) string { return question("/messages", a.during(24*time.Hour)...) }},
		{name: "since until, an hour", path: func(a *asker) string { return question("/messages", a.during(time.Hour)...) }},
		{name: "to", path: func(a *asker) string {
			return question("/messages", "to", a.generator.Recipient(a.source), "limit", strconv.Itoa(1+a.random.IntN(100)))
		}},
	}
	scripts := []struct {
		name   string
		script sample.Script
	}{{"latin", sample.Latin}, {"devanagari", sample.Devanagari}, {"cjk", sample.CJK}}
	for _, f := range []struct {
		name      string
		frequency sample.Frequency
	}{{"rare", sample.Rare}, {"middle", sample.Middle}, {"common", sample.Common}} {
		for _, s := range scripts {
			all = append(all, read{name: "q " + f.name + ", " + s.name, path: func(a *asker) string {
				return question("/messages", "q", a.words.Word(a.source, s.script, f.frequency))
			}})
		}
	}
	characters := func(n int) func(a *asker) string {
		return func(a *asker) string {
			return question("/messages", "q", a.words.Characters(a.source, scripts[a.random.IntN(len(scripts))].script, n))
		}
	}
	middle := func(a *asker) string { return a.words.Word(a.source, sample.Latin, sample.Middle) }
	common := func(a *asker) string { return a.words.Word(a.source, sample.Latin, sample.Common) }
	return append(all, []read{
		{name: "q in a tenth", slow: true, path: func(a *asker) string {
			return question("/messages", "q", a.words.Word(a.source, sample.Latin, sample.Tenth), "limit", strconv.Itoa(1+a.random.IntN(100)))
		}},
		{name: "q one character", path: characters(1)},
		{name: "q two characters", path: characters(2)},
		{name: "q phrase", path: func(a *asker) string { return question("/messages", "q", a.words.Phrase(a.source)) }},
		{name: "q nothing", path: func(a *asker) string {
			return question("/messages", "q", middle(a)+strconv.FormatUint(a.source.Uint64(), 36))
		}},
		{name: "q desc", path: func(a *asker) string { return question("/messages", "q", middle(a), "order", "desc") }},
		{name: "q from", path: func(a *asker) string { return question("/messages", "q", common(a), "from", a.sender()) }},
		{name: "q from the busiest", path: func(a *asker) string {
			return question("/messages", "q", common(a), "from", a.generator.Busiest())
		}},
		{name: "q since until, a day", path: func(a *asker) string {
			return question("/messages", append(a.during(24*time.Hour), "q", common(a))...)
		}},
		{name: "q since", path: func(a *asker) string {
			return question("/messages", "q", middle(a), "since", stamp(a.instant()))
		}},
		{name: "stats", path: func(*asker) string { return "/stats" }},
		{name: "stats since until, a day", path: func(a *asker) string { return question("/stats", a.during(24*time.Hour)...) }},
		{name: "stats since until, 30 days", path: func(a *asker) string { return question("/stats", a.during(30*24*time.Hour)...) }},
		{name: "stats from", path: func(a *asker) string { return question("/stats", "from", a.sender()) }},
		{name: "timeline by day", path: func(*asker) string { return "/stats/timeline?bucket=day" }},
		{name: "timeline by hour, 30 days", path: func(a *asker) string {
			return question("/stats/timeline", append(a.during(30*24*time.Hour), "bucket", "hour")...)
		}},
		{name: "timeline by minute, a day", path: func(a *asker) string {
			return question("/stats/timeline", append(a.during(24*time.Hour), "bucket", "minute")...)
		}},
		{name: "get", prepare: prepareIDs, path: func(a *asker) string {
			id := a.ids[len(a.ids)-1]
			a.ids = a.ids[:len(a.ids)-1]
			return "/messages/" + url.PathEscape(id)
		}},
	}...)
}

// asker asks the questions of one reader.
type asker struct {
	*readBench
	source rand.Source
	random *rand.Rand // draws from source

	since, cursor string // where the next page of a list begins
	pages         int    // that may be turned before another list
	ids           []string
}

// ask asks one question and adds what came of it to m.
func (a *asker) ask(ctx context.Context, r read, m *measured) {
	if r.prepare != nil {
		if err := r.prepare(ctx, a); err != nil {
			if ctx.Err() == nil {
				m.fail(err)
			}
			return
		}
	}
	answer, took, err := a.server.get(ctx, r.path(a))
	if ctx.Err() != nil {
		return // the question was cut off by whoever ended the program
	}
	m.took.add(took)
	if err != nil {
		m.fail(err)
		return
	}
	a.cursor = answer.NextCursor
	m.rows += int64(len(answer.Data))
	m.matches += answer.Total + answer.TotalMessages
}

// question returns a path with parameters, given as names and values in turn.
func question(path string, parameters ...string) string {
	v := url.Values{}
	for pair := range slices.Chunk(parameters, 2) {
		v.Set(pair[0], pair[1])
	}
	return path + "?" + v.Encode()
}

func stamp(t time.Time) string { return t.Format(time.RFC3339) }

// sender draws a sender who writes much more often than one who writes little.
func (a *asker) sender() string { return a.generator.Sender(a.source) }

// instant draws a moment between the first message and the last.
func (a *asker) instant() time.Time {
	return a.first.Add(time.Duration(a.random.Int64N(int64(a.last.Sub(a.first)) + 1)))
}

// during draws a range of time.
func (a *asker) during(width time.Duration) []string {
	since := a.instant()
	return []string{"since", stamp(since), "until", stamp(since.Add(width))}
}

// prepareCursor goes to some moment if the last list was followed for a few pages
// or has ended.
func prepareCursor(ctx context.Context, a *asker) error {
	const pages = 5
	if a.pages--; a.pages > 0 && a.cursor != "" {
		return nil
	}
	a.pages = pages
	// Where the data ends there may be one page only.
	for range 10 {
		a.since = stamp(a.instant())
		answer, _, err := a.server.get(ctx, question("/messages", "since", a.since))
		if err != nil {
			return err
		}
		if a.cursor = answer.NextCursor; a.cursor != "" {
			return nil
		}
	}
	return errors.New("too few messages for a second page")
}

func cursorPath(a *asker) string {
	return question("/messages", "since", a.since, "cursor", a.cursor)
}

// prepareIDs looks up the ids of some messages.
func prepareIDs(ctx context.Context, a *asker) error {
	if len(a.ids) > 0 {
		return nil
	}
	answer, _, err := a.server.get(ctx, question("/messages", "since", stamp(a.instant()), "limit", "10"))
	if err != nil {
		return err
	}
	for _, raw := range answer.Data {
		var m struct {
			ID string `json:"message_id"`
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("read a message: %w", err)
		}
		a.ids = append(a.ids, m.ID)
	}
	if len(a.ids) == 0 {
		return errors.New("no message where one should be")
	}
	return nil
}
