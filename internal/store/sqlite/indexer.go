package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/store/groupcommit"
	"lyftr/internal/store/segment"
)

// indexer makes the segments, behind the acknowledgement: one goroutine makes
// them of new messages as soon as a chunk is full, another merges them, a third
// notes of which sources the messages of their chunks are. What
// they write goes through the writer in steps of some hundred kilobytes, and
// counts from the transaction on that names the segment in the table segments.
type indexer struct {
	store *Store
	ctx   context.Context // ends when the store closes
	stop  context.CancelFunc
	done  sync.WaitGroup

	full    chan struct{} // a chunk is full
	built   chan struct{} // there may be something to merge or to clear away
	covered chan struct{} // there may be chunks whose sources are not noted

	remakes atomic.Int64 // how often all segments were thrown away
	damaged atomic.Bool  // one of the segments that there are since is
	remade  time.Time    // when they last were

	nextID  atomic.Int64 // of a segment
	started int64        // ids below it are of an earlier process

	mu       sync.Mutex
	segments []located // in the order of their chunks

	// numbering is held while a segment is built, so that no number is taken
	// away that is about to be used.
	numbering  sync.Mutex
	numbers    map[string]uint32
	complete   bool // numbers has all that the table phones has
	find       *sql.Stmt
	nextNumber uint32
	behind     time.Time // since when many messages wait, zero if they do not

	end   int64         // the first chunk that was not full when build looked last
	endAt time.Time     // when it saw that it was this one
	pace  time.Duration // how long a chunk took to fill
}

// stepBytes is how many bytes of parts go into one step of the writer, and stepTime
// is how long a step of many small writes goes on. While saves wait, the next step
// comes stepPause later.
const (
	stepBytes = 64 << 10
	stepTime  = time.Millisecond
	stepPause = 2 * time.Millisecond
)

// See parts.rest. docsAtOnce messages take about half as long as restAfter.
const (
	restAfter  = stepTime / 2
	restShare  = 2
	restLimit  = segment.Fan * segment.ChunkSize
	docsAtOnce = 32
)

// startIndexer makes the store's indexer and starts its goroutines, which ask the
// store themselves; close ends them.
func startIndexer(ctx context.Context, s *Store) error {
	x := &indexer{
		store: s, full: make(chan struct{}, 1), built: make(chan struct{}, 1), covered: make(chan struct{}, 1), numbers: map[string]uint32{},
	}
	var err error
	x.segments, err = s.headers.read(ctx, s.readDB)
	if errors.Is(err, segment.ErrDamaged) {
		// Of another version of lyftr, most likely.
		s.log.Warn("the index behind searches cannot be read and is made anew", "error", err.Error())
		err = s.step(ctx, forgetSegments)
	}
	if err != nil {
		return fmt.Errorf("read segments: %w", err)
	}
	err = s.readDB.QueryRowContext(ctx, `SELECT
		1 + max((SELECT coalesce(max(id), 0) FROM segments), (SELECT coalesce(max(id), 0) FROM segment_parts) / ?),
		(SELECT coalesce(max(id), 0) + 1 FROM phones)`, segment.MaxParts).Scan(&x.started, &x.nextNumber)
	if err != nil {
		return fmt.Errorf("read segments: %w", err)
	}
	// Served by the unique index of phones.
	if x.find, err = s.readDB.PrepareContext(ctx, "SELECT id FROM phones WHERE msisdn = ?"); err != nil {
		return fmt.Errorf("read segments: %w", err)
	}
	x.nextID.Store(x.started)
	x.ctx, x.stop = context.WithCancel(context.Background())
	s.indexer = x
	x.done.Go(func() { x.run("build segments", x.full, x.build) })
	x.done.Go(func() {
		x.run("clear segments away", nil, x.clearLeftovers)
		x.run("merge segments", x.built, x.merge)
	})
	x.done.Go(func() { x.run("note sources", x.covered, x.noteSources) })
	return nil
}

// step has the writer run f, see Store.step, and leaves saves their time.
func (x *indexer) step(f func(ctx context.Context, c *sql.Conn) error) error {
	err := x.store.step(x.ctx, f)
	if x.store.queue.Depth() > 0 {
		select {
		case <-time.After(stepPause):
		case <-x.ctx.Done():
		}
	}
	return err
}

func (x *indexer) close() {
	x.stop()
	x.done.Wait()
}

// poke wakes a goroutine if it waits.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is going to look anyway
	}
}

// retryAfter is how long the indexer waits after it failed.
const retryAfter = time.Second

