package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCommand is lyftr completion.
type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help implements kong.HelpProvider.
func (c *completionCommand) Help() string {
	return `The script knows all commands, flags and their values; completing does not run lyftr. Write it to where the shell looks for it:

  lyftr completion bash > /usr/share/bash-completion/completions/lyftr
  lyftr completion zsh > /usr/local/share/zsh/site-functions/_lyftr
  lyftr completion fish > ~/.config/fish/completions/lyftr.fish`
}

// Run prints the script.
func (c *completionCommand) Run(e *environment, parsed *kong.Context) error {
	script := map[string]func(*kong.Node) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[c.Shell]
	_, err := io.WriteString(e.stdout, script(parsed.Model.Node))
	return err
}

// walk calls f with a command and all below it, each behind its words: " bench fill".
func walk(node *kong.Node, words string, f func(words string, node *kong.Node)) {
	f(words, node)
	for _, child := range node.Children {
		if !child.Hidden {
			walk(child, words+" "+child.Name, f)
		}
	}
}

// flagsOf returns the flags that a command takes.
func flagsOf(node *kong.Node) (flags []*kong.Flag) {
	for _, group := range node.AllFlags(true) {
		flags = append(flags, group...)
	}
	return flags
}

// spellings returns a flag as it is written.
func spellings(flag *kong.Flag) []string {
	all := []string{"--" + flag.Name}
	if flag.Short != 0 {
		all = append(all, "-"+string(flag.Short))
	}
	return all
}

// choices returns the values that there are, none if it may be others: those of
// kong's tag enum, or of the tag values where the command checks it by itself.
func choices(value *kong.Value) []string {
	if value.Enum != "" {
		return value.EnumSlice()
	}
	return split(value.Tag.Get("values"))
}

// isFile reports whether a value names a file.
func isFile(value *kong.Value) bool {
	return value.Name == "file" || value.Flag != nil && value.Flag.PlaceHolder == "FILE"
}

// summary is the first sentence of a help.
func summary(help string) string {
	sentence, _, _ := strings.Cut(help, ". ")
	sentence, _, _ = strings.Cut(sentence, ": ")
	sentence, _, _ = strings.Cut(sentence, ";")
	return strings.TrimSuffix(sentence, ".")
}

// bashCompletion returns the script for bash, which also the one of macOS can run.
func bashCompletion(root *kong.Node) string {
	var commands, valued, files []string // patterns of case
	var values, flags, words, arguments strings.Builder
	walk(root, "", func(at string, node *kong.Node) {
		if at != "" {
			commands = append(commands, bashQuote(at))
		}
		var all, children []string
		for _, flag := range flagsOf(node) {
			all = append(all, spellings(flag)...)
			if flag.IsBool() {
				continue
			}
			for _, spelling := range spellings(flag) {
				valued = append(valued, bashQuote(at+" "+spelling))
				if isFile(flag.Value) {
					files = append(files, bashQuote(at+" "+spelling))
				}
				if c := choices(flag.Value); c != nil {
					fmt.Fprintf(&values, "            %s) words='%s' ;;\n", bashQuote(at+" "+spelling), strings.Join(c, " "))
				}
			}
		}
		fmt.Fprintf(&flags, "            %s) words='%s' ;;\n", bashQuote(at), strings.Join(all, " "))
		for _, child := range node.Children {
			children = append(children, child.Name)
		}
		if children != nil {
			fmt.Fprintf(&words, "            %s) words='%s' ;;\n", bashQuote(at), strings.Join(children, " "))
		}
		for _, argument := range node.Positional {
			if isFile(argument) {
				fmt.Fprintf(&arguments, "            %s) files=1 ;;\n", bashQuote(at))
			} else {
				fmt.Fprintf(&arguments, "            %s) words='%s' ;;\n", bashQuote(at), strings.Join(choices(argument), " "))
			}
		}
	})
	return strings.NewReplacer(
		"COMMANDS", strings.Join(commands, "|"), "VALUED", strings.Join(valued, "|"), "FILES", strings.Join(files, "|"),
		"            VALUES\n", values.String(), "            FLAGS\n", flags.String(), "            WORDS\n", words.String()+arguments.String(),
	).Replace(bashScript)
}

func bashQuote(s string) string { return "'" + s + "'" }

const bashScript = `# Completes lyftr in bash. Made by: lyftr completion bash
_lyftr() {
    local cur=${COMP_WORDS[COMP_CWORD]} command='' flag='' words='' files='' word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $flag ]]; then # this is its value
            [[ $word == '=' ]] || flag=''
            continue
        fi
        case "$command $word" in
            COMMANDS) command="$command $word" ;;
            VALUED) flag=$word ;;
        esac
    done
    [[ $cur != '=' ]] || cur=''
    if [[ -n $flag ]]; then
        case "$command $flag" in
            VALUES
            FILES) files=1 ;;
        esac
    elif [[ $cur == -* ]]; then
        case "$command" in
            FLAGS
        esac
    else
        case "$command" in
            WORDS
        esac
    fi
    COMPREPLY=()
    while IFS= read -r word; do
        [[ -z $word ]] || COMPREPLY+=("$word")
    done < <(if [[ -n $files ]]; then compgen -f -- "$cur"; else compgen -W "$words" -- "$cur"; fi)
    [[ -z $files ]] || compopt -o filenames 2>/dev/null
}
complete -F _lyftr lyftr
`

