package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the scripts of the command line in testdata/script with the
// real binary. LYFTR_ADDRESS is a running server, SERVER_DATABASE its file.
func TestScripts(t *testing.T) {
	database := filepath.Join(t.TempDir(), "app.db")
	p := start(t, database)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("LYFTR_ADDRESS", "http://"+p.address)
			e.Setenv("SERVER_DATABASE", database)
			e.Setenv("SERVER_DATABASE_URL", "sqlite:///"+database)
			e.Setenv("CLOSED_ADDRESS", "http://127.0.0.1:1")
			return nil
		},
		RequireExplicitExec: true,
	})
}
