package message

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Fold returns s with every character replaced by one representative of its
// case orbit under Unicode simple case folding, so that two strings differ
// only in case exactly if their folds are equal. It neither trims nor
// normalises: é as one character and as e with an accent stay different.
func Fold(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'a' <= c && c <= 'z' {
			return strings.Map(foldRune, s)
		}
	}
	return s
}

// foldRune returns the smallest character of r's orbit. The orbits are those of
// unicode.SimpleFold, e.g. K → k → K (Kelvin sign) → K.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// ContainsFold reports whether text contains a part that equals the folded
// needle but for case. needle must come from Fold.
func ContainsFold(text, needle string) bool {
	return strings.Contains(Fold(text), needle)
}
