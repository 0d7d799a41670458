package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"नमस्ते 👋 漢字 <b>\\n":           "नमस्ते 👋 漢字 <b>\\n",
		"a\r\nb\tc":                    `a\r\nb\tc`,
		"\x1b[2J\x1b]0;title\x07":      `\u001b[2J\u001b]0;title\u0007`,
		"\u009b31m\x7f":                `\u009b31m\u007f`,
		"\u202eevil\u2066\u200f":       `\u202eevil\u2066\u200f`,
		"\u2028\ufeff\u00ad\U000e0041": `\u2028\ufeff\u00ad\udb40\udc41`,
		"👨\u200d👩\u200d👧 می\u200cخواهم": "👨\u200d👩\u200d👧 می\u200cخواهم",
		"a\xffb": "a\ufffdb",
		"z" + strings.Repeat("\u0301", 10) + "y\u0301": "z" + strings.Repeat("\u0301", 8) + `\u0301\u0301` + "y\u0301",
	} {
		if got := harmless(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestHarmlessJSON(t *testing.T) {
	data := []byte(`{"text":"\u001b ` + "\u202e\u009b\U000e0041" + ` é\""}`)
	var before, after any
	shown := harmlessJSON(data)
	if err := json.Unmarshal(data, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(shown, &after); err != nil || before.(map[string]any)["text"] != after.(map[string]any)["text"] {
		t.Errorf("%s is not %s: %v", shown, data, err)
	}
	if want := `{"text":"\u001b \u202e\u009b\udb40\udc41 é\""}`; string(shown) != want {
		t.Errorf("got %s, want %s", shown, want)
	}
}

func TestColumns(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "漢字": 4, "한": 2, "ＡＢ": 4, "ｱ": 1, "👋": 2, "👋🏽": 4, "❤\ufe0f": 2, "नम": 2, "→": 1, "🫩": 2,
	} {
		if got := columns(text); got != want {
			t.Errorf("%q takes %d columns, want %d", text, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		text string
		most int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"abc", 1, "…"}, {"abc", 0, ""}, {"abc", -1, ""}, {"", 0, ""},
		{"漢字", 4, "漢字"}, {"漢字", 3, "漢…"}, {"漢字", 2, "…"}, {"a漢字", 3, "a…"}, {"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
	} {
		if got := fit(c.text, c.most); got != c.want {
			t.Errorf("%q in %d columns: got %q, want %q", c.text, c.most, got, c.want)
		}
	}
}

func TestTailLine(t *testing.T) {
	text, long := "hello\nworld", strings.Repeat("x", 300)
	first := &feedMessage{From: "+919876543210", To: "+14155550100", TS: "2025-01-15T10:00:00.5+05:30", Text: &text, Source: "native"}
	for _, c := range []struct {
		name  string
		lines tailLines
		width int
		m     *feedMessage
		want  string
	}{
		{"whole", tailLines{}, 0, first, "2025-01-15T04:30:00Z native   +919876543210 → +14155550100   hello\\nworld\n"},
		{"narrow", tailLines{}, 60, first, "04:30:00Z native   +919876543210 → +14155550100   hello\\nwo…\n"},
		{"too narrow", tailLines{}, 25, first, "04:30:00Z native   +9198…\n"},
		{"colours", tailLines{color: true}, 0, first,
			"\x1b[2m2025-01-15T04:30:00Z\x1b[0m\x1b[36m native  \x1b[0m\x1b[32m +919876543210\x1b[0m\x1b[2m → \x1b[0m+14155550100   hello\\nworld\n"},
		{"no text", tailLines{}, 0, &feedMessage{From: "US.1", TS: "x\x1b", Source: "whatsapp"}, "x\\u001b whatsapp US.1          →                (no text)\n"},
		{"long names", tailLines{}, 0, &feedMessage{From: long, To: "\x1b" + long, TS: "2025-01-15T10:00:00Z", Text: new(""), Source: long},
			"2025-01-15T10:00:00Z xxxxxxxxxxxxxxxxxxxxxxx… xxxxxxxxxxxxxxxxxxxxxxx… → \\u001bxxxxxxxxxxxxxxxxx…  \n"},
	} {
		c.lines.width = func() int { return c.width }
		if got := string(c.lines.line(c.m)); got != c.want {
			t.Errorf("%s: got\n%q, want\n%q", c.name, got, c.want)
		}
	}
}

func TestTailLineLocal(t *testing.T) {
	l := tailLines{local: true, width: func() int { return 0 }}
	written, _, _ := strings.Cut(string(l.line(&feedMessage{TS: "2025-01-15T10:00:00Z"})), " ")
	at, err := time.Parse(time.RFC3339, written)
	if want := time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC); err != nil || !at.Equal(want) || at.Local().Format(time.RFC3339) != written {
		t.Errorf("got %s, %v", written, err)
	}
}

// Whatever a stranger sends is one line that fits the terminal and cannot do
// anything to it.
func TestTailLineAny(t *testing.T) {
	str := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("\x1b\n\r\t\x00\x7f\u009b\u202e\u2066\u2028\u200d\u0301漢👋❤\ufe0fa"))))
	rapid.Check(t, func(t *rapid.T) {
		text := str.Draw(t, "text")
		width := rapid.IntRange(0, 200).Draw(t, "width")
		l := tailLines{width: func() int { return width }}
		line := string(l.line(&feedMessage{From: str.Draw(t, "from"), To: str.Draw(t, "to"), TS: str.Draw(t, "ts"), Text: &text, Source: str.Draw(t, "source")}))
		body, ended := strings.CutSuffix(line, "\n")
		if !ended || width > 0 && columns(body) > width {
			t.Fatalf("%q takes %d columns of %d", line, columns(body), width)
		}
		for _, r := range body {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != joiner && r != nonJoiner || r == '\u2028' {
				t.Fatalf("%U stands in %q", r, line)
			}
		}
	})
}
