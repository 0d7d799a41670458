package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store"
	"lyftr/internal/telemetry"
	"lyftr/internal/transfer"
)

// copyCommand is lyftr copy.
type copyCommand struct {
	From       string `required:"" placeholder:"URL" help:"Database to read, also while a server runs on it: a URL as in DATABASE_URL."`
	To         string `required:"" placeholder:"URL" help:"Database to fill; what it holds already stays."`
	State      string `placeholder:"FILE" help:"File that says how far an unfinished copy has come; if left out, beside the SQLite file of --to, or else of --from, or else in the working directory."`
	Restart    bool   `help:"Begin at the first message, although an earlier copy has left off in the middle."`
	NoVerify   bool   `help:"Do not verify, and keep the state: the next copy goes on from there."`
	VerifyOnly bool   `help:"Copy nothing: compare the two databases."`
}

// Help implements kong.HelpProvider.
func (c *copyCommand) Help() string {
	return `Copies every message of one database to another, in the order in which they were stored, with the times at which they arrived,
and the statuses of those that were sent. If it is interrupted, the same command goes on where it was. At the end both databases
are compared message by message: their numbers and a hash over all that is known of each message are printed, the same of the
statuses if there are any, and the exit code is 0 if they are equal.

  lyftr copy --from sqlite:///./data/app.db --to postgresql://lyftr@db.internal/lyftr
  lyftr copy --from postgresql://lyftr@db.internal/lyftr --to sqlite:////backup/app.db
  lyftr copy --verify-only --from sqlite:///./data/app.db --to sqlite:////backup/app.db`
}

var errCopyInterrupted = errors.New("copy: interrupted")

// check finds what is wrong with the call.
func (c *copyCommand) check() error {
	for _, u := range []struct{ flag, value string }{{"--from", c.From}, {"--to", c.To}} {
		if _, err := store.ParseURL(u.value); err != nil {
			return usagef("%s", strings.ReplaceAll(err.Error(), "DATABASE_URL", u.flag))
		}
	}
	switch {
	case c.VerifyOnly && c.NoVerify:
		return usagef("--verify-only does nothing but what --no-verify leaves out")
	case c.VerifyOnly && (c.Restart || c.State != ""):
		return usagef("--verify-only copies nothing, so there is nothing to begin anew and no state")
	}
	return nil
}

// Run copies and verifies.
func (c *copyCommand) Run(e *environment) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	tuneRuntime() // as the server does
	j := &copyJob{environment: e, command: c, progress: newProgress(e.stderr)}
	defer func() { err = errors.Join(err, j.close()) }()
	if err := j.open(); err != nil {
		if e.ctx.Err() != nil {
			return errCopyInterrupted
		}
		return err
	}
	err = j.run()
	j.progress.clear()
	if err != nil && e.ctx.Err() != nil {
		return errCopyInterrupted
	}
	return err
}

// copyJob is a copy in progress.
type copyJob struct {
	*environment
	command  *copyCommand
	progress *progress
	from, to message.Store
	state    copyState // of what is saved
	// statuses are counts of those that were copied, statusesSince is when that
	// began: each run copies all of them.
	statuses      transfer.StatusCounts
	statusesSince time.Time

	file    string    // that holds it; empty if it cannot be kept
	written time.Time // when it was written to the file
	named   int       // messages, or statuses, that were named
}

// say writes to standard error, without the line of progress in its way.
func (j *copyJob) say(format string, args ...any) {
	j.progress.clear()
	fmt.Fprintf(j.stderr, format, args...)
}

func (j *copyJob) openSource() (message.Store, error) {
	db, err := store.Open(j.ctx, j.command.From, store.Options{ReadOnly: true, ReadTimeout: exportReadTimeout})
	if err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	return db, nil
}

// open opens both databases.
func (j *copyJob) open() (err error) {
	if j.from, err = j.openSource(); err != nil {
		return err
	}
	j.state.From = copySide{j.from.Status().Identity, showDatabase(j.command.From)}
	db, err := store.Open(j.ctx, j.command.To, store.Options{
		Logger:      telemetry.NewLogger(j.stderr, slog.LevelWarn),
		ReadOnly:    j.command.VerifyOnly,
		ReadTimeout: exportReadTimeout,
	})
	if errors.Is(err, store.ErrInUse) && j.isSource() {
		return errSameDatabase()
	}
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return usagef("--to cannot be written: %w", err)
	case err != nil:
		return fmt.Errorf("copy: %w", explainInUse(err))
	}
	j.to = db
	j.state.To = copySide{j.to.Status().Identity, showDatabase(j.command.To)}
	if j.state.From.Identity == j.state.To.Identity {
		return errSameDatabase()
	}
	return nil
}

// isSource reports whether the destination, which another process has open, is
// the source itself.
func (j *copyJob) isSource() bool {
	db, err := store.Open(j.ctx, j.command.To, store.Options{ReadOnly: true})
	if err != nil {
		return false
	}
	same := db.Status().Identity == j.state.From.Identity
	return db.Close() == nil && same
}

func errSameDatabase() error {
	return usagef("--from and --to are one database, or one is a backup of the other")
}

