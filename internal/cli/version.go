package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -X lyftr/internal/cli.version=1.2.3
var version = ""

// Version is the version of this build.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

type versionCommand struct{}

// Help implements kong.HelpProvider.
func (versionCommand) Help() string {
	return `Prints the version, that of Go, and the platform.

  lyftr version`
}

func (versionCommand) Run(e *environment) error {
	_, err := fmt.Fprintf(e.stdout, "lyftr %s %s %s/%s\n", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
