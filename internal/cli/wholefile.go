package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// wholeFile is a file that is written under a temporary name and gets its own
// when it is complete and on disk.
type wholeFile struct {
	*os.File
	name    string
	replace bool
}

// createWhole begins a file; one of that name that is there is refused, or
// replaced at the end. It may be read by its owner only.
func createWhole(name string, replace bool) (*wholeFile, error) {
	if err := checkFree(name, replace); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return nil, err
	}
	return &wholeFile{f, name, replace}, nil
}

func checkFree(name string, replace bool) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !replace:
		return fmt.Errorf("%s is there already: name another file, or have it replaced (--force)", name)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file, and is not replaced", name)
	}
	return nil
}

// finish gives the file its name.
func (f *wholeFile) finish() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	err := checkFree(f.name, f.replace)
	if err == nil {
		err = os.Rename(f.Name(), f.name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(f.name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// abandon takes the file away.
func (f *wholeFile) abandon() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
