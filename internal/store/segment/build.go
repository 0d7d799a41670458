package segment

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Doc is what a segment has to know of a message.
type Doc struct {
	ID       int64
	From, To uint32 // numbers of sender and recipient
	Time     int64  // when it was sent, whole Unix seconds
	Text     string // folded; empty if it has none
}

// Build makes a segment of the messages of whole chunks, in order of their ids,
// and returns its header.
func Build(first int64, chunks int, docs iter.Seq[Doc], emit Emit) (header []byte, err error) {
	b := &builder{writer: newWriter(first, chunks, emit), lists: newLists(chunks), buffer: make([]byte, 0, 64)}
	for d := range docs {
		for ChunkOf(d.ID) > first+int64(b.chunk) {
			if err := b.endChunk(); err != nil {
				return nil, err
			}
		}
		b.add(d)
	}
	for b.chunk < chunks {
		if err := b.endChunk(); err != nil {
			return nil, err
		}
	}
	for _, l := range b.lists.inOrder() {
		if err := b.term(l.term, l.postings); err != nil {
			return nil, err
		}
	}
	return b.close()
}

// builder makes a segment one message after the other.
type builder struct {
	*writer
	lists  *lists
	buffer []byte

	chunk   int     // at hand, counted from the first
	docs    []Doc   // of it, without their texts
	touched []*list // that it has something in
}

func (b *builder) add(d Doc) {
	position := uint16(d.ID % ChunkSize)
	add := func(term []byte) {
		l := b.lists.of(term)
		if n := len(l.positions); n == 0 {
			b.touched = append(b.touched, l)
		} else if l.positions[n-1] == position {
			return
		}
		l.positions = append(l.positions, position)
	}
	add(appendNumbered(b.buffer[:0], termFrom, d.From))
	add(appendNumbered(b.buffer[:0], termRecipient, d.To))
	eachTerm(d.Text, b.buffer, add)
	b.senders.add(int64(d.From), 1)
	b.hours.add(hourOf(d.Time), 1)
	d.Text = ""
	b.docs = append(b.docs, d)
}

func (b *builder) endChunk() error {
	for _, l := range b.touched {
		l.postings = appendContainer(l.postings, b.chunk-l.chunk, l.positions)
		l.chunk, l.positions = b.chunk, l.positions[:0]
	}
	err := b.columns(b.chunk, b.docs)
	b.chunk, b.docs, b.touched = b.chunk+1, b.docs[:0], b.touched[:0]
	return err
}

// list is a posting list that is being made. Most are short, and fit into the
// room that it has itself.
type list struct {
	term      string
	begin     uint64 // the first eight bytes of the term, with zeros behind a shorter one
	postings  []byte
	chunk     int      // of the last container
	positions []uint16 // in the chunk at hand

	fewPostings  [8]byte
	fewPositions [4]uint16
}

// lists are the posting lists of a segment that is being made. They and their
// terms are allocated many at a time.
type lists struct {
	byTerm map[string]*list
	free   []list
	terms  strings.Builder
}

const (
	listsAtOnce    = 256
	termsAtOnce    = 8 << 10 // bytes
	listsExpected  = 2048    // of a segment, and
	listsEachChunk = 512     // for each of its chunks
)

func newLists(chunks int) *lists {
	return &lists{byTerm: make(map[string]*list, listsExpected+listsEachChunk*chunks)}
}

// of returns the list of a term.
func (s *lists) of(term []byte) *list {
	if l := s.byTerm[string(term)]; l != nil {
		return l
	}
	if len(s.free) == 0 {
		s.free = make([]list, listsAtOnce)
	}
	l := &s.free[0]
	s.free = s.free[1:]
	l.postings, l.positions = l.fewPostings[:0], l.fewPositions[:0]
	if s.terms.Cap()-s.terms.Len() < len(term) {
		s.terms = strings.Builder{} // the strings of the old one stay what they are
		s.terms.Grow(max(termsAtOnce, len(term)))
	}
	at := s.terms.Len()
	s.terms.Write(term)
	l.term = s.terms.String()[at:]
	var begin [8]byte
	copy(begin[:], term)
	l.begin = binary.BigEndian.Uint64(begin[:])
	s.byTerm[l.term] = l
	return l
}

// inOrder returns the lists in the order of the bytes of their terms.
func (s *lists) inOrder() []*list {
	all := slices.AppendSeq(make([]*list, 0, len(s.byTerm)), maps.Values(s.byTerm))
	slices.SortFunc(all, func(a, b *list) int {
		if a.begin != b.begin {
			return cmp.Compare(a.begin, b.begin) // without a look at the strings
		}
		return strings.Compare(a.term, b.term)
	})
	return all
}

