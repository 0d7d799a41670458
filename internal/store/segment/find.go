package segment

import (
	"bytes"
	"sort"
	"unicode/utf8"
)

// Condition is what messages are looked for by. It is made once and asked of
// many segments.
type Condition struct {
	from, to string // terms, empty for any
	needle   *needle
}

// NewCondition returns the condition that all that is given must hold: the
// numbers of sender and recipient, and a folded text to be contained.
func NewCondition(from, to *uint32, text string) *Condition {
	c := &Condition{}
	if from != nil {
		c.from = numbered(termFrom, *from)
	}
	if to != nil {
		c.to = numbered(termRecipient, *to)
	}
	if text != "" {
		c.needle = parseNeedle(text)
	}
	return c
}

// fewEnough is a number of messages whose texts are read sooner than the words
// of a segment.
const fewEnough = 256

// Find returns the messages of the segment that meet the condition, and apart
// from them those of which only their text can tell.
func (s *Segment) Find(fetch Fetch, c *Condition) (sure, maybe Set, err error) {
	f := &finder{s: s, fetch: fetch, part: -1}
	var both Set // what sender and recipient leave, nil for all
	for _, term := range []string{c.from, c.to} {
		if term == "" {
			continue
		}
		set, err := f.term(term)
		if err != nil {
			return nil, nil, err
		}
		if both != nil {
			set.and(both)
		}
		if set.Empty() {
			return nil, nil, nil
		}
		both = set
	}
	if c.needle == nil {
		return both, nil, nil
	}
	if both != nil && both.len() <= fewEnough {
		return nil, both, nil
	}
	if sure, maybe, err = f.needle(c.needle); err != nil {
		return nil, nil, err
	}
	if both != nil {
		sure.and(both)
		maybe.and(both)
	}
	return sure, maybe, nil
}

// A needle is what a folded text has to contain, as clauses that every text
// with the needle meets. A needle within one word, or of one or two characters
// outside of words, is found without looking at a text; for any other the
// clauses leave candidates.
type needle struct {
	clauses []clause
	exact   bool // the only clause says it all
}

// clause is a term, or a word of which a part is given.
type clause struct {
	term string
	word string
	// begins and ends say that the word begins or ends with the part.
	begins, ends bool
}

// parseNeedle cuts a folded text into clauses.
func parseNeedle(text string) *needle {
	n := &needle{}
	var words []clause
	pieces := 0    // words, or characters outside of them
	edged := false // an edge ends where the next word begins
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		pieces++
		switch classOf(r) {
		case classWord:
			end := i + size
			for end < len(text) {
				next, more := utf8.DecodeRuneInString(text[end:])
				if classOf(next) != classWord {
					break
				}
				end += more
			}
			c := clause{word: text[i:end], begins: i > 0, ends: end < len(text)}
			length := utf8.RuneCountInString(c.word)
			// Edges say it of the character between, and of a part of a word that
			// is no longer than what they have of it.
			said := edged && !c.ends && length == 1
			edged = false
			if c.begins || length >= 2 { // of a word that the needle cuts, two characters have to be known
				if edge := edgeAt(text, i, end); edge != "" {
					n.clauses = append(n.clauses, clause{term: string(termEdge) + edge})
					_, between := utf8.DecodeRuneInString(text[end:])
					end += between
					pieces++
					edged = true
					said = said || !c.begins && length == 2
				}
			}
			if !said {
				words = append(words, c)
			}
			i = end
			continue
		case classDense:
			length, last, end := 1, i, i+size
			for end < len(text) {
				next, more := utf8.DecodeRuneInString(text[end:])
				if classOf(next) != classDense {
					break
				}
				n.clauses = append(n.clauses, clause{term: string(termPair) + text[last:end+more]})
				length, last, end = length+1, end, end+more
			}
			if length == 1 {
				n.clauses = append(n.clauses, clause{term: string(termChar) + text[i:end]})
			}
			if length > 2 {
				pieces++ // pairs do not say that they follow one another
			}
			i = end
			continue
		default:
			n.clauses = append(n.clauses, clause{term: string(termChar) + text[i:i+size]})
		}
		i += size
	}
	n.exact = pieces == 1
	n.clauses = append(n.clauses, words...) // which cost more than terms
	return n
}

// finder answers for one segment.
type finder struct {
	s     *Segment
	fetch Fetch
	free  slab

	part     int // whose lists follow, -1 for none
	postings []byte
	ends     []int
}

func (f *finder) set() Set { return make(Set, len(f.s.Chunks)) }

