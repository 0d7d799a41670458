package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// keepEvery is how long messages may stream in before the position is written.
// When no more have arrived it is written at once.
const keepEvery = time.Second

// positionFile holds the position up to which messages were shown.
type positionFile struct {
	name          string // empty: nothing is kept
	reached, kept string
	written       time.Time
}

// read returns the position that the file holds, empty if there is no file.
func (p *positionFile) read() (string, error) {
	if p.name == "" {
		return "", nil
	}
	b, err := os.ReadFile(p.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	}
	p.kept = strings.TrimSpace(string(b))
	if !isPosition(p.kept) {
		return "", fmt.Errorf("%s holds no position: remove it, or name another file", p.name)
	}
	p.reached = p.kept
	return p.kept, nil
}

// reach notes a position, and writes it if nothing is waiting behind it.
func (p *positionFile) reach(position string, last bool) error {
	p.reached = position
	if !last && time.Since(p.written) < keepEvery {
		return nil
	}
	return p.keep()
}

// keep writes the position that was reached. It is on disk when keep returns.
func (p *positionFile) keep() error {
	if p.name == "" || p.reached == p.kept {
		return nil
	}
	f, err := createWhole(p.name, true)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(p.reached + "\n"); err != nil {
		return errors.Join(err, f.abandon())
	}
	if err := f.finish(); err != nil {
		return err
	}
	p.kept, p.written = p.reached, time.Now()
	return nil
}