// writer makes the parts of a segment from its terms in order.
type writer struct {
	s    *Segment
	emit Emit

	senders, hours counts
	grams          map[trigram]*gram
	free           []gram // allocated, and not used yet

	dictionary []byte // the part at hand: terms, a 0 before and behind each
	lengths    []byte // of the posting lists of the part at hand
	count      int    // of them
	postings   []byte
}

func newWriter(first int64, chunks int, emit Emit) *writer {
	return &writer{s: &Segment{First: first, Chunks: make([]Chunk, chunks), firstWord: -1}, emit: emit, senders: counts{}, hours: counts{}, grams: map[trigram]*gram{}}
}

// gram is the list of the words that have three characters side by side: the
// distances of their numbers, counted from the first word.
type gram struct {
	words    []byte
	last     int
	fewWords [8]byte
}

// word notes the grams of a word that is about to be added.
func (w *writer) word(word string) {
	if w.s.firstWord < 0 {
		w.s.firstWord = w.s.terms
	}
	number := w.s.terms - w.s.firstWord
	eachGram(word, func(three trigram) {
		g := w.grams[three]
		if g == nil {
			if len(w.free) == 0 {
				w.free = make([]gram, listsAtOnce)
			}
			g = &w.free[0]
			w.free = w.free[1:]
			g.words, g.last = g.fewWords[:0], -1
			w.grams[three] = g
		}
		if g.last != number {
			g.words = binary.AppendUvarint(g.words, uint64(number-g.last))
			g.last = number
		}
	})
}

// term adds a term, which comes behind all that were added before.
func (w *writer) term(term string, postings []byte) error {
	if term[0] == termWord {
		w.word(term[1:])
	}
	if len(w.dictionary) > 0 && len(w.dictionary)+len(term)+1 > partTarget {
		if err := w.flushDictionary(); err != nil {
			return err
		}
	}
	if w.count > 0 && len(w.lengths)+len(w.postings)+len(postings)+4 > partTarget {
		if err := w.flushPostings(); err != nil {
			return err
		}
	}
	if len(w.dictionary) == 0 {
		w.dictionary = append(w.dictionary, 0)
		w.s.dictionary = append(w.s.dictionary, dictionaryPart{w.s.terms, term})
	}
	w.dictionary = append(append(w.dictionary, term...), 0)
	if w.count == 0 {
		w.s.postings = append(w.s.postings, w.s.terms)
	}
	w.lengths = binary.AppendUvarint(w.lengths, uint64(len(postings)))
	w.postings = append(w.postings, postings...)
	w.count++
	w.s.terms++
	return nil
}

func (w *writer) flushDictionary() error {
	if len(w.dictionary) == 0 {
		return nil
	}
	err := w.emit(partDictionary+len(w.s.dictionary)-1, w.dictionary)
	w.dictionary = w.dictionary[:0]
	return err
}

func (w *writer) flushPostings() error {
	if w.count == 0 {
		return nil
	}
	data := binary.AppendUvarint(nil, uint64(w.count))
	data = append(append(data, w.lengths...), w.postings...)
	err := w.emit(partPostings+len(w.s.postings)-1, data)
	w.count, w.lengths, w.postings = 0, w.lengths[:0], w.postings[:0]
	return err
}

// columns adds the columns of a chunk.
func (w *writer) columns(chunk int, docs []Doc) error {
	if len(docs) == 0 {
		return nil
	}
	var present Bits
	var at [ChunkSize]*Doc
	c := Chunk{Count: len(docs), Min: docs[0].Time, Max: docs[0].Time}
	for i := range docs {
		position := int(docs[i].ID % ChunkSize)
		present.Add(position)
		at[position] = &docs[i]
		c.Min, c.Max = min(c.Min, docs[i].Time), max(c.Max, docs[i].Time)
	}
	w.s.Chunks[chunk] = c
	return w.emit(partColumns+chunk, encodeColumns(&present,
		func(i int) int64 { return at[i].Time },
		func(i int) int64 { return int64(at[i].From) }))
}

// close writes what is left, and returns the header.
func (w *writer) close() (header []byte, err error) {
	if w.s.firstWord < 0 {
		w.s.firstWord = w.s.terms // there is none
	}
	for _, three := range slices.Sorted(maps.Keys(w.grams)) {
		if err := w.term(three.term(), w.grams[three].words); err != nil {
			return nil, err
		}
	}
	if err := w.flushDictionary(); err != nil {
		return nil, err
	}
	if err := w.flushPostings(); err != nil {
		return nil, err
	}
	if err := w.emit(partSenders, w.senders.encode()); err != nil {
		return nil, err
	}
	if err := w.emit(partHours, w.hours.encode()); err != nil {
		return nil, err
	}
	return w.s.encode(), nil
}
