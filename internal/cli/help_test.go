package cli

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// root is the model of all commands.
func root(t *testing.T) *kong.Node {
	t.Helper()
	p, err := parse([]string{"version"}, func(string) string { return "" }, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return p.command.Model.Node
}

// calls finds the calls of lyftr in a line of shell.
var calls = regexp.MustCompile(`(?:^|[ (])lyftr( (?:"[^"]*"|[^"|)>])*)`)

// arguments splits a call at its spaces, but for those in quotes.
func arguments(call string) (args []string) {
	for _, quoted := range regexp.MustCompile(`(?:"[^"]*"|[^" ])+`).FindAllString(call, -1) {
		args = append(args, strings.ReplaceAll(quoted, `"`, ""))
	}
	return args
}

// Each command says what it is in one line, has a few examples, and each call in
// them is one that the parser takes.
func TestHelpExamples(t *testing.T) {
	walk(root(t), "", func(words string, node *kong.Node) {
		if words == "" {
			return
		}
		if !strings.HasSuffix(node.Help, ".") || strings.Contains(node.Help, "\n") {
			t.Errorf("lyftr%s is %q", words, node.Help)
		}
		examples, own := 0, 0
		for line := range strings.Lines(node.Detail) {
			if !strings.HasPrefix(line, exampleIndent) {
				continue
			}
			examples++
			found := calls.FindAllStringSubmatch(strings.TrimSpace(line), -1)
			if found == nil {
				t.Errorf("lyftr%s: the example %q does not call lyftr", words, line)
			}
			for _, call := range found {
				p, err := parse(arguments(call[1]), func(string) string { return "" }, io.Discard, io.Discard)
				if err != nil {
					t.Errorf("lyftr%s: the example %q: %v", words, line, err)
				} else if strings.HasPrefix(" "+p.command.Command()+" ", words+" ") {
					own++
				}
			}
		}
		if examples < 1 || examples > 3 || own < examples {
			t.Errorf("lyftr%s has %d examples, and %d calls of it in them", words, examples, own)
		}
	})
}

func TestArguments(t *testing.T) {
	line := `curl -H "X: $(lyftr sign a.json)" | lyftr send --text "a | b" --to="+1 2" > out`
	var got [][]string
	for _, call := range calls.FindAllStringSubmatch(line, -1) {
		got = append(got, arguments(call[1]))
	}
	want := [][]string{{"sign", "a.json"}, {"send", "--text", "a | b", "--to=+1 2"}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The values that are offered are those that are taken.
func TestChoices(t *testing.T) {
	providers := newProviderSettings()
	sources := strings.Join(providers.sources(), ",")
	want := map[string]string{
		" serve --log-level": "DEBUG,INFO,WARNING,ERROR", " doctor --log-level": "DEBUG,INFO,WARNING,ERROR",
		" send --provider": sources, " sign --provider": sources, " tail --source": sources,
		" import --format": "ndjson,csv", " import --on-error": "stop,skip",
		" export --format": "ndjson,csv", " export --order": "asc,desc",
		" bench fill --output": "database,ndjson",
		" tail --format":       "auto,lines,ndjson", " tail --color": "auto,always,never",
	}
	walk(root(t), "", func(words string, node *kong.Node) {
		for _, flag := range node.Flags {
			at := words + " --" + flag.Name
			if got := strings.Join(choices(flag.Value), ","); got != want[at] {
				t.Errorf("%s: %q is offered, want %q", at, got, want[at])
			}
			delete(want, at)
		}
	})
	for at := range want {
		t.Errorf("%s is not there", at)
	}
}

// Each script and the manual page have every command and every flag.
func TestCompletionAndManual(t *testing.T) {
	node := root(t)
	app := &kong.Application{Node: node}
	bash, zsh, fish, man := bashCompletion(node), zshCompletion(node), fishCompletion(node), manual(app)
	walk(node, "", func(words string, node *kong.Node) {
		for script, want := range map[string]string{
			bash: "'" + words + "') words='",
			zsh:  zshFunction(words) + "() {",
			man:  `.SS "lyftr` + roff(words) + `"`,
		} {
			if (script != man || words != "") && !strings.Contains(script, want) {
				t.Errorf("%q is not in\n%s", want, script)
			}
		}
		for _, flag := range flagsOf(node) {
			if line := "complete -c lyftr -n '__lyftr_at \\'" + words + "\\'' -l " + flag.Name + " "; !strings.Contains(fish, line) {
				t.Errorf("%q is not in\n%s", line, fish)
			}
			if strings.Count(bash, "'"+words+" --"+flag.Name+"'") == 0 != flag.IsBool() {
				t.Errorf("bash: does lyftr%s --%s take a value?", words, flag.Name)
			}
			if name := flag.Tag.Get("setting"); !strings.Contains(man, roff("--"+flag.Name)) || name != "" && !strings.Contains(man, `\fB`+roff(name)+`\fR`) {
				t.Errorf("the manual page has no --%s or no %s", flag.Name, name)
			}
		}
	})
	for _, leftover := range []string{"COMMANDS", "VALUED", "FILES", "FLAGS", "WORDS)"} {
		for _, script := range []string{bash, zsh, fish} {
			if strings.Contains(strings.ReplaceAll(script, "COMP_WORDS", ""), leftover) {
				t.Errorf("%s was not filled in:\n%s", leftover, script)
			}
		}
	}
}

// No text of a manual page is a command, and none needs more than ASCII.
func TestRoff(t *testing.T) {
	for text, want := range map[string]string{
		`a-b\n 'x' ~^` + "`": `a\-b\en \(aqx\(aq \(ti\(ha\(ga`,
		".TH\n'x\n …":        `\&.TH` + "\n" + `\&\(aqx` + "\n" + ` \[u2026]`,
	} {
		if got := roff(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got, want := roffArgument(`a "b"`), `"a \(dqb\(dq"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