// run calls work as long as that says that there is more, then whenever more is
// sent, for ever; without more it returns.
func (x *indexer) run(what string, more <-chan struct{}, work func() (again bool, err error)) {
	for x.ctx.Err() == nil {
		remakes := x.remakes.Load()
		again, err := work()
		var wait <-chan time.Time
		switch {
		case x.ctx.Err() != nil || errors.Is(err, groupcommit.ErrClosed):
			return
		case errors.Is(err, errReplacedMeanwhile):
			continue // there is something else to do
		case errors.Is(err, segment.ErrDamaged):
			x.isDamaged(remakes)
			wait = time.After(retryAfter)
		case errors.Is(err, errMoreComes):
			wait = time.After(rushLook)
		case errors.Is(err, errRemovedMeanwhile):
			wait = time.After(retryAfter) // more may follow
		case err != nil:
			// The messages are safe, and found one by one meanwhile.
			x.store.logFault(fmt.Errorf("%s: %w", what, err))
			wait = time.After(retryAfter)
		case again:
			continue
		case more == nil:
			return
		}
		select {
		case <-more:
		case <-wait:
		case <-x.ctx.Done():
		}
	}
}

// isDamaged notes that a segment is damaged that somebody met who had begun
// after so many remakes. What was of a segment thrown away since is no news.
func (x *indexer) isDamaged(remakes int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.remakes.Load() == remakes {
		x.damaged.Store(true)
		poke(x.built)
	}
}

// list returns the segments there are.
func (x *indexer) list() []located {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.segments
}

// next is the first chunk that no segment is made of.
func (x *indexer) next() int64 {
	all := x.list()
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].End()
}

// unindexed is how many messages there may be behind the segments.
func (x *indexer) unindexed() int64 {
	return min(x.store.messages.Load(), max(0, x.store.lastID.Load()+1-segment.FirstID(x.next())))
}

// has reports whether all these segments are there.
func (x *indexer) has(group []located) bool {
	all := x.list()
	for _, g := range group {
		if !slices.ContainsFunc(all, func(l located) bool { return l.id == g.id }) {
			return false
		}
	}
	return true
}

// replace puts a segment, if any, in the place of others.
func (x *indexer) replace(old []located, by *located) {
	x.mu.Lock()
	defer x.mu.Unlock()
	kept := slices.DeleteFunc(slices.Clone(x.segments), func(l located) bool {
		return slices.ContainsFunc(old, func(o located) bool { return o.id == l.id })
	})
	if by != nil {
		at := slices.IndexFunc(kept, func(l located) bool { return l.First > by.First })
		if at < 0 {
			at = len(kept)
		}
		kept = slices.Insert(kept, at, *by)
	}
	x.segments = kept
}

// build makes a segment of the next chunks, of rushChunks at most, and merges
// small segments.
func (x *indexer) build() (again bool, err error) {
	if group := mergeable(x.list(), segment.Fan); group != nil {
		return true, x.mergeGroup(group)
	}
	next := x.next()
	chunks := int(segment.ChunkOf(x.store.lastID.Load()+1) - next)
	x.tell(chunks)
	if chunks <= 0 {
		return false, nil
	}
	if room := rushChunks - int(next%rushChunks); chunks >= room {
		chunks = room
	} else if x.hurries(next + int64(chunks)) {
		return false, errMoreComes
	}
	err = x.buildFrom(next, chunks)
	if err == nil {
		poke(x.built)
		poke(x.covered)
	}
	return true, err
}

// Messages that come so fast that rushChunks fill within rush are made into one
// segment, which takes less work than making several and merging those, and not
// as much memory as more chunks would. It is looked again after rushLook. Fan is
// a multiple of rushChunks.
const (
	rushChunks = 4
	rush       = time.Second
	rushLook   = rush / 2
)

// errMoreComes is why a segment is not made yet.
var errMoreComes = errors.New("more messages come soon")

// hurries reports whether messages come so fast, with this chunk being the first
// that is not full.
func (x *indexer) hurries(end int64) bool {
	now := time.Now()
	if end != x.end {
		x.pace = now.Sub(x.endAt) / time.Duration(max(1, end-x.end))
		x.end, x.endAt = end, now
	}
	return x.pace <= rush/rushChunks && now.Sub(x.endAt) < rushLook
}

// errRemovedMeanwhile is why a segment is not good any more.
var errRemovedMeanwhile = errors.New("messages were removed meanwhile")

