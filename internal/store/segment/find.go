package segment

import (
	"bytes"
	"strings"
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
const fewEnough = 64

// Find returns the messages of the segment that meet the condition, and apart
// from them those of which only their text can tell.
func (s *Segment) Find(fetch Fetch, c *Condition) (sure, maybe Set, err error) {
	f := &finder{s: s, fetch: fetch}
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
		if set.empty() {
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
	pieces := 0 // words, or characters outside of them
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
			n.clauses = append(n.clauses, clause{word: text[i:end], begins: i > 0, ends: end < len(text)})
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
	return n
}

// finder answers for one segment.
type finder struct {
	s     *Segment
	fetch Fetch
	free  slab

	part     int // whose posting lists follow
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
		if maybe = with; maybe.empty() {
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
		if long = set; long.empty() {
			return nil, nil
		}
	}
	return long, nil
}

// term returns the messages that have a term.
func (f *finder) term(term string) (Set, error) {
	set := f.set()
	// The last part that begins with it, or before it.
	low, high := 0, len(f.s.dictionary)
	for low < high {
		middle := (low + high) / 2
		if f.s.dictionary[middle].term <= term {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == 0 {
		return set, nil
	}
	data, err := f.fetch(partDictionary + low - 1)
	if err != nil {
		return nil, err
	}
	at := bytes.Index(data, []byte("\x00"+term+"\x00"))
	if at < 0 {
		return set, nil
	}
	ordinal := f.s.dictionary[low-1].ordinal + bytes.Count(data[:at], []byte{0})
	return set, f.add(set, ordinal)
}

// words returns the messages that have a word which contains a part.
func (f *finder) words(c clause) (Set, error) {
	set := f.set()
	if utf8.RuneCountInString(c.word) > maxWordLength {
		return set, nil
	}
	if c.begins && c.ends {
		return f.term(string(termWord) + c.word)
	}
	needle := []byte(c.word)
	switch {
	case c.begins:
		needle = []byte("\x00" + string(termWord) + c.word)
	case c.ends:
		needle = []byte(c.word + "\x00")
	}
	for i := range f.s.dictionary {
		d := &f.s.dictionary[i]
		if i+1 < len(f.s.dictionary) && f.s.dictionary[i+1].term < string(termWord) {
			continue // no word in it
		}
		if c.begins {
			// Words are in order: the parts that can hold such a beginning.
			prefix := string(termWord) + c.word
			if d.term > prefix && !strings.HasPrefix(d.term, prefix) {
				break
			}
			if i+1 < len(f.s.dictionary) && f.s.dictionary[i+1].term < prefix {
				continue
			}
		}
		data, err := f.fetch(partDictionary + i)
		if err != nil {
			return nil, err
		}
		var ordinals []int
		counted, ordinal := 0, d.ordinal-1 // of the term that begins before counted
		for from := 0; ; {
			at := bytes.Index(data[from:], needle)
			if at < 0 {
				break
			}
			at += from
			if c.begins {
				at++ // behind the 0
			}
			begin := bytes.LastIndexByte(data[:at], 0)
			length := bytes.IndexByte(data[at:], 0)
			if begin < 0 || length < 0 {
				return nil, errDamaged
			}
			ordinal += bytes.Count(data[counted:begin+1], []byte{0})
			counted = begin + 1
			if data[begin+1] == termWord {
				ordinals = append(ordinals, ordinal)
			}
			from = at + length // the 0 behind the term begins the next one
		}
		for _, o := range ordinals {
			if err := f.add(set, o); err != nil {
				return nil, err
			}
		}
	}
	return set, nil
}

// add puts the messages of the term with this ordinal into the set.
func (f *finder) add(set Set, ordinal int) error {
	low, high := 0, len(f.s.postings)
	for low < high {
		middle := (low + high) / 2
		if f.s.postings[middle] <= ordinal {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == 0 {
		return errDamaged
	}
	if f.part != low {
		data, err := f.fetch(partPostings + low - 1)
		if err != nil {
			return err
		}
		lengths, lists, err := splitPostings(data)
		if err != nil {
			return err
		}
		f.part, f.ends = low, f.ends[:0]
		f.postings = append(f.postings[:0], lists...)
		end := 0
		for len(lengths.b) > len(lists) {
			end += int(lengths.uvarint())
			f.ends = append(f.ends, end)
		}
	}
	i := ordinal - f.s.postings[low-1]
	if i >= len(f.ends) || f.ends[i] > len(f.postings) {
		return errDamaged
	}
	begin := 0
	if i > 0 {
		begin = f.ends[i-1]
	}
	return union(set, f.postings[begin:f.ends[i]], &f.free)
}
