package cli

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store"
)

// benchCommand is lyftr bench.
type benchCommand struct {
	Fill  benchFillCommand  `cmd:"" help:"Store messages that look natural, straight into the database."`
	Write benchWriteCommand `cmd:"" help:"Post signed messages to a running server, and print how many a second it takes and how long each waits for its answer."`
	Read  benchReadCommand  `cmd:"" help:"Ask a running server for everything that it can be asked, and print how long each kind of answer takes."`
	Bare  benchBareCommand  `cmd:"" help:"Serve what lyftr is measured against: a server that verifies and parses messages and stores none."`
}

// Help implements kong.HelpProvider.
func (c *benchCommand) Help() string {
	return `Use a database of its own: what is filled in and posted stays.

  lyftr bench fill --count 1000000 --database-url sqlite:///./bench.db
  lyftr bench write --duration 10s --connections 64
  lyftr bench read --duration 10s`
}

// showProgress writes a line about the progress every second if standard
// error is a terminal, until the function that it returns is called.
func showProgress(stderr io.Writer, progress func() (done, total int64)) (stop func()) {
	p := newProgress(stderr)
	if p.terminal == nil {
		return func() {}
	}
	quit := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				done, total := progress()
				p.show(done, done, total)
			case <-quit:
				p.clear()
				return
			}
		}
	})
	return func() {
		close(quit)
		shown.Wait()
	}
}

// webhookBody is a message in the form in which POST /webhook takes it.
type webhookBody struct {
	ID   string  `json:"message_id"`
	From string  `json:"from"`
	To   string  `json:"to"`
	TS   string  `json:"ts"`
	Text *string `json:"text,omitempty"`
}

func newBody(m message.Message) webhookBody {
	return webhookBody{m.ID, m.From, m.To, m.TS, m.Text}
}

// databaseBytes is the size of the database and what stands beside it, or 0 if
// it is not in files.
func databaseBytes(url string) int64 {
	t, err := store.ParseURL(url)
	if err != nil {
		return 0
	}
	sum := int64(0)
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(t.Path + suffix); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// checkPID finds out whether the memory of a process can be printed, if one is
// given.
func checkPID(pid int) error {
	if pid != 0 && len(processMemory(strconv.Itoa(pid))) == 0 {
		return usagef("--pid: nothing is known of the memory of process %d", pid)
	}
	return nil
}

// processMemory returns the memory figures of a process in bytes, by their names
// in /proc/PID/status, such as VmRSS and VmHWM; none where there is no such file.
func processMemory(pid string) map[string]int64 {
	figures := map[string]int64{}
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return figures
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		number, isKB := strings.CutSuffix(strings.TrimSpace(value), " kB")
		if n, err := strconv.ParseInt(number, 10, 64); isKB && err == nil {
			figures[name] = n << 10
		}
	}
	return figures
}
