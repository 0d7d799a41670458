package cli

import (
	"fmt"
	"io"
	"time"
)

const (
	// progressEvery bounds how often the line of progress is written.
	progressEvery = time.Second / 5
	// clearLine goes to the begin of a terminal's line and clears it.
	clearLine = "\r\x1b[K"
)

// progress shows how far long work has come, on one line of a terminal. Where
// there is none it shows nothing.
type progress struct {
	terminal io.Writer // nil without one
	begun    time.Time
	shown    time.Time
}

func newProgress(w io.Writer) *progress {
	p := &progress{begun: time.Now()}
	if isTerminal(w) {
		p.terminal = w
	}
	return p
}

// show shows how many messages are done, and how much of the work: done and all
// may be any unit, all is 0 if it is not known.
func (p *progress) show(messages, done, all int64) {
	p.line(func(took time.Duration) string { return progressLine(messages, done, all, took) })
}

// line shows what text returns for the time that the work has lasted, unless a
// line was shown just now.
func (p *progress) line(text func(took time.Duration) string) {
	if now := time.Now(); p.terminal != nil && now.Sub(p.shown) >= progressEvery {
		p.say(text(now.Sub(p.begun)))
	}
}

// say shows a line at once.
func (p *progress) say(text string) {
	if p.terminal == nil {
		return
	}
	p.shown = time.Now()
	// What cannot be shown is no reason to end the work.
	_, _ = io.WriteString(p.terminal, clearLine+text)
}

// clear takes the line away before something else is written.
func (p *progress) clear() {
	if p.terminal != nil && !p.shown.IsZero() {
		_, _ = io.WriteString(p.terminal, clearLine)
		p.shown = time.Time{}
	}
}

// took is how long the work has lasted, as people read it.
func (p *progress) took() time.Duration { return roundTime(time.Since(p.begun)) }

func roundTime(d time.Duration) time.Duration {
	const tenth = time.Second / 10
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < time.Minute:
		return d.Round(tenth)
	}
	return d.Round(time.Second)
}

// progressLine is the count, the rate, and what is left at that rate.
func progressLine(messages, done, all int64, took time.Duration) string {
	line := fmt.Sprintf("%d messages", messages)
	if took < progressEvery {
		return line
	}
	line += fmt.Sprintf(", %.0f/s", float64(messages)/took.Seconds())
	if done > 0 && all >= done {
		left := time.Duration(float64(took) * float64(all-done) / float64(done))
		line += fmt.Sprintf(", %d %%, %s left", 100*done/all, left.Round(time.Second))
	}
	return line
}
