// Package cli is lyftr's command line: one file is one subcommand, and one
// struct field is one setting with its flag, its variable, its default and its
// help.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/joho/godotenv"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands are all subcommands.
type commands struct {
	Serve       serveCommand       `cmd:"" help:"Receive webhooks and answer questions about what was stored."`
	Send        sendCommand        `cmd:"" help:"Sign one message and post it."`
	Sign        signCommand        `cmd:"" help:"Print the signature of standard input or a file."`
	Import      importCommand      `cmd:"" help:"Store the messages of files: NDJSON or CSV."`
	Export      exportCommand      `cmd:"" help:"Write messages out as NDJSON or CSV, also while a server runs."`
	Copy        copyCommand        `cmd:"" help:"Copy all messages from one database to another, and verify that they are there."`
	Backup      backupCommand      `cmd:"" help:"Copy the database to a file, also while a server runs."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running server whether it is ready; the exit code is the answer."`
	Bench       benchCommand       `cmd:"" help:"Fill a database and measure a server."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

// environment is what a subcommand works with besides its flags.
type environment struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
}

// usageError is a mistake of whoever called; its exit code is exitUsage.
type usageError struct{ err error }

// Error implements error.
func (e usageError) Error() string { return e.err.Error() }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// Run runs lyftr with the arguments that follow its name and returns the exit
// code: 0 done, 1 failed, 2 wrong usage. Settings come from flags, then
// variables by getenv, then the file .env in the working directory. When ctx
// ends, a server stops in good order and Run returns.
func Run(ctx context.Context, args []string, getenv func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(code int, err error) int {
		fmt.Fprintf(stderr, "lyftr: %s\n", oneLine(err.Error()))
		return code
	}
	dotenv, err := readDotenv(".env")
	if err != nil {
		return fail(exitUsage, err)
	}
	// An empty variable counts as unset: that is what compose files pass on.
	variables := func(name string) string { v, _ := getenv(name); return v }
	file := func(name string) string { return dotenv[name] }
	c := commands{Serve: serveCommand{providerSettings: newProviderSettings()}}
	exited := -1 // kong's help calls Exit and goes on
	parser, err := kong.New(&c,
		kong.Name("lyftr"),
		kong.Description("A webhook inbox: receives signed messages, stores each exactly once, and finds them again."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.Resolvers(settings(variables, file)),
		kong.ValueFormatter(formatSetting),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return fail(exitFailed, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		return fail(exitUsage, fmt.Errorf("%w (see lyftr --help)", err))
	}
	err = command.Run(&environment{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr})
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return fail(exitUsage, err)
	case err != nil:
		return fail(exitFailed, err)
	}
	return exitDone
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// readDotenv reads a .env file; that there is none is no error. The error does
// not quote the file, which holds secrets.
func readDotenv(path string) (map[string]string, error) {
	values, err := godotenv.Read(path)
	switch {
	case err == nil, errors.Is(err, os.ErrNotExist):
		return values, nil
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s cannot be read: permission denied", path)
	}
	return nil, fmt.Errorf("%s cannot be parsed: each line must be NAME=value", path)
}

// settings resolves flags that have a tag setting from the variable of that
// name, in the first layer that has it. A flag with the tag secret is also taken
// from the file that the variable NAME_FILE names, less one newline at its end.
func settings(layers ...func(string) string) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		name := flag.Tag.Get("setting")
		if name == "" {
			return nil, nil
		}
		for _, layer := range layers {
			value, file := layer(name), ""
			if flag.Tag.Has("secret") {
				file = layer(name + "_FILE")
			}
			switch {
			case value != "" && file != "":
				return nil, fmt.Errorf("%s and %s_FILE are both set: keep one", name, name)
			case file != "":
				return readSecret(name+"_FILE", file)
			case value != "":
				return value, nil
			}
		}
		return nil, nil
	})
}

func readSecret(name, path string) (any, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if s == "" {
		return nil, fmt.Errorf("%s: %s is empty", name, path)
	}
	return s, nil
}

// formatSetting shows a setting's default and variable in the help.
func formatSetting(value *kong.Value) string {
	help := value.Help
	if value.HasDefault {
		help += " Default: " + value.Default + "."
	}
	name := value.Tag.Get("setting")
	if name == "" {
		return help
	}
	if value.Tag.Has("secret") {
		name += ", $" + name + "_FILE"
	}
	return fmt.Sprintf("%s ($%s)", help, name)
}
