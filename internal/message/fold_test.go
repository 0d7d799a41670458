package message_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"lyftr/internal/message"
)

func TestFold(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"ASCII", "Hello", "hELLO", true},
		{"ASCII differs", "Hello", "Hallo", false},
		{"not letters behind them", "a[", "a{", false},
		{"not letters before them", "a@", "a`", false},
		{"accents", "ÉCOLE", "école", true},
		{"accent and none", "école", "ecole", false},
		{"not normalised", "\u00e9", "e\u0301", false},
		{"Kelvin sign", "\u212a", "k", true},
		{"long s", "ſ", "S", true},
		{"Angstrom sign", "\u212b", "å", true},
		{"Ohm sign", "\u2126", "ω", true},
		{"micro sign", "\u00b5", "Μ", true},
		{"sigma final", "ς", "σ", true},
		{"sigma capital and final", "Σ", "ς", true},
		{"Greek word", "ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς", true},
		{"dotted capital I", "İ", "i", false},
		{"dotted capital I and I", "İ", "I", false},
		{"dotless i", "ı", "i", false},
		{"dotless i and I", "ı", "I", false},
		{"I and i", "I", "i", true},
		{"sharp s", "ẞ", "ß", true},
		{"sharp s and ss", "ß", "ss", false},
		{"ligature", "ﬁ", "fi", false},
		{"Cyrillic", "ПРИВЕТ", "привет", true},
		{"Armenian", "ԲԱՐԵՎ", "բարեվ", true},
		{"Georgian", "ᲒᲐᲛᲐᲠᲯᲝᲑᲐ", "გამარჯობა", true},
		{"Cherokee", "ᏣᎳᎩ", "ꮳꮃꭹ", true},
		{"three forms of DŽ", "Ǆ", "ǅ", true},
		{"astral", "𐐀", "𐐨", true},
		{"no case", "नमस्ते 👋 你好", "नमस्ते 👋 你好", true},
		{"empty", "", "", true},
		{"not trimmed", "a", "a ", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := message.Fold(c.a) == message.Fold(c.b); got != c.same {
				t.Errorf("Fold(%q) = %q, Fold(%q) = %q", c.a, message.Fold(c.a), c.b, message.Fold(c.b))
			}
		})
	}
}

// Every character there is: its fold is a member of its orbit, the same for
// all of the orbit, and its own fold.
func TestFoldEveryCharacter(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		folded := message.Fold(string(r))
		inOrbit := folded == string(r)
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			inOrbit = inOrbit || folded == string(f)
			if other := message.Fold(string(f)); other != folded {
				t.Fatalf("%U folds to %q, its other case %U to %q", r, folded, f, other)
			}
		}
		if !inOrbit {
			t.Fatalf("%U folds to %q, which is another character", r, folded)
		}
		if again := message.Fold(folded); again != folded {
			t.Fatalf("%U folds to %q and that to %q", r, folded, again)
		}
	}
}

// tricky draws strings whose characters have many or odd cases, beside
// arbitrary ones.
func tricky() *rapid.Generator[string] {
	odd := rapid.SampledFrom([]rune("aAkK\u212asSſßẞσςΣiIıİ\u00e9\u00c9e\u0301\u00b5μΜǄǅǆ𐐀𐐨θϑΘϴ[{@` 👋\uFFFD"))
	return rapid.StringOfN(rapid.OneOf(odd, odd, odd, rapid.Rune()), 0, 8, -1)
}

// recased draws s with each character in some case of its orbit.
func recased(s string) *rapid.Generator[string] {
	return rapid.Map(rapid.SliceOfN(rapid.IntRange(0, 3), 1, 8), func(turns []int) string {
		i := 0
		return strings.Map(func(r rune) rune {
			for range turns[i%len(turns)] {
				r = unicode.SimpleFold(r)
			}
			i++
			return r
		}, s)
	})
}

func TestFoldIsEqualFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := tricky().Draw(t, "a")
		b := rapid.OneOf(recased(a), tricky()).Draw(t, "b")
		if got, want := message.Fold(a) == message.Fold(b), strings.EqualFold(a, b); got != want {
			t.Fatalf("folds of %q and %q equal: %v, strings.EqualFold: %v", a, b, got, want)
		}
		if f := message.Fold(a); message.Fold(f) != f || !utf8.ValidString(f) {
			t.Fatalf("fold %q of %q is not stable text", f, a)
		}
	})
}

func TestContainsFold(t *testing.T) {
	for _, c := range []struct {
		name, text, needle string
		want               bool
	}{
		{"same case", "Hello World", "World", true},
		{"other case", "Hello World", "wORLD", true},
		{"absent", "Hello", "World", false},
		{"empty needle", "Hello", "", true},
		{"empty text", "", "a", false},
		{"both empty", "", "", true},
		{"longer than the text", "Hell", "Hello", false},
		{"accents", "À l'ÉCOLE", "école", true},
		{"final sigma within", "ΟΔΥΣΣΕΥΣ", "ευς", true},
		{"Kelvin sign", "300 \u212aelvin", "kelvin", true},
		{"needle grows in bytes", "ſpecial", "SPECIAL", true},
		{"percent stands for itself", "100 percent", "100%", false},
		{"percent is found", "100% sure", "0% S", true},
		{"underscore stands for itself", "abc", "a_c", false},
		{"backslash stands for itself", `a\b`, `\`, true},
		{"star stands for itself", "abc", "a*c", false},
		{"dotless i", "ISTANBUL", "ıstanbul", false},
		{"Hindi", "नमस्ते 👋", "स्ते 👋", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := message.ContainsFold(c.text, message.Fold(c.needle)); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The search is the same as to compare the needle with every part of the text.
func TestContainsFoldIsEqualFold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := tricky().Draw(t, "text")
		chars := []rune(text)
		from := rapid.IntRange(0, len(chars)).Draw(t, "from")
		to := rapid.IntRange(from, len(chars)).Draw(t, "to")
		needle := rapid.OneOf(recased(string(chars[from:to])), tricky()).Draw(t, "needle")
		want := false
		for i := range len(chars) + 1 {
			for j := i; j <= len(chars); j++ {
				want = want || strings.EqualFold(string(chars[i:j]), needle)
			}
		}
		if got := message.ContainsFold(text, message.Fold(needle)); got != want {
			t.Fatalf("%q in %q: got %v, want %v", needle, text, got, want)
		}
	})
}
