package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store"
	"lyftr/internal/transfer"
)

// exportCommand is lyftr export.
type exportCommand struct {
	databaseSetting
	Format string `placeholder:"FORMAT" values:"ndjson,csv" help:"ndjson or csv; if left out by the name of the output, else ndjson."`
	From   string `placeholder:"NUMBER" help:"Messages of this sender only."`
	To     string `placeholder:"NUMBER" help:"Messages to this recipient only."`
	Since  string `placeholder:"TIME" help:"Messages with a timestamp at this time or later."`
	Until  string `placeholder:"TIME" help:"Messages with a timestamp before this time."`
	Source string `placeholder:"SOURCE" help:"Messages of this source only, such as native or whatsapp."`
	Q      string `placeholder:"TEXT" help:"Messages whose text holds this, in any case."`
	Order  string `default:"asc" placeholder:"ORDER" values:"asc,desc" help:"asc or desc, by timestamp."`
	Output string `short:"o" default:"-" placeholder:"FILE" help:"File to write, which is there when it is complete; - is standard output."`
	Force  bool   `help:"Replace the output if it is there."`
}

// Help implements kong.HelpProvider.
func (c *exportCommand) Help() string {
	return `Writes messages by timestamp, as they are at this moment.

  lyftr export -o messages.ndjson
  lyftr export --from +919876543210 --since 2025-01-15T00:00:00Z --format csv
  lyftr export | gzip > messages.ndjson.gz`
}

// exportReadTimeout bounds the read of one page. Nobody waits at the other end,
// and with a filter a page may be far away.
const exportReadTimeout = 10 * time.Minute

// query returns what is asked for.
func (c *exportCommand) query() (transfer.Format, message.Filter, message.Order, error) {
	format, f, order := transfer.GuessFormat(c.Output), message.Filter{From: c.From, To: c.To, Text: c.Q, Source: c.Source}, message.Order(c.Order)
	var err error
	if c.Format != "" {
		if format, err = transfer.ParseFormat(c.Format); err != nil {
			return "", f, "", usagef("--format: %w", err)
		}
	}
	for _, t := range []struct {
		flag, value string
		to          *time.Time
	}{{"--since", c.Since, &f.Since}, {"--until", c.Until, &f.Until}} {
		if t.value == "" {
			continue
		}
		if *t.to, err = message.ParseInstant(t.value); err != nil {
			return "", f, "", usagef("%s: %w", t.flag, err)
		}
		if t.to.IsZero() { // it would read as "no limit", and no message is older
			*t.to = t.to.Add(-1)
		}
	}
	if order != message.Ascending && order != message.Descending {
		return "", f, "", usagef("--order: must be asc or desc")
	}
	return format, f, order, c.check()
}

var errExportInterrupted = errors.New("export: interrupted")

// Run writes everything that matches.
func (c *exportCommand) Run(e *environment) (err error) {
	format, filter, order, err := c.query()
	if err != nil {
		return err
	}
	db, err := store.Open(e.ctx, c.DatabaseURL, store.Options{ReadOnly: true, ReadTimeout: exportReadTimeout})
	switch {
	case err != nil && e.ctx.Err() != nil:
		return errExportInterrupted
	case err != nil:
		return fmt.Errorf("export: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	all := int64(0)
	if filter == (message.Filter{}) {
		all = db.Status().Messages
	}
	p := newProgress(e.stderr)
	n, err := c.write(e, func(w io.Writer) (int64, error) {
		return export(e.ctx, db, format, filter, order, w, func(n int64) { p.show(n, n, all) })
	})
	p.clear()
	switch {
	case err != nil && e.ctx.Err() != nil:
		return errExportInterrupted
	case err != nil:
		return fmt.Errorf("export: %w", err)
	}
	fmt.Fprintf(e.stderr, "exported %d messages in %s\n", n, p.took())
	return nil
}

// write has f write to the output.
func (c *exportCommand) write(e *environment, f func(io.Writer) (int64, error)) (int64, error) {
	if c.Output == "-" {
		return f(e.stdout)
	}
	file, err := createWhole(c.Output, c.Force)
	if err != nil {
		return 0, err
	}
	n, err := f(file)
	if err != nil {
		return n, errors.Join(err, file.abandon())
	}
	return n, file.finish()
}

// export writes the messages that match, and tells how many it has written.
func export(ctx context.Context, db message.Store, format transfer.Format, f message.Filter, o message.Order, w io.Writer, tell func(int64)) (n int64, err error) {
	const buffer, tellEvery = 256 << 10, 256
	out := bufio.NewWriterSize(w, buffer)
	if _, err := out.WriteString(format.Header()); err != nil {
		return 0, err
	}
	err = db.Walk(ctx, f, o, func(m message.Message) error {
		if _, err := out.Write(format.Append(out.AvailableBuffer(), &m)); err != nil {
			return err
		}
		if n++; n%tellEvery == 0 {
			tell(n)
			return ctx.Err()
		}
		return nil
	})
	if err != nil {
		return n, err
	}
	return n, out.Flush()
}