// zshCompletion returns the script for zsh: a function for each command.
func zshCompletion(root *kong.Node) string {
	var b strings.Builder
	b.WriteString("#compdef lyftr\n# Completes lyftr in zsh. Made by: lyftr completion zsh\n")
	walk(root, "", func(at string, node *kong.Node) {
		fmt.Fprintf(&b, "\n%s() {\n", zshFunction(at))
		if len(node.Children) > 0 {
			b.WriteString("    local curcontext=\"$curcontext\" context state state_descr line\n    local -a commands\n    typeset -A opt_args\n")
		}
		b.WriteString("    _arguments -C")
		for _, flag := range flagsOf(node) {
			for _, spec := range zshFlag(flag) {
				b.WriteString(" \\\n        " + zshQuote(spec))
			}
		}
		for _, argument := range node.Positional {
			spec := ":"
			switch {
			case argument.IsCumulative():
				spec = "*:"
			case !argument.Required:
				spec = "::"
			}
			b.WriteString(" \\\n        " + zshQuote(spec+argument.Name+":"+zshAction(argument)))
		}
		if len(node.Children) > 0 {
			b.WriteString(" \\\n        ': :->command' \\\n        '*:: :->rest' && return\n    case $state in\n    command)\n        commands=(\n")
			for _, child := range node.Children {
				fmt.Fprintf(&b, "            %s\n", zshQuote(child.Name+":"+summary(child.Help)))
			}
			b.WriteString("        )\n        _describe -t commands command commands ;;\n    rest)\n        case $words[1] in\n")
			for _, child := range node.Children {
				fmt.Fprintf(&b, "        %s) %s ;;\n", child.Name, zshFunction(at+" "+child.Name))
			}
			b.WriteString("        esac ;;\n    esac")
		}
		b.WriteString("\n}\n")
	})
	b.WriteString("\nif [[ $funcstack[1] == _lyftr ]]; then _lyftr \"$@\"; else compdef _lyftr lyftr; fi\n")
	return b.String()
}

func zshFunction(at string) string { return "_lyftr" + strings.ReplaceAll(at, " ", "_") }

func zshQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// zshFlag returns what _arguments knows of a flag.
func zshFlag(flag *kong.Flag) (specs []string) {
	about := "[" + strings.NewReplacer("[", `\[`, "]", `\]`, `\`, `\\`).Replace(summary(flag.Help)) + "]"
	all := spellings(flag)
	for i, spelling := range all {
		spec := "(" + strings.Join(all, " ") + ")" + spelling
		if flag.IsCumulative() {
			spec = "*" + spelling
		}
		switch {
		case flag.IsBool():
			spec += about
		case i == 0:
			spec += "=" + about + ":" + strings.ReplaceAll(flag.FormatPlaceHolder(), ":", `\:`) + ":" + zshAction(flag.Value)
		default: // -o FILE and -oFILE
			spec += "+" + about + ":" + strings.ReplaceAll(flag.FormatPlaceHolder(), ":", `\:`) + ":" + zshAction(flag.Value)
		}
		specs = append(specs, spec)
	}
	return specs
}

func zshAction(value *kong.Value) string {
	switch c := choices(value); {
	case c != nil:
		return "(" + strings.Join(c, " ") + ")"
	case isFile(value):
		return "_files"
	}
	return " " // nothing that could be guessed
}

// fishCompletion returns the script for fish.
func fishCompletion(root *kong.Node) string {
	var commands, valued []string
	var b strings.Builder
	walk(root, "", func(at string, node *kong.Node) {
		if at != "" {
			commands = append(commands, fishQuote(at))
		}
		here := "complete -c lyftr -n " + fishQuote("__lyftr_at "+fishQuote(at))
		for _, child := range node.Children {
			fmt.Fprintf(&b, "%s -a %s -d %s\n", here, child.Name, fishQuote(summary(child.Help)))
		}
		for _, argument := range node.Positional {
			if isFile(argument) {
				b.WriteString(here + " -F\n")
			} else {
				fmt.Fprintf(&b, "%s -a %s\n", here, fishQuote(strings.Join(choices(argument), " ")))
			}
		}
		for _, flag := range flagsOf(node) {
			line := here + " -l " + flag.Name
			if flag.Short != 0 {
				line += " -s " + string(flag.Short)
			}
			if !flag.IsBool() {
				for _, spelling := range spellings(flag) {
					valued = append(valued, fishQuote(at+" "+spelling))
				}
				switch c := choices(flag.Value); {
				case c != nil:
					line += " -x -a " + fishQuote(strings.Join(c, " "))
				case isFile(flag.Value):
					line += " -r -F"
				default:
					line += " -x"
				}
			}
			fmt.Fprintf(&b, "%s -d %s\n", line, fishQuote(summary(flag.Help)))
		}
	})
	return strings.NewReplacer("COMMANDS", strings.Join(commands, " "), "VALUED", strings.Join(valued, " ")).Replace(fishScript) + b.String()
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

const fishScript = `# Completes lyftr in fish. Made by: lyftr completion fish
function __lyftr_at
    set -l command ''
    set -l value 0
    set -l words (commandline -opc)
    set -e words[1]
    for word in $words
        if test $value = 1
            set value 0
            continue
        end
        switch "$command $word"
            case COMMANDS
                set command "$command $word"
            case VALUED
                set value 1
        end
    end
    test "$command" = "$argv[1]"
end
complete -c lyftr -f
`
