// Package cli is lyftr's command line: one file is one subcommand, and one
// struct field is one setting with its flag, its variable, its default and its
// help.
package cli

import (
	"context"
	"crypto/sha256"
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
	Tail        tailCommand        `cmd:"" help:"Show messages of a running server as they are stored."`
	Doctor      doctorCommand      `cmd:"" help:"Check settings, database and server, and say why deliveries were refused."`
	Completion  completionCommand  `cmd:"" help:"Print the completion of commands and flags for a shell."`
	Man         manCommand         `cmd:"" help:"Print the manual page."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

// environment is what a subcommand works with besides its flags.
type environment struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer

	files files // that the settings were read from
	// parseAgain reads the flags and settings once more, as they are now.
	parseAgain func() (*parsed, error)
}

// parsed is a command line with its settings.
type parsed struct {
	commands commands
	command  *kong.Context
	files    files
}

// files are the hashes of the files that settings were read from, by path.
type files map[string][sha256.Size]byte

// read reads a file and notes that. One that is not there is noted as well.
func (f files) read(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	f[path] = sha256.Sum256(b)
	return b, err
}

// now returns what the same files hold now.
func (f files) now() files {
	now := files{}
	for path := range f {
		_, _ = now.read(path) // whoever uses it finds out
	}
	return now
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
	// An empty variable counts as unset: that is what compose files pass on.
	variables := func(name string) string { v, _ := getenv(name); return v }
	p, err := parse(args, variables, stdout, stderr)
	switch {
	case errors.Is(err, errHelp):
		return exitDone
	case err != nil:
		return fail(exitUsage, err)
	}
	err = p.command.Run(&environment{
		ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr,
		files:      p.files,
		parseAgain: func() (*parsed, error) { return parse(args, variables, stdout, stderr) },
	})
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return fail(exitUsage, err)
	case err != nil:
		return fail(exitFailed, err)
	}
	return exitDone
}

// description is what lyftr is.
const description = "A webhook inbox: receives signed messages, stores each exactly once, and finds them again."

// exampleIndent is what a line of a Help method begins with if it is an example.
const exampleIndent = "  "

// errHelp is what parse returns when it has printed the help.
var errHelp = errors.New("help was printed")

// parse parses the arguments. Settings come from flags, then variables, then the
// file .env in the working directory.
func parse(args []string, variables func(name string) string, stdout, stderr io.Writer) (*parsed, error) {
	p := &parsed{files: files{}}
	dotenv, err := readDotenv(p.files, ".env")
	if err != nil {
		return nil, err
	}
	for _, settings := range []*providerSettings{
		&p.commands.Serve.providerSettings, &p.commands.Send.providerSettings,
		&p.commands.Sign.providerSettings, &p.commands.Doctor.providerSettings,
	} {
		*settings = newProviderSettings()
	}
	exited := false // kong's help calls Exit and goes on
	parser, err := kong.New(&p.commands,
		kong.Name("lyftr"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { exited = true }),
		kong.Resolvers(settings(p.files, variables, func(name string) string { return dotenv[name] })),
		kong.ValueFormatter(formatSetting),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	p.command, err = parser.Parse(args)
	switch {
	case exited:
		return nil, errHelp
	case err != nil:
		return nil, fmt.Errorf("%w (see lyftr --help)", err)
	}
	return p, nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// readDotenv reads a .env file; that there is none is no error. The error does
// not quote the file, which holds secrets.
func readDotenv(f files, path string) (map[string]string, error) {
	b, err := f.read(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s cannot be read: permission denied", path)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	values, err := godotenv.UnmarshalBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be parsed: each line must be NAME=value", path)
	}
	return values, nil
}

// settings resolves flags that have a tag setting from the variable of that
// name, in the first layer that has it. A flag with the tag secret is also taken
// from the file that the variable NAME_FILE names, less one newline at its end.
func settings(f files, layers ...func(string) string) kong.Resolver {
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
				return readSecret(f, name+"_FILE", file)
			case value != "":
				return value, nil
			}
		}
		return nil, nil
	})
}

func readSecret(f files, name, path string) (any, error) {
	b, err := f.read(path)
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
