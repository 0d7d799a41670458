package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store"
	"lyftr/internal/telemetry"
	"lyftr/internal/transfer"
)

// importCommand is lyftr import.
type importCommand struct {
	databaseSetting
	Files   []string `arg:"" name:"file" help:"Files to read, one after the other; - is standard input."`
	Format  string   `placeholder:"FORMAT" values:"ndjson,csv" help:"ndjson or csv; if left out by the name of the file, else ndjson."`
	OnError string   `default:"stop" placeholder:"WHAT" values:"stop,skip" help:"stop at the first bad line, or skip it and go on."`
	Restart bool     `help:"Begin at the first line, although an earlier import of the file has left off in its middle."`
}

// Help implements kong.HelpProvider.
func (c *importCommand) Help() string {
	return `Messages that are stored already are counted and left as they are. An import that was interrupted goes on where it was when it
is called again. No server may have a SQLite file open meanwhile.

  lyftr import messages.ndjson
  lyftr import --on-error skip january.csv february.csv
  gzip -dc messages.ndjson.gz | lyftr import -`
}

// errImportInterrupted is the end of an import by a signal.
var errImportInterrupted = errors.New("import: interrupted")

// check finds what is wrong with the call.
func (c *importCommand) check() error {
	if c.Format != "" {
		if _, err := transfer.ParseFormat(c.Format); err != nil {
			return usagef("--format: %w", err)
		}
	}
	if c.OnError != "stop" && c.OnError != "skip" {
		return usagef("--on-error: must be stop or skip")
	}
	for i, name := range c.Files {
		if slices.Contains(c.Files[:i], name) {
			return usagef("%s is named twice", name)
		}
		if name == "-" {
			continue
		}
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	return c.databaseSetting.check()
}

// Run imports the files, prints what is wrong with lines, and a summary.
func (c *importCommand) Run(e *environment) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	db, err := store.Open(e.ctx, c.DatabaseURL, store.Options{Logger: telemetry.NewLogger(e.stderr, slog.LevelWarn)})
	switch {
	case err != nil && e.ctx.Err() != nil:
		return errImportInterrupted
	case err != nil:
		return fmt.Errorf("import: %w", explainInUse(err))
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	i := &importer{environment: e, db: db, skip: c.OnError == "skip", restart: c.Restart, progress: newProgress(e.stderr)}
	var total importCounts
	for _, name := range c.Files {
		format := transfer.GuessFormat(name)
		if c.Format != "" {
			if format, err = transfer.ParseFormat(c.Format); err != nil {
				return err
			}
		}
		counts, failed := i.file(name, format)
		total.Created += counts.Created
		total.Duplicates += counts.Duplicates
		total.Mismatches += counts.Mismatches
		total.BadLines += counts.BadLines
		if err = failed; err != nil || total.BadLines > 0 && !i.skip {
			break
		}
	}
	if i.unprinted > 0 {
		i.say("and %d more bad lines\n", i.unprinted)
	}
	i.say("imported: %d created, %d duplicates, %d mismatches, %d bad lines in %s\n",
		total.Created, total.Duplicates, total.Mismatches, total.BadLines, i.progress.took())
	switch {
	case err != nil:
		return err
	case total.BadLines > 0 && !i.skip:
		return errors.New("import: stopped at a bad line: everything before it is stored; correct it and import again, or give --on-error=skip")
	case total.BadLines > 0:
		return fmt.Errorf("import: %d bad lines were left out", total.BadLines)
	}
	return nil
}

// importer imports files into a store.
type importer struct {
	*environment
	db            message.Store
	skip, restart bool
	progress      *progress

	printed, unprinted int // bad lines
}

// say writes to standard error, without the line of progress in its way.
func (i *importer) say(format string, args ...any) {
	i.progress.clear()
	fmt.Fprintf(i.stderr, format, args...)
}

// source is an input of an import.
type source struct {
	io.Reader
	name  string
	size  int64    // 0 if it is not known
	file  *os.File // nil for standard input
	state *importState
	keep  bool // whether the state is kept beside it
}

// file imports one file. The counts include those of the runs that it goes on
// from.
func (i *importer) file(name string, format transfer.Format) (importCounts, error) {
	src, err := i.open(name, format)
	if err != nil {
		return importCounts{}, fmt.Errorf("import: %w", err)
	}
	if src.file != nil {
		defer func() { _ = src.file.Close() }() // it was read only
	}
	reader, err := i.begin(src, format)
	if err != nil {
		return importCounts{}, i.failed(src, err)
	}
	stopped, err := i.run(src, reader)
	switch {
	case err != nil:
		return src.state.Counts, i.failed(src, err)
	case stopped:
		counts := src.state.Counts
		counts.BadLines++ // that is not behind us
		return counts, nil
	}
	if src.keep {
		if err := removeImportState(name); err != nil {
			return src.state.Counts, fmt.Errorf("import: %w", err)
		}
	}
	return src.state.Counts, nil
}

func (i *importer) failed(src *source, err error) error {
	if i.ctx.Err() == nil {
		return fmt.Errorf("import %s: %w", src.name, err)
	}
	if src.keep {
		i.say("%s: the same import goes on behind line %d\n", src.name, src.state.Mark.Line)
	}
	return errImportInterrupted
}

func (i *importer) open(name string, format transfer.Format) (*source, error) {
	st := i.db.Status()
	src := &source{name: name, state: &importState{Format: format, Database: st.Identity, Stored: st.Messages}}
	if name == "-" {
		src.Reader, src.name = untilEnd{i.ctx, i.stdin}, "standard input"
		return src, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	src.file, src.Reader = f, untilEnd{i.ctx, f}
	if src.keep = info.Mode().IsRegular(); src.keep {
		src.size = info.Size()
	}
	return src, nil
}

// untilEnd is an input that ends with its context.
type untilEnd struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (u untilEnd) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// begin returns a reader at the place where an earlier import of the file left
// off, or at its begin.
func (i *importer) begin(src *source, format transfer.Format) (*transfer.Reader, error) {
	reader := transfer.NewReader(format, src)
	if !src.keep {
		return reader, nil
	}
	if i.restart {
		return reader, removeImportState(src.name)
	}
	left, err := readImportState(src.name)
	if err != nil || left == nil {
		return reader, err
	}
	why := left.unfit(src.state)
	if why == "" {
		err := reader.Skip(left.Mark)
		if err == nil {
			i.say("%s: going on behind line %d\n", src.name, left.Mark.Line)
			src.state.Mark, src.state.Counts = left.Mark, left.Counts
			return reader, nil
		}
		if !errors.Is(err, transfer.ErrChanged) {
			return nil, err
		}
		why = "the file was another before that line"
		if _, err := src.file.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		reader = transfer.NewReader(format, src)
	}
	i.say("%s: an import left off behind line %d, but %s: beginning at the first line\n", src.name, left.Mark.Line, why)
	return reader, nil
}

// stateEvery is how often the state is written at most.
const stateEvery = time.Second

// run reads in one goroutine and saves in another, this one, until the input
// ends, a line is bad (stopped is true), the context ends or something fails.
func (i *importer) run(src *source, reader *transfer.Reader) (stopped bool, err error) {
	ctx, cancel := context.WithCancel(i.ctx)
	batches := make(chan importBatch)
	go func() {
		defer close(batches)
		readBatches(ctx, reader, i.skip, batches)
	}()
	defer func() {
		cancel()
		if src.file == nil {
			return // a read of standard input cannot be ended but by the process's end
		}
		_ = src.file.Close() // ends a read of a named pipe
		for range batches {  // until the goroutine has ended
		}
	}()
	written := time.Now()
	keep := func() {
		if src.keep && src.state.Mark.Offset > 0 {
			if err := src.state.write(src.name); err != nil {
				src.keep = false
				i.say("%s: how far the import has come cannot be kept: %s\n", src.name, oneLine(err.Error()))
			}
			written = time.Now()
		}
	}
	defer func() {
		if stopped || err != nil {
			keep()
		}
	}()
	for {
		var b importBatch
		select {
		case b = <-batches:
		case <-i.ctx.Done():
			return false, i.ctx.Err()
		}
		if len(b.messages) > 0 {
			// What has begun is finished, so that the state is right.
			outcomes, err := i.db.Save(context.WithoutCancel(i.ctx), b.messages, nil)
			if err != nil {
				return false, err
			}
			src.state.Counts.add(outcomes)
			src.state.Stored = i.db.Status().Messages
		}
		src.state.Mark = b.mark
		i.print(src.name, b.bad)
		if b.stopped {
			return true, nil
		}
		src.state.Counts.BadLines += int64(len(b.bad))
		i.progress.show(src.state.Counts.messages(), b.mark.Offset, src.size)
		if errors.Is(b.err, io.EOF) {
			return false, nil
		}
		if b.err != nil {
			return false, b.err
		}
		if time.Since(written) >= stateEvery {
			keep()
		}
	}
}

// maxPrintedLines is how many bad lines are printed: a file of another kind has
// only bad ones.
const maxPrintedLines = 100

func (i *importer) print(name string, bad []*transfer.LineError) {
	for _, b := range bad {
		if i.printed == maxPrintedLines {
			i.unprinted++
			continue
		}
		i.printed++
		i.say("%s:%d: %s\n", name, b.Line, b.What())
	}
}

// importBatch is a piece of an input.
type importBatch struct {
	messages []message.Message
	bad      []*transfer.LineError
	mark     transfer.Mark // behind them
	stopped  bool          // at the last bad line, which the mark is before
	err      error         // what ended the input, io.EOF too
}

const (
	// batchMessages is how many messages are saved at one time: as many as a
	// transaction takes.
	batchMessages = 1000
	// batchBytes bounds the memory of a batch.
	batchBytes = 4 << 20
)

// readBatches reads the input to its end, or to the first bad line if none is
// skipped.
func readBatches(ctx context.Context, r *transfer.Reader, skip bool, to chan<- importBatch) {
	for more := true; more; {
		var b importBatch
		for begin := r.Offset(); len(b.messages)+len(b.bad) < batchMessages && r.Offset()-begin < batchBytes; {
			m, err := r.Read()
			if err == nil {
				b.messages = append(b.messages, m)
				continue
			}
			bad, ok := errors.AsType[*transfer.LineError](err)
			if ok {
				b.bad = append(b.bad, bad)
			}
			if ok && skip {
				continue
			}
			b.stopped, more = ok, false
			if !ok {
				b.err = err
			}
			break
		}
		if b.mark = r.Mark(); b.stopped || b.err != nil && !errors.Is(b.err, io.EOF) {
			b.mark = r.MarkBefore()
		}
		select {
		case to <- b:
		case <-ctx.Done():
			return
		}
	}
}
