package sample

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// vocabulary is the words of one language in order of how often they are used.
type vocabulary struct {
	language
	text    string    // all words, each with a line break behind it
	starts  []uint32  // where each word begins, and the end of text
	share   []float64 // of all words of the language that are written
	dice    dice
	lengths [256]uint8 // how many words a text has, at equal steps of chance
}

// Word frequencies fall as 1/rank among the words that everybody knows, and as
// its square beyond: the two regimes that Ferrer i Cancho and Solé describe
// (Journal of Quantitative Linguistics 8, 2001). The shift at the front is
// Mandelbrot's.
const (
	zipfShift  = 2.7
	coreOfRank = 8000
)

// zipf returns the weight of the word of a rank, the first being 0.
func zipf(rank int) float64 {
	r := float64(rank + 1)
	if r <= coreOfRank {
		return 1 / (r + zipfShift)
	}
	return 1 / (coreOfRank + zipfShift) * (coreOfRank / r) * (coreOfRank / r)
}

// The number of words in a text has a log-normal distribution, cut off at
// maxWords.
const (
	maxWords     = 40
	lengthsSigma = 0.75
)

// newVocabulary makes the words of a language: the frequent ones as they are,
// the others from its syllables, the longer the rarer.
func newVocabulary(seed int, l language) *vocabulary {
	v := &vocabulary{language: l, starts: make([]uint32, 0, l.size+1)}
	var text strings.Builder
	text.Grow(l.size * 12)
	seen := make(map[string]struct{}, l.size)
	add := func(word string) {
		if _, there := seen[word]; there {
			return
		}
		seen[word] = struct{}{}
		v.starts = append(v.starts, uint32(text.Len()))
		text.WriteString(word)
		text.WriteByte('\n')
	}
	for word := range strings.FieldsSeq(l.head) {
		add(word)
	}
	// The words do not depend on the seed of the messages, so that whoever asks
	// needs to know none.
	r := &random{state: mix(uint64(seed))}
	var word []byte
	for len(v.starts) < l.size {
		syllables := l.shortest
		if rank := len(v.starts); rank > 1000 && r.below(2) == 0 || rank > 10_000 {
			syllables++
		}
		if r.below(4) == 0 {
			syllables++
		}
		word = word[:0]
		for i := range syllables {
			for part, sounds := range l.syllable {
				// Only the last syllable has its end: that keeps words short.
				if len(sounds) > 0 && (part < 2 || i == syllables-1) {
					u := r.unit() // squared: those in front are more frequent
					word = append(word, sounds[int(u*u*float64(len(sounds)))]...)
				}
			}
		}
		add(string(word))
	}
	v.text = text.String()
	v.starts = append(v.starts, uint32(len(v.text)))
	weights := make([]float64, l.size)
	sum := 0.0
	for i := range weights {
		weights[i] = zipf(i)
		sum += weights[i]
	}
	v.dice = newDice(weights)
	for i := range weights {
		weights[i] /= sum
	}
	v.share = weights
	for i := range v.lengths {
		chance := (float64(i) + 0.5) / float64(len(v.lengths))
		n := float64(l.words) * math.Exp(lengthsSigma*math.Sqrt2*math.Erfinv(2*chance-1))
		v.lengths[i] = uint8(min(max(math.Round(n), 1), maxWords))
	}
	return v
}

// word returns the word of a rank, the first being 0.
func (v *vocabulary) word(rank int) string {
	return v.text[v.starts[rank] : v.starts[rank+1]-1]
}

// shareOf returns the share of the texts in this language that have a word with
// the part in it.
func (v *vocabulary) shareOf(part string) float64 {
	p := 0.0
	for at := 0; at < len(v.text); {
		i := strings.Index(v.text[at:], part)
		if i < 0 {
			break
		}
		rank, exact := slices.BinarySearch(v.starts, uint32(at+i))
		if !exact {
			rank--
		}
		p += v.share[rank]
		at = int(v.starts[rank+1])
	}
	without := 0.0
	for _, n := range v.lengths {
		without += math.Pow(1-p, float64(n))
	}
	return 1 - without/float64(len(v.lengths))
}

// characters returns the characters in a range of Unicode as strings, every
// step'th.
func characters(first, last rune, step int) []string {
	var all []string
	for c := first; c <= last; c += rune(step) {
		all = append(all, string(c))
	}
	return all
}

// split returns the characters of s as strings.
func split(s string) []string {
	all := make([]string, 0, utf8.RuneCountInString(s))
	for _, c := range s {
		all = append(all, string(c))
	}
	return all
}
