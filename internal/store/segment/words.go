package segment

import (
	"bytes"
	"unicode/utf8"
)

// words returns the messages that have a word which contains a part.
func (f *finder) words(c clause) (Set, error) {
	set := f.set()
	length := utf8.RuneCountInString(c.word)
	if length > maxWordLength {
		return set, nil
	}
	if c.begins && c.ends {
		return f.term(string(termWord) + c.word)
	}
	fits := func(word []byte) bool {
		if c.ends {
			return bytes.HasSuffix(word, []byte(c.word))
		}
		return bytes.Contains(word, []byte(c.word))
	}
	switch {
	case c.begins:
		return set, f.wordsFrom(c.word, set)
	case length >= 3:
		return set, f.wordsWithGrams(c.word, length == 3 && !c.ends, fits, set)
	}
	// Where it is the end of a word, more is found than fits; the texts tell.
	return set, f.wordsWithShort(c.word, set)
}

// wordsFrom adds the messages of the words that begin with a part, which stand
// side by side.
func (f *finder) wordsFrom(part string, set Set) error {
	prefix := string(termWord) + part
	for i := max(0, f.partOf(prefix)); i < len(f.s.dictionary); i++ {
		data, err := f.dictionary(i)
		if err != nil {
			return err
		}
		first, last := -1, -1
		ordinal := f.s.dictionary[i].ordinal
		behind := false
		for term := range eachOfPart(data) {
			if bytes.HasPrefix(term, []byte(prefix)) {
				if first < 0 {
					first = ordinal
				}
				last = ordinal
			} else if string(term) > prefix {
				behind = true
				break
			}
			ordinal++
		}
		for o := first; first >= 0 && o <= last; o++ {
			if err := f.add(set, o); err != nil {
				return err
			}
		}
		if behind {
			break
		}
	}
	return nil
}

// eachOfPart goes through the terms of a part of the dictionary.
func eachOfPart(data []byte) func(yield func(term []byte) bool) {
	return func(yield func(term []byte) bool) {
		for data = data[min(1, len(data)):]; len(data) > 0; {
			end := bytes.IndexByte(data, 0)
			if end < 0 || !yield(data[:end]) {
				return
			}
			data = data[end+1:]
		}
	}
}

// wordsWithGrams adds the messages of the words that have every three
// characters of a part, and fit unless that says it all.
func (f *finder) wordsWithGrams(part string, enough bool, fits func(word []byte) bool, set Set) error {
	var words []int
	var err error
	first := true
	eachGram(part, func(three trigram) {
		if err != nil || !first && len(words) == 0 {
			return
		}
		var list []byte
		if list, err = f.list(three.term()); err != nil {
			return
		}
		words, first = intersect(words, list, first), false
	})
	if err != nil {
		return err
	}
	if !enough {
		if words, err = f.fitting(words, fits); err != nil {
			return err
		}
	}
	for _, number := range words {
		if err := f.add(set, f.s.firstWord+number); err != nil {
			return err
		}
	}
	return nil
}

// intersect keeps those of the words, in order, that are in a list; all says
// that it takes the whole list.
func intersect(words []int, list []byte, all bool) []int {
	d := decoder{b: list}
	number, kept := -1, words[:0]
	for d.left() > 0 && (all || len(words) > 0) {
		number += int(d.uvarint())
		if all {
			kept = append(kept, number)
			continue
		}
		for len(words) > 0 && words[0] < number {
			words = words[1:]
		}
		if len(words) > 0 && words[0] == number {
			kept = append(kept, number)
		}
	}
	return kept
}

// fitting keeps the words, in order of their numbers, that fit.
func (f *finder) fitting(words []int, fits func(word []byte) bool) ([]int, error) {
	kept := words[:0]
	for len(words) > 0 {
		i := f.partAt(f.s.firstWord + words[0])
		if i < 0 {
			return nil, ErrDamaged
		}
		data, err := f.dictionary(i)
		if err != nil {
			return nil, err
		}
		number := f.s.dictionary[i].ordinal - f.s.firstWord
		before := len(words)
		for term := range eachOfPart(data) {
			if len(words) == 0 {
				break
			}
			if words[0] == number {
				if len(term) > 0 && term[0] == termWord && fits(term[1:]) {
					kept = append(kept, number)
				}
				words = words[1:]
			}
			number++
		}
		if len(words) == before {
			return nil, ErrDamaged // it does not have the word
		}
	}
	return kept, nil
}

// wordsWithShort adds the messages of the words that have a part of one or two
// characters: some gram of such a word has it.
func (f *finder) wordsWithShort(part string, set Set) error {
	var grams []int // their ordinals
	for i := max(0, f.partOf(string(termGram))); i < len(f.s.dictionary); i++ {
		data, err := f.dictionary(i)
		if err != nil {
			return err
		}
		ordinal := f.s.dictionary[i].ordinal
		for term := range eachOfPart(data) {
			if len(term) > 0 && term[0] == termGram && bytes.Contains(term[1:], []byte(part)) {
				grams = append(grams, ordinal)
			}
			ordinal++
		}
	}
	has := make([]bool, max(0, f.s.terms-f.s.firstWord)) // by the word's number
	for _, o := range grams {
		list, err := f.listAt(o)
		if err != nil {
			return err
		}
		number := -1
		for d := (&decoder{b: list}); d.left() > 0; {
			number += int(d.uvarint())
			if d.failed || number < 0 || number >= len(has) {
				return ErrDamaged
			}
			has[number] = true
		}
	}
	for number, ok := range has {
		if !ok {
			continue
		}
		if err := f.add(set, f.s.firstWord+number); err != nil {
			return err
		}
	}
	return nil
}
