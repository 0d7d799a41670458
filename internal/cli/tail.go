package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"lyftr/internal/message"
)

// tailCommand is lyftr tail.
type tailCommand struct {
	URL          string `default:"http://localhost:8000" placeholder:"URL" help:"Address of the running server."`
	APIToken     string `name:"api-token" setting:"API_TOKEN" secret:"" placeholder:"TOKEN" help:"Token to read with; of several the first is taken."`
	From         string `placeholder:"NUMBER" help:"Messages of this sender only."`
	To           string `placeholder:"NUMBER" help:"Messages to this recipient only."`
	Source       string `placeholder:"SOURCE" values:"native,whatsapp,twilio,standard" help:"Messages of this source only, such as native or whatsapp."`
	Text         string `placeholder:"TEXT" help:"Messages whose text holds this, in any case."`
	After        string `placeholder:"POSITION" help:"Begin right behind this position of the feed: an event's id, or a next_cursor. If left out, with what is stored from now on."`
	All          bool   `help:"Begin at the first message."`
	PositionFile string `placeholder:"FILE" help:"Keep the position in this file, and begin there if it exists."`
	Count        int    `placeholder:"N" help:"End after so many messages; without it never."`
	Format       string `default:"auto" enum:"auto,lines,ndjson" placeholder:"FORMAT" help:"lines for people, or ndjson as the feed has them; auto is lines on a terminal and ndjson elsewhere."`
	Color        string `default:"auto" enum:"auto,always,never" placeholder:"WHEN" help:"Colour lines: auto, always or never; auto is on a terminal, unless NO_COLOR is set."`
	NoColor      string `hidden:"" setting:"NO_COLOR" help:"If it is set, output has no colours."`
	Local        bool   `help:"Show times in this machine's zone in place of UTC."`
	Wide         bool   `help:"Show long texts whole, in place of what fits the terminal."`
}

// Help implements kong.HelpProvider.
func (c *tailCommand) Help() string {
	return `When the connection is lost or the server restarts, it connects again and goes on behind the last message: none is lost, and none
comes twice. With --position-file the next run goes on there as well. In a pipe it prints JSON, one object a line.

  lyftr tail
  lyftr tail --source whatsapp --text invoice --local
  lyftr tail --all --position-file tail.position >> messages.ndjson`
}

// The values of Format and Color.
const (
	formatLines  = "lines"
	formatNDJSON = "ndjson"
	wordAuto     = "auto"
	wordAlways   = "always"
)

// feedLatest is the position of what is stored from now on.
const feedLatest = "latest"

// check finds what is wrong with the call, and returns the address of the feed.
func (c *tailCommand) check() (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(c.URL, "/"))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, usagef("--url: not an address such as http://localhost:8000")
	case c.All && c.After != "":
		return nil, usagef("--all and --after name two beginnings: give one")
	case c.Count < 0:
		return nil, usagef("--count must be at least 0")
	}
	return u.JoinPath("feed"), nil
}

// errTailDone ends the command when there is nothing left to do.
var errTailDone = errors.New("done")

// Run shows messages until there were enough, nobody reads them any more, or the
// context ends.
func (c *tailCommand) Run(e *environment) (err error) {
	address, err := c.check()
	if err != nil {
		return err
	}
	// Whoever reads the output may have enough of it: the write says so, too.
	signal.Ignore(syscall.SIGPIPE)
	position := &positionFile{name: c.PositionFile}
	begin, err := position.read()
	if err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	f := newFollower(address, func(line string) { fmt.Fprintf(e.stderr, "lyftr: tail: %s\n", harmless(line)) })
	defer f.client.CloseIdleConnections()
	if tokens := split(c.APIToken); len(tokens) > 0 {
		f.token = tokens[0]
	}
	switch {
	case begin != "":
		f.position = begin
	case c.After != "":
		f.after = c.After
	case !c.All:
		f.after = feedLatest
	}
	t := &tail{command: c, needle: message.Fold(c.Text), out: e.stdout, position: position}
	t.show = c.shower(e.stdout)
	ctx, stop := context.WithCancel(e.ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if readerGone(ctx, e.stdout) {
			stop()
		}
	})
	err = f.follow(ctx, t.take)
	stop()
	watching.Wait()
	if errors.Is(err, errTailDone) {
		err = nil
	}
	if err = errors.Join(err, position.keep()); err != nil {
		return fmt.Errorf("tail: %w", err)
	}
	return nil
}

// shower returns what makes a line of a message.
func (c *tailCommand) shower(out io.Writer) func(m *feedMessage, data []byte) []byte {
	terminal := isTerminal(out)
	if c.Format == formatNDJSON || c.Format == wordAuto && !terminal {
		return func(_ *feedMessage, data []byte) []byte {
			if terminal {
				data = harmlessJSON(data)
			}
			return append(data, '\n')
		}
	}
	l := &tailLines{
		color: c.Color == wordAlways || c.Color == wordAuto && terminal && c.NoColor == "",
		local: c.Local,
		width: func() int { return 0 },
	}
	if !c.Wide {
		l.width = func() int { return terminalWidth(out) }
	}
	return func(m *feedMessage, _ []byte) []byte { return l.line(m) }
}

// feedMessage is a message as the feed has it.
type feedMessage struct {
	From   string  `json:"from"`
	To     string  `json:"to"`
	TS     string  `json:"ts"`
	Text   *string `json:"text"`
	Source string  `json:"source"`
}

// tail shows what the feed has.
type tail struct {
	command  *tailCommand
	needle   string // folded
	out      io.Writer
	show     func(m *feedMessage, data []byte) []byte
	position *positionFile
	shown    int
}

// take shows a message if it is wanted, and notes that it was seen.
func (t *tail) take(ev event) error {
	if ev.data != nil {
		var m feedMessage
		if err := json.Unmarshal(ev.data, &m); err != nil || bytes.IndexByte(ev.data, '\n') >= 0 {
			return errNotLyftr
		}
		if t.wanted(&m) {
			if _, err := t.out.Write(t.show(&m, ev.data)); errors.Is(err, syscall.EPIPE) {
				return errTailDone
			} else if err != nil {
				return err
			}
			t.shown++
		}
	}
	if err := t.position.reach(ev.id, ev.last); err != nil {
		return err
	}
	if t.shown > 0 && t.shown == t.command.Count {
		return errTailDone
	}
	return nil
}

// wanted reports whether a message passes the filters, as those of GET /messages.
func (t *tail) wanted(m *feedMessage) bool {
	c := t.command
	return (c.From == "" || c.From == m.From) &&
		(c.To == "" || c.To == m.To) &&
		(c.Source == "" || c.Source == m.Source) &&
		(t.needle == "" || m.Text != nil && message.ContainsFold(*m.Text, t.needle))
}
