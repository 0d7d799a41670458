package postgres

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"lyftr/internal/message"
)

// searchForm returns what a text is searched by: message.Fold's form, in which
// every character is replaced by one that lower() leaves as it is. Two texts
// have the same search form exactly if they have the same fold.
//
// pg_trgm lowers what it indexes by the rules of the database's collation. With
// some collations these depend on the neighbours: a capital sigma becomes
// another letter at the end of a word than within it, so that a part of a text
// would be lowered in another way than the whole. What is lower case already
// stays the same everywhere.
func searchForm(s string) string {
	return strings.Map(searchRune, message.Fold(s))
}

// searchRune returns the smallest character of r's case orbit that is its own
// lower case, or the smallest if there is none.
func searchRune(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least, lower := r, rune(-1)
	for f := r; ; {
		least = min(least, f)
		if unicode.ToLower(f) == f && (lower < 0 || f < lower) {
			lower = f
		}
		if f = unicode.SimpleFold(f); f == r {
			break
		}
	}
	if lower >= 0 {
		return lower
	}
	return least
}

// pattern returns the LIKE pattern of texts that contain s.
func pattern(s string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(searchForm(s)) + "%"
}
