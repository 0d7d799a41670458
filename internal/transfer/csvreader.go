package transfer

import (
	"errors"
	"fmt"
	"io"
	"time"

	"lyftr/internal/message"
)

// columns are the places of the columns that are known, -1 for one that the file
// does not have.
type columns struct {
	id, from, to, ts, text, source, receivedAt, createdAt, raw int

	count int
	// plain says that the file is a dump of the table, as sqlite3 -csv -header
	// makes one: nothing in it was defused.
	plain bool
}

// readHeader finds the columns by their names, those of lyftr or those of the
// database's table. Others are ignored.
func (r *Reader) readHeader() error {
	first, err := r.readRecord()
	if errors.Is(err, io.EOF) {
		return errors.New("there is no header: the first line has to name the columns")
	}
	if wrong, ok := errors.AsType[*LineError](err); ok {
		// Not as a LineError: there is no going on without the header.
		return errors.New("header: " + wrong.Error())
	}
	if err != nil {
		return err
	}
	c := columns{-1, -1, -1, -1, -1, -1, -1, -1, -1, r.cells.count(), false}
	for i := range c.count {
		name, _ := r.cells.at(i)
		column := map[string]*int{
			"message_id": &c.id, "from": &c.from, "from_msisdn": &c.from, "to": &c.to, "to_msisdn": &c.to,
			"ts": &c.ts, "text": &c.text, "source": &c.source, "received_at": &c.receivedAt, "created_at": &c.createdAt,
			"raw": &c.raw,
		}[name]
		if column == nil {
			continue
		}
		if *column >= 0 {
			return fmt.Errorf("line %d: the header names the column %s twice", first, name)
		}
		*column = i
		c.plain = c.plain || name == "from_msisdn" || name == "to_msisdn"
	}
	for _, needed := range []struct {
		name   string
		column int
	}{{"message_id", c.id}, {"from", c.from}, {"to", c.to}, {"ts", c.ts}} {
		if needed.column < 0 {
			return fmt.Errorf("line %d: the header names no column %s: it needs message_id, from, to and ts, separated by commas, and may have text, source, received_at and raw",
				first, needed.name)
		}
	}
	r.columns = c
	return nil
}

func (r *Reader) readCSV() (message.Message, error) {
	line, err := r.readRecord()
	if err != nil {
		return message.Message{}, err
	}
	c := &r.columns
	if n := r.cells.count(); n != c.count {
		return message.Message{}, &LineError{line, fmt.Errorf("%d cells where the header has %d", n, c.count)}
	}
	cell := func(i int) (s string, there bool) {
		if i < 0 {
			return "", false
		}
		if s, there = r.cells.at(i); !c.plain {
			s = undefuse(s)
		}
		return s, there
	}
	m := message.Message{Source: message.SourceNative}
	m.ID, _ = cell(c.id)
	m.From, _ = cell(c.from)
	m.To, _ = cell(c.to)
	m.TS, _ = cell(c.ts)
	if text, there := cell(c.text); there {
		m.Text = &text
	}
	if source, there := cell(c.source); there {
		m.Source = source
	}
	if raw, _ := cell(c.raw); raw != "" {
		m.Raw = []byte(raw)
	}
	if err := m.Check(); err != nil {
		return message.Message{}, &LineError{line, err}
	}
	if s, there := cell(c.receivedAt); there {
		at, err := message.ParseInstant(s)
		if err != nil {
			return message.Message{}, &LineError{line, fmt.Errorf("received_at: %w", err)}
		}
		m.ReceivedAt = at.Truncate(time.Millisecond)
	} else if s, there := cell(c.createdAt); there {
		at, ok := parseCreatedAt(s)
		if !ok {
			return message.Message{}, &LineError{line, errors.New("created_at: must be a time such as 2025-01-15T09:30:00Z or 2025-01-15 09:30:00")}
		}
		m.ReceivedAt = at.Truncate(time.Millisecond)
	}
	return m, nil
}

// parseCreatedAt parses the ways in which Python programs and SQLite write
// times. A time without an offset is UTC.
func parseCreatedAt(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// cells are those of one record.
type cells struct {
	text   []byte
	ends   []int  // of each cell in text
	quoted []bool // whether it stood in quotes
}

func (c *cells) reset() { c.text, c.ends, c.quoted = c.text[:0], c.ends[:0], c.quoted[:0] }

func (c *cells) count() int { return len(c.ends) }

// at returns a cell, and whether it is there: nothing at all, without quotes, is
// null.
func (c *cells) at(i int) (s string, there bool) {
	begin := 0
	if i > 0 {
		begin = c.ends[i-1]
	}
	s = string(c.text[begin:c.ends[i]])
	return s, s != "" || c.quoted[i]
}

func (c *cells) end(quoted bool) {
	c.ends, c.quoted = append(c.ends, len(c.text)), append(c.quoted, quoted)
}

// Where in a record the reader is.
type place int

const (
	atCell  place = iota // at the begin of a cell
	inPlain              // in a cell without quotes
	inQuoted
	behindQuote // behind a quote that ends the cell, unless another follows
)

// readRecord reads the lines of one record into cells, and returns the number of
// the first one. Empty lines are passed over.
func (r *Reader) readRecord() (first int64, err error) {
	r.cells.reset()
	state := atCell
	for left := MaxRecord; ; {
		line, err := r.readLine(left)
		if first == 0 {
			first = r.lines
		}
		switch {
		case errors.Is(err, io.EOF) && state == inQuoted:
			return first, &LineError{first, errors.New("a quote is opened and not closed")}
		case err != nil:
			return first, r.lineError(first, err)
		}
		left -= len(line)
		if state, err = r.cells.parse(line, state); err != nil {
			return first, &LineError{first, err}
		}
		switch {
		case state == inQuoted: // the break belongs to the cell
		case r.cells.count() == 1 && len(r.cells.text) == 0 && !r.cells.quoted[0]:
			r.cells.reset()
			state, first, left = atCell, 0, MaxRecord
		default:
			return first, nil
		}
	}
}

// parse adds one line to the cells. It returns inQuoted if the record goes on in
// the next line.
func (c *cells) parse(line []byte, state place) (place, error) {
	end := len(line) // of the line without its break
	if end > 0 && line[end-1] == '\n' {
		if end--; end > 0 && line[end-1] == '\r' {
			end--
		}
	}
	for i, b := range line {
		if i >= end && state != inQuoted {
			break
		}
		switch state {
		case atCell, inPlain:
			switch {
			case b == ',':
				c.end(false)
				state = atCell
			case b == '"' && state == atCell:
				state = inQuoted
			case b == '"':
				return state, fmt.Errorf("a quote within cell %d, which has none around it: put the cell into quotes and write its own twice", c.count()+1)
			default:
				c.text = append(c.text, b)
				state = inPlain
			}
		case inQuoted:
			if b == '"' {
				state = behindQuote
			} else {
				c.text = append(c.text, b)
			}
		case behindQuote:
			switch b {
			case '"':
				c.text = append(c.text, b)
				state = inQuoted
			case ',':
				c.end(true)
				state = atCell
			default:
				return state, fmt.Errorf("cell %d goes on behind its closing quote: a quote within a cell is written twice", c.count()+1)
			}
		}
	}
	if state != inQuoted {
		c.end(state == behindQuote)
	}
	return state, nil
}