func (j *copyJob) close() error {
	var errs []error
	for _, db := range []message.Store{j.from, j.to} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// run copies what there is to copy and compares.
func (j *copyJob) run() error {
	if j.command.VerifyOnly {
		return j.verify()
	}
	if err := j.begin(); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	err := j.copy()
	j.keep()
	counts := j.state.Counts
	j.say("copied: %d created, %d duplicates, %d mismatches, %d refused in %s\n",
		counts.Created, counts.Duplicates, counts.Mismatches, counts.Refused, j.progress.took())
	if j.statuses.All() > 0 {
		j.say("statuses: %d created, %d duplicates\n", j.statuses.Created, j.statuses.Duplicates)
	}
	switch kept := j.file != "" && j.state.Position != ""; {
	case err != nil && kept:
		j.say("the same command goes on behind %d messages\n", counts.Messages())
	case err == nil && kept && j.command.NoVerify:
		j.say("not verified: the same command without --no-verify goes on behind %d messages, and verifies\n", counts.Messages())
	}
	switch {
	case err != nil:
		return fmt.Errorf("copy: %w", err)
	case j.command.NoVerify && counts.Mismatches+counts.Refused > 0:
		return fmt.Errorf("copy: %d messages are there with other content, %d were refused", counts.Mismatches, counts.Refused)
	case j.command.NoVerify:
		return nil
	}
	return j.verify()
}

// begin finds where an earlier copy left off.
func (j *copyJob) begin() error {
	j.file = j.stateFile()
	if j.command.Restart {
		return removeCopyState(j.file)
	}
	left, err := readCopyState(j.file)
	if err != nil || left == nil {
		return err
	}
	if err := left.foreign(j.file, &j.state); err != nil {
		return err
	}
	why := ""
	if j.to.Status().Messages < left.Stored {
		why = "the destination holds fewer messages than then"
	} else if _, err := j.from.Feed(j.ctx, left.Position, 0); errors.Is(err, message.ErrBadCursor) {
		why = "the source holds fewer messages than then"
	} else if err != nil {
		return err
	}
	if why != "" {
		j.say("a copy left off behind %d messages, but %s: beginning at the first message\n", left.Counts.Messages(), why)
		return nil
	}
	j.say("going on behind %d messages\n", left.Counts.Messages())
	j.state.Position, j.state.Counts = left.Position, left.Counts
	return nil
}

// stateFile is the name of the file for the state.
func (j *copyJob) stateFile() string {
	if j.command.State != "" {
		return j.command.State
	}
	for _, url := range []string{j.command.To, j.command.From} {
		if t, err := store.ParseURL(url); err == nil && t.Path != "" {
			return t.Path + copyStateSuffix
		}
	}
	return "databases" + copyStateSuffix
}

// keep writes the state to its file.
func (j *copyJob) keep() {
	j.written = time.Now()
	if j.file == "" || j.state.Position == "" {
		return
	}
	j.state.Stored = j.to.Status().Messages
	if err := j.state.write(j.file); err != nil {
		j.file = ""
		j.say("how far the copy has come cannot be kept: %s\n", oneLine(err.Error()))
	}
}

// copy copies to the end of the feed, and the statuses. It waits for a database
// that is away, for a while.
func (j *copyJob) copy() error {
	left := j.from.Status().Messages - j.state.Counts.Messages()
	before := j.state.Counts.Messages()
	c := &transfer.Copier{To: j.to, Position: j.state.Position, Counts: j.state.Counts}
	c.OnSaved = func() {
		j.state.Position, j.state.Counts = c.Position, c.Counts
		if n := c.Statuses.All(); n > 0 {
			j.progress.line(func(time.Duration) string { return fmt.Sprintf("%d statuses", n) })
		} else {
			done := c.Counts.Messages() - before
			j.progress.show(done, done, left)
		}
		if time.Since(j.written) >= stateEvery {
			j.keep()
		}
	}
	c.OnFault = func(m *message.Message, refused error) {
		what := "is in the destination with other content, which stays"
		if refused != nil {
			what = "breaks a rule, and the destination refuses it: " + oneLine(refused.Error())
		}
		j.name(fmt.Sprintf("message_id %q of source %q %s", m.ID, m.Source, what))
	}
	var away time.Time // since when
	var furthest int64 // status that was saved
	pause := firstPause
	for {
		c.From = j.from
		before := c.Position
		err := c.Run(j.ctx)
		j.statuses, j.statusesSince = c.Statuses, c.StatusesSince
		further := c.Position != before || c.Statuses.All() > furthest
		furthest = max(furthest, c.Statuses.All())
		if err == nil || j.ctx.Err() != nil || !errors.Is(err, message.ErrUnavailable) {
			return err
		}
		if away.IsZero() || further {
			away, pause = time.Now(), firstPause
		}
		if time.Since(away)+pause > patience {
			return fmt.Errorf("away for too long: %w", err)
		}
		j.say("%s: trying again in %s\n", oneLine(err.Error()), pause)
		select {
		case <-time.After(pause):
		case <-j.to.Failed(): // and stays so in this process
			return err
		case <-j.ctx.Done():
			return j.ctx.Err()
		}
		if errors.Is(err, transfer.ErrCopyRead) {
			j.reopen()
		}
		pause = min(2*pause, longestPause)
	}
}

const (
	// firstPause and longestPause are between two tries of a database that is
	// away.
	firstPause   = time.Second / 10
	longestPause = 10 * time.Second
	// patience is how long one is tried before the copy gives up.
	patience = time.Minute
)

// reopen opens the source anew: a file that nobody wrote to when it was opened
// cannot be read on if somebody began to.
func (j *copyJob) reopen() {
	db, err := j.openSource()
	if err != nil {
		return // what the next read says is said again
	}
	if db.Status().Identity != j.state.From.Identity {
		_ = db.Close()
		return
	}
	_ = j.from.Close() // it was read only
	j.from = db
}

// showDatabase shows a database without what may be secret in its URL.
func showDatabase(url string) string {
	t, err := store.ParseURL(url)
	switch {
	case err != nil:
		return "unknown" // not reached: check has parsed it
	case t.Server != "":
		return "postgresql://" + t.Server
	}
	return "sqlite:///" + t.Path
}
