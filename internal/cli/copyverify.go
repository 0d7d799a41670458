package cli

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

// verify compares both databases, prints what they hold, and takes the state
// away: whatever it found, the next copy has nothing to go on from.
func (j *copyJob) verify() error {
	v := &copyVerification{copyJob: j}
	err := v.compare()
	j.progress.clear()
	if err != nil {
		if j.ctx.Err() == nil {
			j.say("not verified: the same command verifies again\n")
		}
		return fmt.Errorf("copy: verify: %w", err)
	}
	err = v.print("messages", &v.messages)
	if err == nil && v.statuses.From.Count+v.statuses.To.Count+v.statuses.More+v.statuses.Arrived > 0 {
		err = v.print("statuses", &v.statuses)
	}
	if err == nil && j.file != "" {
		err = removeCopyState(j.file)
	}
	if err == nil {
		err = v.verdict()
	}
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

// copyVerification is the comparison at the end of a copy.
type copyVerification struct {
	*copyJob
	messages, statuses transfer.Comparison
	// first says what is with the first message, or else status, that the
	// destination does not have as the source has it.
	first string
}

// compare compares the messages and then the statuses, and names the first ones
// that differ.
func (v *copyVerification) compare() (err error) {
	begun, all := time.Now(), v.from.Status().Messages
	c := transfer.Comparer{From: v.from, To: v.to, Since: v.state.Position, StatusesSince: v.statusesSince}
	c.OnMessage = func(done int64) {
		v.progress.line(func(time.Duration) string { return "verifying: " + progressLine(done, done, all, time.Since(begun)) })
	}
	c.OnDifference = func(m *message.Message, members []string) {
		what := differsIn(members)
		if members == nil {
			what = v.missing(m)
		}
		v.difference(fmt.Sprintf("message_id %q of source %q %s", m.ID, m.Source, what))
	}
	c.OnStatus = func(done int64) {
		v.progress.line(func(time.Duration) string { return fmt.Sprintf("verifying: %d statuses", done) })
	}
	c.OnStatusDifference = func(s *message.Status, members []string) {
		v.difference(fmt.Sprintf("status %q of message_id %q of source %q %s", s.Status, s.ID, s.Source, differsIn(members)))
	}
	v.named = 0
	if v.messages, err = c.Compare(v.ctx); err != nil {
		return err
	}
	v.andMore()
	v.named = 0
	if v.statuses, err = c.CompareStatuses(v.ctx); err != nil {
		return err
	}
	v.andMore()
	return nil
}

func differsIn(members []string) string {
	if members == nil {
		return "is missing"
	}
	return "differs in " + strings.Join(members, ", ")
}

func (v *copyVerification) difference(what string) {
	if v.first == "" {
		v.first = what
	}
	v.name(what)
}

// missing says what is with a message that the destination does not have at its
// time. Few are asked for: only as many as are named.
func (v *copyVerification) missing(m *message.Message) string {
	if v.named < maxNamed {
		if _, err := v.to.Get(v.ctx, m.Source, m.ID); err == nil {
			return "differs in ts"
		}
	}
	return "is missing"
}

// print prints what both databases hold of what is so called.
func (v *copyVerification) print(called string, c *transfer.Comparison) error {
	if c.Arrived > 0 {
		v.say("%d %s arrived at the source meanwhile and are not copied: copy again when nothing writes to it\n", c.Arrived, called)
	}
	if c.Undated > 0 {
		v.say("%d %s have no time of arrival in the source; in the destination it is when they were copied\n", c.Undated, called)
	}
	more := ""
	if c.More > 0 {
		more = fmt.Sprintf(", and %d that are not in the source", c.More)
	}
	_, err := fmt.Fprintf(v.stdout, "%s: %d %s, sha256 %s\n%s: %d %s, sha256 %s%s\n",
		v.state.From.Name, c.From.Count, called, hex.EncodeToString(c.From.SHA256[:]),
		v.state.To.Name, c.To.Count, called, hex.EncodeToString(c.To.SHA256[:]), more)
	return err
}

// verdict is an error if the destination does not have everything.
func (v *copyVerification) verdict() error {
	var wrong []string
	for _, of := range []struct {
		called string
		found  *transfer.Comparison
	}{{"messages", &v.messages}, {"statuses", &v.statuses}} {
		if !of.found.Equal() {
			wrong = append(wrong, fmt.Sprintf("%d %s are missing and %d are different", of.found.Missing, of.called, of.found.Different))
		}
	}
	if wrong == nil {
		return nil
	}
	return errors.New("the databases differ: " + strings.Join(wrong, ", ") + "; the first: " + v.first)
}

// maxNamed is how many messages are named, and how many statuses: two databases
// that have nothing to do with each other have only different ones.
const maxNamed = 10

// name says something of a message or a status, unless enough of them were named.
func (j *copyJob) name(what string) {
	if j.named++; j.named <= maxNamed {
		j.say("%s\n", what)
	}
}

// andMore says how many were not named.
func (j *copyJob) andMore() {
	if more := j.named - maxNamed; more > 0 {
		j.say("and %d more\n", more)
	}
}
