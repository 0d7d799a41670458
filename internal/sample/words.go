package sample

import (
	"math"
	"math/rand/v2"
)

// Frequency is how many of all messages have a word in them.
type Frequency int

// The frequencies of words.
const (
	Rare   Frequency = iota // two to fifty of ten million
	Middle                  // about one in a thousand
	Common                  // about one in a hundred
	Tenth                   // about one in ten; Latin has such words only
)

// Words gives parts of the messages' texts, for questions whose answers are of a
// known size. It may be used by many goroutines.
type Words struct{ vocabularies []*vocabulary }

// Words returns what the generator's texts are made of.
func (g *Generator) Words() *Words { return &Words{g.vocabularies} }

// band returns the shares of all messages that a frequency stands for.
func (f Frequency) band() (least, most float64) {
	switch f {
	case Rare:
		return 2e-7, 5e-6
	case Middle:
		return 6e-4, 1.6e-3
	case Common:
		return 6e-3, 1.6e-2
	default:
		return 0.07, 0.14
	}
}

// Word returns a word of a script that so many messages have in them, as a word
// or within one; if there is none, one that comes nearest.
func (w *Words) Word(source rand.Source, s Script, f Frequency) string {
	const attempts = 10_000
	r := &random{state: source.Uint64()}
	least, most := f.band()
	nearest, distance := "", math.Inf(1)
	for range attempts {
		v := w.vocabularyOf(r, s)
		// As many of rank 1 to 10 as of 1000 to 10 000.
		rank := int(math.Pow(float64(v.size), r.unit())) - 1
		if f == Rare {
			rank = v.size - 1 - r.below(v.size/2)
		}
		// Most candidates need no look at all the words.
		if own := v.language.share * v.share[rank] * float64(v.words); own > most || own < least/20 {
			continue
		}
		share := w.Share(v.word(rank))
		if d := max(least/share, share/most); d < distance {
			nearest, distance = v.word(rank), d
		}
		if distance <= 1 {
			break
		}
	}
	return nearest
}

// Share returns the share of all messages that have the part in a word of their
// text. It does not know of what comes about between two words.
func (w *Words) Share(part string) float64 {
	share := 0.0
	for _, v := range w.vocabularies {
		share += v.language.share * v.shareOf(part)
	}
	return share * (outOf - noText - emptyText - onlyEmoji) / outOf
}

// Characters returns n characters that stand side by side in some word, the
// frequent ones more often.
func (w *Words) Characters(source rand.Source, s Script, n int) string {
	r := &random{state: source.Uint64()}
	for {
		v := w.vocabularyOf(r, s)
		word := []rune(v.word(v.dice.throw(r.Uint64())))
		if len(word) >= n {
			from := r.below(len(word) - n + 1)
			return string(word[from : from+n])
		}
	}
}

// Phrase returns two English words with a space between them: a frequent one
// and one that some hundred messages in ten million have behind it.
func (w *Words) Phrase(source rand.Source) string {
	r := &random{state: source.Uint64()}
	v := w.vocabularies[0]
	return v.word(r.below(40)) + " " + v.word(40+r.below(1000))
}

// vocabularyOf draws one of the script's languages, by their shares.
func (w *Words) vocabularyOf(r *random, s Script) *vocabulary {
	sum := 0.0
	for _, v := range w.vocabularies {
		if v.script == s {
			sum += v.language.share
		}
	}
	u := r.unit() * sum
	var last *vocabulary
	for _, v := range w.vocabularies {
		if v.script != s {
			continue
		}
		last = v
		if u -= v.language.share; u < 0 {
			break
		}
	}
	return last
}
