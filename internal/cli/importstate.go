package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

// importCounts are what became of the lines of a file.
type importCounts struct {
	Created    int64 `json:"created"`
	Duplicates int64 `json:"duplicates"`
	Mismatches int64 `json:"mismatches"` // duplicates with other content
	BadLines   int64 `json:"bad_lines"`
}

func (c *importCounts) add(outcomes []message.Outcome) {
	for _, o := range outcomes {
		switch {
		case !o.Duplicate:
			c.Created++
		case o.Mismatch:
			c.Mismatches++
			fallthrough
		default:
			c.Duplicates++
		}
	}
}

func (c *importCounts) messages() int64 { return c.Created + c.Duplicates }

// importState is how far an import of a file has come, kept beside the file.
// What stands before its mark is stored: it is written after the commit. If it is
// lost, or older than the import, lines are stored again, which does no harm.
type importState struct {
	Format   transfer.Format `json:"format"`
	Database string          `json:"database"` // its identity
	// Stored is how many messages the database held. If it holds fewer, some of
	// this import may be missing, e.g. since a backup was put in its place.
	Stored int64         `json:"stored"`
	Mark   transfer.Mark `json:"mark"`
	Counts importCounts  `json:"counts"`
}

// importStateSuffix makes the state's name of the file's.
const importStateSuffix = ".lyftr-import"

// readImportState returns nil if there is none.
func readImportState(file string) (*importState, error) {
	b, err := os.ReadFile(file + importStateSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &importState{}
	if err := json.Unmarshal(b, s); err != nil || s.Mark.Offset < 0 || s.Mark.Line < 0 {
		return nil, fmt.Errorf("%s is not what an import has left: give --restart to begin at the first line", file+importStateSuffix)
	}
	return s, nil
}

// unfit says why an import cannot go on from the state; empty if it can.
func (s *importState) unfit(now *importState) string {
	switch {
	case s.Format != now.Format:
		return "it was read as " + string(s.Format)
	case s.Database != now.Database:
		return "it was into another database"
	case now.Stored < s.Stored:
		return "the database holds fewer messages than then"
	}
	return ""
}

func (s *importState) write(file string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f, err := createWhole(file+importStateSuffix, true)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(b, '\n')); err != nil {
		return errors.Join(err, f.abandon())
	}
	return f.finish()
}

func removeImportState(file string) error {
	if err := os.Remove(file + importStateSuffix); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