func (f *finder) needle(n *needle) (sure, maybe Set, err error) {
	for i, c := range n.clauses {
		with, long, err := f.clause(c)
		if err != nil {
			return nil, nil, err
		}
		if n.exact {
			if long == nil {
				return with, f.set(), nil
			}
			if utf8.RuneCountInString(c.word) <= 2 {
				with.or(long) // a pair side by side is the needle itself
				return with, f.set(), nil
			}
			long.andNot(with)
			return with, long, nil
		}
		if long != nil {
			with.or(long)
		}
		if i > 0 {
			with.and(maybe)
		}
		if maybe = with; maybe.len() <= fewEnough {
			break
		}
	}
	return f.set(), maybe, nil
}

// clause returns the messages that have a term or a word as the clause says,
// and those that have all of the word's pairs in runs too long to be a word.
func (f *finder) clause(c clause) (with, long Set, err error) {
	if c.term != "" {
		with, err = f.term(c.term)
		return with, nil, err
	}
	if with, err = f.words(c); err != nil {
		return nil, nil, err
	}
	long, err = f.long(c.word)
	return with, long, err
}

// long returns the messages whose long runs have every pair of characters of
// the word, or the character if it has only one.
func (f *finder) long(word string) (long Set, err error) {
	last := -1
	for i, r := range word {
		end := i + utf8.RuneLen(r)
		term := string(termLongChar) + word[i:end]
		switch {
		case last >= 0:
			term = string(termLongPair) + word[last:end]
		case end < len(word):
			last = i
			continue
		}
		last = i
		set, err := f.term(term)
		if err != nil {
			return nil, err
		}
		if long != nil {
			set.and(long)
		}
		if long = set; long.Empty() {
			return nil, nil
		}
	}
	return long, nil
}

// term returns the messages that have a term.
func (f *finder) term(term string) (Set, error) {
	set := f.set()
	list, err := f.list(term)
	if err != nil || list == nil {
		return set, err
	}
	return set, union(set, list, &f.free)
}

// list returns the list of a term, nil if there is no such term.
func (f *finder) list(term string) ([]byte, error) {
	i := f.partOf(term)
	if i < 0 {
		return nil, nil
	}
	data, err := f.dictionary(i)
	if err != nil {
		return nil, err
	}
	at := bytes.Index(data, []byte("\x00"+term+"\x00"))
	if at < 0 {
		return nil, nil
	}
	return f.listAt(f.s.dictionary[i].ordinal + bytes.Count(data[:at], []byte{0}))
}

// dictionary reads a part of the dictionary, which begins and ends with a 0.
func (f *finder) dictionary(part int) ([]byte, error) {
	data, err := f.fetch(partDictionary + part)
	if err != nil {
		return nil, err
	}
	if len(data) < 2 || data[0] != 0 || data[len(data)-1] != 0 {
		return nil, ErrDamaged
	}
	return data, nil
}

// partOf is the part of the dictionary that holds a term if any does, -1 if it
// comes before all.
func (f *finder) partOf(term string) int {
	return sort.Search(len(f.s.dictionary), func(i int) bool { return f.s.dictionary[i].term > term }) - 1
}

// partAt is the part of the dictionary that holds an ordinal, -1 if none does.
func (f *finder) partAt(ordinal int) int {
	return sort.Search(len(f.s.dictionary), func(i int) bool { return f.s.dictionary[i].ordinal > ordinal }) - 1
}

// add puts the messages of the term with this ordinal into the set.
func (f *finder) add(set Set, ordinal int) error {
	list, err := f.listAt(ordinal)
	if err != nil {
		return err
	}
	return union(set, list, &f.free)
}

// listAt returns the list of the term with this ordinal; it is good until the
// next call.
func (f *finder) listAt(ordinal int) ([]byte, error) {
	at := sort.Search(len(f.s.postings), func(i int) bool { return f.s.postings[i] > ordinal }) - 1
	if at < 0 {
		return nil, ErrDamaged
	}
	if f.part != at {
		data, err := f.fetch(partPostings + at)
		if err != nil {
			return nil, err
		}
		lengths, lists, err := splitPostings(data)
		if err != nil {
			return nil, err
		}
		f.part, f.ends = at, f.ends[:0]
		f.postings = append(f.postings[:0], lists...)
		end := 0
		for lengths.left() > len(lists) {
			end += int(lengths.uvarint())
			f.ends = append(f.ends, end)
		}
	}
	i := ordinal - f.s.postings[at]
	if i >= len(f.ends) || f.ends[i] > len(f.postings) {
		return nil, ErrDamaged
	}
	begin := 0
	if i > 0 {
		begin = f.ends[i-1]
	}
	if begin < 0 || begin > f.ends[i] {
		return nil, ErrDamaged
	}
	return f.postings[begin:f.ends[i]], nil
}
