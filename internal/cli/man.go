package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// manCommand is lyftr man.
type manCommand struct{}

// Help implements kong.HelpProvider.
func (c *manCommand) Help() string {
	return `It holds what --help says of every command, and the variables, files and exit codes besides.

  lyftr man | man -l -
  lyftr man > /usr/local/share/man/man1/lyftr.1`
}

// Run prints the page as roff.
func (c *manCommand) Run(e *environment, parsed *kong.Context) error {
	_, err := io.WriteString(e.stdout, manual(parsed.Model))
	return err
}

// manual returns the manual page, made of what the help is made of.
func manual(app *kong.Application) string {
	var m manPage
	m.printf(".TH LYFTR 1 \"\" %s \"User Commands\"\n", roffArgument("lyftr "+Version()))
	m.section("NAME")
	m.printf("lyftr %s %s\n", `\-`, roff("webhook inbox"))
	m.section("SYNOPSIS")
	m.printf("\\fBlyftr\\fR \\fIcommand\\fR [\\fIflags\\fR] [\\fIarguments\\fR]\n")
	m.section("DESCRIPTION")
	m.text(app.Help)
	m.text("Each setting is a flag of a command, a variable, or a line NAME=value of the file .env in the working directory; the first of them that has it counts.")
	m.section("COMMANDS")
	walk(app.Node, "", func(words string, node *kong.Node) {
		if words != "" {
			m.command(words, node)
		}
	})
	m.variables(app)
	m.section("FILES")
	for _, file := range [][2]string{
		{".env", "Settings, one NAME=value a line."},
		{"data/app.db", "The database, unless DATABASE_URL names another."},
		{"FILE.lyftr-import", "How far an import of FILE has come that is not finished."},
	} {
		m.entry(roff(file[0]), file[1])
	}
	m.section("EXIT STATUS")
	for _, code := range []struct {
		code int
		help string
	}{{exitDone, "Done."}, {exitFailed, "Failed."}, {exitUsage, "Wrong usage, or a setting that cannot be used."}} {
		m.entry(strconv.Itoa(code.code), code.help)
	}
	return string(m.b)
}

// manPage is a manual page that is being written.
type manPage struct {
	b     []byte
	begun bool // a section, which needs no new paragraph
}

func (m *manPage) printf(format string, args ...any) { m.b = fmt.Appendf(m.b, format, args...) }

func (m *manPage) section(title string) {
	m.printf(".SH %s\n", roffArgument(title))
	m.begun = true
}

// text writes a text as Help methods have it: paragraphs, and examples, which
// begin with spaces.
func (m *manPage) text(s string) {
	for paragraph := range strings.SplitSeq(s, "\n\n") {
		if paragraph == "" {
			continue
		}
		if !m.begun {
			m.printf(".PP\n")
		}
		m.begun = false
		if strings.HasPrefix(paragraph, exampleIndent) {
			m.printf(".EX\n%s\n.EE\n", roff(paragraph))
		} else {
			m.printf("%s\n", roff(paragraph))
		}
	}
}

// entry writes an entry of a list. Its name is roff.
func (m *manPage) entry(name, help string) { m.printf(".TP\n%s\n%s\n", name, roff(help)) }

// command writes what there is to know of a command.
func (m *manPage) command(words string, node *kong.Node) {
	m.printf(".SS %s\n", roffArgument("lyftr"+words))
	usage := []string{`\fBlyftr` + roff(words) + `\fR`}
	if len(node.Children) > 0 {
		usage = append(usage, `\fIcommand\fR`)
	} else {
		usage = append(usage, `[\fIflags\fR]`)
	}
	for _, flag := range node.Flags {
		if flag.Required {
			usage = append(usage, roffFlag(flag))
		}
	}
	for _, argument := range node.Positional {
		usage = append(usage, roff(argument.Summary()))
	}
	m.printf("%s\n", strings.Join(usage, " "))
	m.begun = false
	m.text(node.Help)
	m.text(node.Detail)
	for _, argument := range node.Positional {
		m.entry(`\fI`+roff(argument.Name)+`\fR`, formatSetting(argument))
	}
	for _, flag := range node.Flags {
		if !flag.Hidden {
			m.entry(roffFlag(flag), formatSetting(flag.Value))
		}
	}
}

// variables writes the variables that commands read, each once.
func (m *manPage) variables(app *kong.Application) {
	about, users := map[string]*kong.Flag{}, map[string][]string{}
	walk(app.Node, "", func(words string, node *kong.Node) {
		for _, flag := range node.Flags {
			if name := flag.Tag.Get("setting"); name != "" {
				if about[name] == nil {
					about[name] = flag
				}
				users[name] = append(users[name], strings.TrimSpace(words))
			}
		}
	})
	m.section("ENVIRONMENT")
	m.text("An empty variable counts as none. Where NAME_FILE stands beside NAME, the value may be in the file that NAME_FILE names.")
	for _, name := range slices.Sorted(maps.Keys(about)) {
		title := `\fB` + roff(name) + `\fR`
		if about[name].Tag.Has("secret") {
			title += `, \fB` + roff(name+"_FILE") + `\fR`
		}
		help := about[name].Help
		if about[name].HasDefault {
			help += " Default: " + about[name].Default + "."
		}
		m.entry(title, help+" Read by "+strings.Join(users[name], ", ")+".")
	}
}

// roffFlag returns a flag as it is written, with its value.
func roffFlag(flag *kong.Flag) string {
	var all []string
	for _, spelling := range spellings(flag) {
		all = append(all, `\fB`+roff(spelling)+`\fR`)
	}
	name := strings.Join(all, ", ")
	if !flag.IsBool() {
		name += `=\fI` + roff(flag.FormatPlaceHolder()) + `\fR`
	}
	return name
}

// roff returns text that means itself, in ASCII: no character is a command, and
// a hyphen is the one that is typed.
func roff(s string) string {
	var b strings.Builder
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			b.WriteString(`\&`)
		}
		for _, r := range line {
			switch {
			case r == '\\':
				b.WriteString(`\e`)
			case r == '-':
				b.WriteString(`\-`)
			case r == '\'':
				b.WriteString(`\(aq`)
			case r == '`':
				b.WriteString(`\(ga`)
			case r == '^':
				b.WriteString(`\(ha`)
			case r == '~':
				b.WriteString(`\(ti`)
			case r > '~':
				fmt.Fprintf(&b, `\[u%04X]`, r)
			default:
				b.WriteRune(r)
			}
		}
	}
	return b.String()
}

// roffArgument returns text as one argument of a macro.
func roffArgument(s string) string { return `"` + strings.ReplaceAll(roff(s), `"`, `\(dq`) + `"` }
