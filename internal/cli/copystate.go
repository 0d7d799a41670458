package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"lyftr/internal/transfer"
)

// copyState is how far a copy has come, kept in a file. What stands before its
// position is stored: it is written after the commit. If it is lost, or older
// than the copy, messages are saved again, which does no harm.
type copyState struct {
	From copySide `json:"from"`
	To   copySide `json:"to"`
	// Stored is how many messages the destination held. If it holds fewer, some
	// of the copy may be missing, e.g. since a backup was put in its place.
	Stored   int64               `json:"stored"`
	Position string              `json:"position"`
	Counts   transfer.CopyCounts `json:"counts"`
}

// copySide is one of the two databases.
type copySide struct {
	Identity string `json:"identity"`
	Name     string `json:"name"` // as it is shown
}

// copyStateSuffix is the end of a state's name.
const copyStateSuffix = ".lyftr-copy"

// readCopyState returns nil if there is none.
func readCopyState(file string) (*copyState, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &copyState{}
	if err := json.Unmarshal(b, s); err != nil || s.From.Identity == "" || s.To.Identity == "" {
		return nil, fmt.Errorf("%s is not what a copy has left: name another file (--state), or begin at the first message (--restart)", file)
	}
	return s, nil
}

// foreign is the error of a copy that finds the state of one between other
// databases; nil if it is its own.
func (s *copyState) foreign(file string, now *copyState) error {
	var which string
	switch {
	case s.From.Identity != now.From.Identity && s.To.Identity != now.To.Identity:
		which = "between other databases"
	case s.From.Identity != now.From.Identity:
		which = "from another database"
	case s.To.Identity != now.To.Identity:
		which = "to another database"
	default:
		return nil
	}
	return fmt.Errorf("%s is of a copy %s, from %s to %s: finish that one first, name another file (--state), or begin at the first message (--restart)",
		file, which, s.From.Name, s.To.Name)
}

func (s *copyState) write(file string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := createWhole(file, true)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(b, '\n')); err != nil {
		return errors.Join(err, f.abandon())
	}
	return f.finish()
}

func removeCopyState(file string) error {
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