// tell logs the begin and the end of a time in which many messages wait for
// their segments.
func (x *indexer) tell(chunks int) {
	const many = 1000 // a million messages
	switch {
	case x.behind.IsZero() && chunks >= many:
		x.behind = time.Now()
		x.store.log.Info("making the index of many messages: from, to, q and statistics may be slow or 503 until it is done", "messages", x.unindexed())
	case !x.behind.IsZero() && chunks < segment.Fan:
		x.store.log.Info("made the index of many messages", "took_ms", time.Since(x.behind).Milliseconds())
		x.behind = time.Time{}
	}
}

func (x *indexer) buildFrom(first int64, chunks int) error {
	x.numbering.Lock()
	defer x.numbering.Unlock()
	end := segment.FirstID(first + int64(chunks))
	messages, deletions, err := x.briefs(segment.FirstID(first), end)
	if err != nil {
		return err
	}
	if err := x.number(messages); err != nil {
		return fmt.Errorf("number senders: %w", err)
	}
	p := x.newParts()
	header, err := segment.Build(first, chunks, x.docs(messages, p.rest), p.emit)
	if err == nil {
		err = p.finish(header, nil, func(ctx context.Context, c *sql.Conn) error {
			// A message that was removed since it was read would stay in the
			// segment for ever: holes are noted for what segments cover already.
			var now int64
			if err := c.QueryRowContext(ctx, "SELECT value FROM counters WHERE name = 'deletions'").Scan(&now); err != nil {
				return err
			}
			if now != deletions {
				return errStep{errRemovedMeanwhile}
			}
			// What lies before it must be in segments: all of them may have been
			// thrown away. There are few, so a scan will do.
			var covered int64
			if err := c.QueryRowContext(ctx, "SELECT coalesce(max(first_chunk + chunks), 0) FROM segments WHERE id <> ?", p.id).Scan(&covered); err != nil {
				return err
			}
			if covered != first {
				return errStep{errReplacedMeanwhile}
			}
			return nil
		})
	}
	if err != nil {
		return errors.Join(err, x.clear(p.id)) // and it is built again
	}
	x.store.recent.forgetUpTo(end)
	return nil
}

