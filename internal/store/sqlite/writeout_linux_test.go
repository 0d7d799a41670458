package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWriteOut: what cannot be written out is an error, what cannot be asked for is
// none, and a store that closes is not held up.
func TestWriteOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const long = 8 * writeOutSlice
	for at := int64(0); at < long; at += 64 << 10 {
		if _, err := f.WriteAt([]byte("changed"), at); err != nil {
			t.Fatal(err)
		}
	}
	for _, rest := range []time.Duration{0, writeOutRest} {
		if err := writeOut(t.Context(), f, rest); err != nil {
			t.Errorf("rest %v: %v", rest, err)
		}
	}
	// Only good for its name: as a file it is refused.
	name, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer name.Close()
	if err := writeOut(t.Context(), name, writeOutRest); !errors.Is(err, unix.EBADF) {
		t.Errorf("a file that cannot be written out: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := writeOut(ended, name, writeOutRest); err != nil {
		t.Errorf("it goes on when the store closes: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	piece := writingOut{f: int(w.Fd()), began: time.Now()}
	if _, err := piece.slice(); !errors.Is(err, unix.ESPIPE) {
		t.Errorf("a pipe: %v", err)
	}
}

// TestWritingOut: when enough slices are under way they are waited for, and all that
// it took since the last rest is told.
func TestWritingOut(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, enough := range []writingOut{{handing: writeOutTime}, {changed: writeOutChanged}} {
		w := enough
		w.f, w.at, w.began = int(f.Fd()), writeOutSlice, time.Now().Add(-time.Minute)
		took, err := w.slice()
		if took < time.Minute || err != nil || w.from != 2*writeOutSlice || w.at != w.from || w.changed != 0 || w.handing != 0 {
			t.Errorf("%v, %v, %+v", took, err, w)
		}
	}
}
