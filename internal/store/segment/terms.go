package segment

import (
	"unicode/utf8"
)

// Kinds of terms: the first byte of each. No term holds a byte 0, which
// separates them in the dictionary. The text is folded, so no letter of it can
// be taken for one of these.
const (
	termPair      = 'b' // two characters of a script without spaces that stand side by side
	termFrom      = 'f' // a sender, by number
	termLongPair  = 'l' // two characters side by side in a run that is too long to be a word
	termLongChar  = 'm' // a character of such a run
	termRecipient = 'r' // by number
	termChar      = 'u' // a character that is no part of a word
	termEdge      = 'v' // the last two characters of a run, the one character between it and the next, and that one's first
	termWord      = 'w' // a word: a run of characters of class word
	termGram      = 'x' // three characters side by side in words, or a shorter word; its list is of words, not of messages
)

// maxWordLength is the longest run that is kept as one word, in characters.
const maxWordLength = 32

// class is what a character is for the index. It depends on the character
// alone; that, and nothing about languages, is what answers rest on. So a wrong
// guess costs speed, not truth.
type class int

const (
	classOther  class = iota // spaces, punctuation, symbols: each by itself
	classWord                // letters and digits of scripts that put spaces between words, and what holds words together
	classDense               // characters of scripts that do not: each by itself, and in pairs
	classUnseen              // U+0000, which nobody can search for
)

// denseRanges are the blocks of scripts without spaces between words, wordRanges
// those of the others, as first and last characters in order.
// Source: https://www.unicode.org/Public/UCD/latest/ucd/Blocks.txt
var denseRanges = [...][2]rune{
	{0x0E00, 0x109F},   // Thai, Lao, Tibetan, Myanmar
	{0x1780, 0x17FF},   // Khmer
	{0x2E80, 0x2FDF},   // radicals
	{0x3005, 0x3007},   // iteration mark, zero
	{0x3021, 0x3029},   // Hangzhou numerals
	{0x3040, 0x312F},   // Hiragana, Katakana, Bopomofo
	{0x31A0, 0x31FF},   // their extensions
	{0x3400, 0x4DBF},   // Han
	{0x4E00, 0x9FFF},   // Han
	{0xF900, 0xFAFF},   // Han, compatibility
	{0xFF66, 0xFF9F},   // Katakana, halfwidth
	{0x20000, 0x3FFFF}, // Han
}

var wordRanges = [...][2]rune{
	{0x00AA, 0x00AA},
	{0x00B5, 0x00B5},
	{0x00BA, 0x00BA},
	{0x00C0, 0x060B}, // Latin, Greek, Cyrillic, Hebrew and more
	{0x060D, 0x061A}, // Arabic without its comma, semicolon and question mark
	{0x061C, 0x061E},
	{0x0620, 0x06D3},
	{0x06D5, 0x0963}, // up to Devanagari's full stop
	{0x0966, 0x1FFF},
	{0x200C, 0x200D}, // joiners
	{0x2010, 0x2011}, // hyphens
	{0x2018, 0x2019}, // apostrophes
	{0x2C00, 0x2DFF},
	{0xA000, 0xD7FF}, // Hangul among them
	{0xFB00, 0xFDFF},
	{0xFE70, 0xFEFE},
	{0xFF10, 0xFF19},
	{0xFF21, 0xFF3A},
	{0x10000, 0x1EFFF},
}

func classOf(r rune) class {
	if r < utf8.RuneSelf {
		switch {
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9', 'a' <= r && r <= 'z', r == '\'', r == '-', r == '_':
			return classWord
		case r == 0:
			return classUnseen
		}
		return classOther
	}
	for i := range denseRanges {
		if r <= denseRanges[i][1] {
			if r >= denseRanges[i][0] {
				return classDense
			}
			break
		}
	}
	for i := range wordRanges {
		if r <= wordRanges[i][1] {
			if r >= wordRanges[i][0] {
				return classWord
			}
			break
		}
	}
	return classOther
}

// eachTerm calls yield for the terms of a folded text, some more than once. The
// bytes are only good until yield returns.
func eachTerm(text string, buffer []byte, yield func(term []byte)) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch classOf(r) {
		case classWord:
			length, end := 1, i+size
			for end < len(text) {
				next, n := utf8.DecodeRuneInString(text[end:])
				if classOf(next) != classWord {
					break
				}
				length, end = length+1, end+n
			}
			if length <= maxWordLength {
				yield(append(append(buffer[:0], termWord), text[i:end]...))
			} else {
				eachOfLongRun(text[i:end], buffer, yield)
			}
			if edge := edgeAt(text, i, end); edge != "" {
				yield(append(append(buffer[:0], termEdge), edge...))
			}
			i = end
			continue
		case classDense:
			yield(append(append(buffer[:0], termChar), text[i:i+size]...))
			if next, n := utf8.DecodeRuneInString(text[i+size:]); n > 0 && classOf(next) == classDense {
				yield(append(append(buffer[:0], termPair), text[i:i+size+n]...))
			}
		case classOther:
			yield(append(append(buffer[:0], termChar), text[i:i+size]...))
		case classUnseen:
		}
		i += size
	}
}

// edgeAt returns the end of the run of class word that begins and ends at these
// places, the character behind it, and the first one of the next run. It is
// empty if the next run does not follow so.
func edgeAt(text string, begin, end int) string {
	between, n := utf8.DecodeRuneInString(text[end:])
	if n == 0 || classOf(between) != classOther {
		return ""
	}
	next, more := utf8.DecodeRuneInString(text[end+n:])
	if more == 0 || classOf(next) != classWord {
		return ""
	}
	from := end
	for range 2 {
		if from > begin {
			_, k := utf8.DecodeLastRuneInString(text[begin:from])
			from -= k
		}
	}
	return text[from : end+n+more]
}

func eachOfLongRun(run string, buffer []byte, yield func(term []byte)) {
	last := 0
	for i, r := range run {
		end := i + utf8.RuneLen(r)
		yield(append(append(buffer[:0], termLongChar), run[i:end]...))
		if i > 0 {
			yield(append(append(buffer[:0], termLongPair), run[last:end]...))
		}
		last = i
	}
}

// trigram is three characters side by side, or a word of one or two with zeros
// behind: 21 bits each, the first one highest, so that the order of the numbers is
// that of the terms.
type trigram uint64

const runeBits = 21

// term is what stands in the dictionary.
func (t trigram) term() string {
	b := append(make([]byte, 0, 1+3*utf8.UTFMax), termGram)
	for shift := 2 * runeBits; shift >= 0; shift -= runeBits {
		if r := rune(t >> shift & (1<<runeBits - 1)); r != 0 {
			b = utf8.AppendRune(b, r)
		}
	}
	return string(b)
}

// eachGram calls yield for every three characters side by side in a word, some
// more than once, or for the word if it is shorter.
func eachGram(word string, yield func(trigram)) {
	var three trigram
	n := 0
	for _, r := range word {
		three = (three<<runeBits | trigram(r)) & (1<<(3*runeBits) - 1)
		if n++; n >= 3 {
			yield(three)
		}
	}
	if n < 3 {
		yield(three << (runeBits * (3 - n)))
	}
}

// numbered is the term of a sender's or recipient's number.
func numbered(kind byte, number uint32) string {
	return string(appendNumbered(nil, kind, number))
}

func appendNumbered(to []byte, kind byte, number uint32) []byte {
	// Seven bits a byte, the eighth set so that no byte is 0.
	return append(to, kind, 0x80|byte(number>>28), 0x80|byte(number>>21), 0x80|byte(number>>14), 0x80|byte(number>>7), 0x80|byte(number))
}
