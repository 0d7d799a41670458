package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"lyftr/internal/store"
)

// backupCommand is lyftr backup.
type backupCommand struct {
	File        string `arg:"" help:"File that becomes the backup."`
	DatabaseURL string `setting:"DATABASE_URL" default:"sqlite:///./data/app.db" placeholder:"URL" help:"Database: sqlite:///relative/path or sqlite:////absolute/path."`
	Force       bool   `help:"Replace FILE if it is there."`
	Check       bool   `help:"Make nothing: check that FILE is a good backup."`
}

// Run makes a backup, or checks one.
func (c *backupCommand) Run(e *environment) error {
	if c.Check && c.Force {
		return usagef("--check makes nothing, so there is nothing to --force")
	}
	if _, err := store.ParseURL(c.DatabaseURL); err != nil && !c.Check {
		return usageError{err}
	}
	meter := newBackupMeter(e.stderr)
	var summary store.BackupSummary
	var err error
	if c.Check {
		meter.checking()
		summary, err = store.CheckBackup(e.ctx, c.File)
	} else {
		summary, err = store.Backup(e.ctx, c.DatabaseURL, c.File, store.BackupOptions{Replace: c.Force, Progress: meter.progress})
	}
	meter.clear()
	switch {
	case err != nil && e.ctx.Err() != nil:
		return errors.New("backup: interrupted")
	case err != nil:
		return err
	}
	contents := fmt.Sprintf("schema version %d", summary.Schema)
	if summary.Schema == 0 {
		contents = "of the FastAPI service, not adopted yet"
	}
	copied := ""
	if !c.Check {
		copied = fmt.Sprintf("copied in %s, ", roundTime(summary.Copying))
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %d messages, %s, %s; %schecked in %s: integrity_check ok, messages counted\n",
		c.File, summary.Messages, showBytes(summary.Bytes), contents, copied, roundTime(summary.Checking))
	return err
}

func roundTime(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second / 10)
}

// showBytes shows a number of bytes as people read it.
func showBytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, name := float64(n)/unit, "kB"
	for _, next := range []string{"MB", "GB", "TB"} {
		if value < unit {
			break
		}
		value, name = value/unit, next
	}
	return fmt.Sprintf("%.1f %s", value, name)
}

// backupMeter shows how far a backup is, on one line of a terminal. Where there
// is none it shows nothing.
type backupMeter struct {
	w     io.Writer // nil without a terminal
	begun time.Time
	shown time.Time
}

// meterEvery bounds how often the line is written.
const meterEvery = time.Second / 5

func newBackupMeter(w io.Writer) *backupMeter {
	m := &backupMeter{begun: time.Now()}
	if isTerminal(w) {
		m.w = w
	}
	return m
}

// clearLine goes to the line's begin and clears it.
const clearLine = "\r\x1b[K"

func (m *backupMeter) show(text string) {
	if m.w != nil {
		// What cannot be shown is no reason to end the work.
		_, _ = io.WriteString(m.w, clearLine+text)
	}
}

func (m *backupMeter) clear() { m.show("") }

func (m *backupMeter) checking() { m.show("checking") }

func (m *backupMeter) progress(copied, total int64) {
	now := time.Now()
	if copied >= total {
		m.checking()
		return
	}
	if now.Sub(m.shown) < meterEvery {
		return
	}
	m.shown = now
	m.show(meterLine(copied, total, now.Sub(m.begun)))
}

// meterLine is bytes, rate and the time that is left at that rate.
func meterLine(copied, total int64, took time.Duration) string {
	line := fmt.Sprintf("%s of %s", showBytes(copied), showBytes(total))
	if copied > 0 && took >= time.Second/10 {
		rate := float64(copied) / took.Seconds()
		left := time.Duration(float64(total-copied) / rate * float64(time.Second))
		line += fmt.Sprintf(", %s/s, %s left", showBytes(int64(rate)), left.Round(time.Second))
	}
	return line
}