// briefs returns the messages from an id up to another, and what deletions was
// when none of them was removed yet: those that are kept in memory, else what is
// read from the database. Served by the primary key.
func (x *indexer) briefs(from, to int64) (messages []brief, deletions int64, err error) {
	deletions = x.store.deletions.Load()
	if messages := x.store.recent.find(from, to, deletions); messages != nil {
		return messages, deletions, nil
	}
	tx, leave, err := x.store.beginRead(x.ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	if err := tx.QueryRowContext(x.ctx, "SELECT value FROM counters WHERE name = 'deletions'").Scan(&deletions); err != nil {
		return nil, 0, err
	}
	rows, err := tx.QueryContext(x.ctx, "SELECT id, ts_unix, from_msisdn, to_msisdn, text FROM messages WHERE id >= ? AND id < ? ORDER BY id", from, to)
	if err != nil {
		return nil, 0, err
	}
	err = eachRowOf(rows, func(rows *sql.Rows) error {
		var b brief
		var text sql.NullString
		err := rows.Scan(&b.id, &b.time, &b.from, &b.to, &text)
		b.text = text.String
		messages = append(messages, b)
		return err
	})
	return messages, deletions, err
}

// docs returns what segment.Build takes, and rests between some of them.
func (x *indexer) docs(messages []brief, rest func()) iter.Seq[segment.Doc] {
	return func(yield func(segment.Doc) bool) {
		for i := range messages {
			if i%docsAtOnce == 0 {
				rest()
			}
			b := &messages[i]
			if !yield(segment.Doc{ID: b.id, From: x.numbers[b.from], To: x.numbers[b.to], Time: b.time, Text: message.Fold(b.text)}) {
				return
			}
		}
	}
}

// parts collects the parts of a segment and writes them.
type parts struct {
	x       *indexer
	id      int64
	waiting []struct {
		part int
		data []byte
	}
	bytes int

	rested time.Time // when it last rested, or wrote
	lastID int64     // of the messages there were then
}

func (x *indexer) newParts() *parts {
	return &parts{x: x, id: x.nextID.Add(1) - 1, rested: time.Now(), lastID: x.store.lastID.Load()}
}

func (p *parts) emit(part int, data []byte) error {
	p.waiting = append(p.waiting, struct {
		part int
		data []byte
	}{part, slices.Clone(data)})
	if p.bytes += len(data); p.bytes < stepBytes {
		p.rest()
		return nil
	}
	defer func() { p.rested = time.Now() }()
	return p.x.step(p.write)
}

// rest leaves the processors to what arrives, if it is time to.
func (p *parts) rest() {
	worked := time.Since(p.rested)
	if worked < restAfter {
		return
	}
	if pause := p.pause(worked); pause > 0 {
		select {
		case <-time.After(pause):
		case <-p.x.ctx.Done():
		}
	}
	p.rested = time.Now()
}

// pause is how long to rest after so long a work: not at all if no messages have come
// meanwhile, or if restLimit of them wait for their segments.
func (p *parts) pause(worked time.Duration) time.Duration {
	last := p.x.store.lastID.Load()
	came := last != p.lastID
	p.lastID = last
	if !came || p.x.unindexed() >= restLimit {
		return 0
	}
	return restShare * min(worked, stepTime)
}

// write inserts what waits.
func (p *parts) write(ctx context.Context, c *sql.Conn) error {
	for _, w := range p.waiting {
		if _, err := c.ExecContext(ctx, "INSERT INTO segment_parts (id, data) VALUES (?, ?)", partID(p.id, w.part), w.data); err != nil {
			return err
		}
	}
	p.waiting, p.bytes = p.waiting[:0], 0
	return nil
}

// finish writes the rest, puts the segment in the place of the old ones, and
// runs also in the same transaction.
func (p *parts) finish(header []byte, old []located, also func(context.Context, *sql.Conn) error) error {
	decoded, err := segment.Decode(header)
	if err != nil {
		return err
	}
	err = p.x.step(func(ctx context.Context, c *sql.Conn) error {
		if err := p.write(ctx, c); err != nil {
			return err
		}
		for _, o := range old {
			if err := deleteSegment(ctx, c, o.id); err != nil {
				return err
			}
		}
		_, err := c.ExecContext(ctx, "INSERT INTO segments (id, first_chunk, chunks, header) VALUES (?, ?, ?, ?)",
			p.id, decoded.First, len(decoded.Chunks), header)
		if err != nil {
			return err
		}
		return also(ctx, c)
	})
	if err == nil {
		p.x.replace(old, &located{p.id, decoded})
	}
	return err
}

// errReplacedMeanwhile is why what was made of a segment is not needed any more:
// two goroutines merge, and each may have seen that something of the other's is
// to be erased.
var errReplacedMeanwhile = errors.New("the segment was replaced meanwhile")

// deleteSegment takes a segment out of the table; its parts are cleared away
// later. Served by the primary key.
func deleteSegment(ctx context.Context, c *sql.Conn, id int64) error {
	result, err := c.ExecContext(ctx, "DELETE FROM segments WHERE id = ?", id)
	if err != nil {
		return err
	}
	if deleted, err := result.RowsAffected(); err != nil || deleted == 0 {
		return errors.Join(err, errStep{errReplacedMeanwhile})
	}
	return nil
}

// clear deletes the parts of segments that nothing names, a few at a time. What
// stood there is not readable in the file any more: some of it may have been
// erased since.
func (x *indexer) clear(ids ...int64) error {
	const atOnce = 32
	for len(ids) > 0 {
		some := func(ctx context.Context, c *sql.Conn) error {
			for begin := time.Now(); len(ids) > 0 && time.Since(begin) < stepTime; {
				result, err := c.ExecContext(ctx, "DELETE FROM segment_parts WHERE id IN (SELECT id FROM segment_parts WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
					partID(ids[0], 0), partID(ids[0]+1, 0), atOnce)
				if err != nil {
					return err
				}
				deleted, err := result.RowsAffected()
				if err != nil {
					return err
				}
				if deleted < atOnce {
					ids = ids[1:]
				}
			}
			return nil
		}
		err := x.step(func(ctx context.Context, c *sql.Conn) error {
			return securely(ctx, c, func() error { return some(ctx, c) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// clearLeftovers deletes the parts of segments that a process which ended did
// not finish making, or clearing away.
func (x *indexer) clearLeftovers() (again bool, err error) {
	for id := int64(0); id < x.started; id++ {
		var first sql.NullInt64
		err := x.store.readDB.QueryRowContext(x.ctx, "SELECT min(id) FROM segment_parts WHERE id >= ?", partID(id, 0)).Scan(&first)
		if err != nil {
			return false, err
		}
		if !first.Valid {
			return false, nil
		}
		if id = first.Int64 / segment.MaxParts; id >= x.started {
			return false, nil
		}
		if slices.ContainsFunc(x.list(), func(l located) bool { return l.id == id }) {
			continue
		}
		if err := x.clear(id); err != nil {
			return false, err
		}
	}
	return false, nil
}
