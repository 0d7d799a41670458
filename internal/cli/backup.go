package cli

import (
	"errors"
	"fmt"
	"time"

	"lyftr/internal/store"
)

// backupCommand is lyftr backup.
type backupCommand struct {
	File string `arg:"" help:"File that becomes the backup."`
	databaseSetting
	Force bool `help:"Replace FILE if it is there."`
	Check bool `help:"Make nothing: check that FILE is a good backup."`
}

// Help implements kong.HelpProvider.
func (c *backupCommand) Help() string {
	return `The backup is complete and checked when FILE is there.

  lyftr backup /backup/app.db
  lyftr backup --check /backup/app.db`
}

// Run makes a backup, or checks one.
func (c *backupCommand) Run(e *environment) error {
	if c.Check && c.Force {
		return usagef("--check makes nothing, so there is nothing to --force")
	}
	if _, err := store.ParseURL(c.DatabaseURL); err != nil && !c.Check {
		return usageError{err}
	}
	p := newProgress(e.stderr)
	var summary store.BackupSummary
	var err error
	if c.Check {
		p.say("checking")
		summary, err = store.CheckBackup(e.ctx, c.File)
	} else {
		summary, err = store.Backup(e.ctx, c.DatabaseURL, c.File, store.BackupOptions{Replace: c.Force, Progress: func(copied, total int64) {
			if copied >= total {
				p.say("checking")
				return
			}
			p.line(func(took time.Duration) string { return meterLine(copied, total, took) })
		}})
	}
	p.clear()
	switch {
	case errors.Is(err, store.ErrNoBackup):
		return usageError{err}
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
