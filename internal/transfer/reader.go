package transfer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"lyftr/internal/message"
)

// MaxRecord is the longest that one message may be in a file, in bytes: a
// provider's delivery of 4 MiB can be one message, which has it as text and in
// raw, and each format may take two bytes for one.
const MaxRecord = 16 << 20

// LineError says what is wrong with the message that begins at a line. Reading
// can go on behind it.
type LineError struct {
	Line int64
	Err  error
}

// Error implements error. It never holds a value.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.What()) }

// What says what is wrong, without the line.
func (e *LineError) What() string {
	invalid, ok := errors.AsType[*message.InvalidError](e.Err)
	if !ok {
		return e.Err.Error()
	}
	return invalid.Explain(len(invalid.Faults))
}

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// ErrChanged is what Skip returns if the input is not what it was.
var ErrChanged = errors.New("what stands before the place is not what stood there")

// Mark is a place in an input between two messages, and what stands before it.
type Mark struct {
	Offset int64  `json:"offset"` // in bytes
	Line   int64  `json:"line"`   // the number of lines before it
	SHA256 string `json:"sha256"` // of all bytes before it, in hex
}

// Reader reads messages, validated, from an input. Memory is bounded by
// MaxRecord. Make it with NewReader.
type Reader struct {
	format  Format
	in      *bufio.Reader
	sum     hash.Hash // of what was read
	offset  int64
	lines   int64
	begun   bool
	before  state   // that before the last Read
	columns columns // of CSV
	line    []byte  // the last line
	cells   cells   // of the last record of CSV
}

// state is what a Mark is made of.
type state struct {
	offset, lines int64
	sum           []byte // the hash, marshalled: cheaper than its end
}

const readBuffer = 64 << 10

// NewReader returns a reader of messages in the format.
func NewReader(f Format, in io.Reader) *Reader {
	return &Reader{format: f, in: bufio.NewReaderSize(in, readBuffer), sum: sha256.New()}
}

// Mark is the place behind the last message, or line that was wrong.
func (r *Reader) Mark() Mark {
	return Mark{Offset: r.offset, Line: r.lines, SHA256: hex.EncodeToString(r.sum.Sum(nil))}
}

// MarkBefore is the place before the last message, or line that was wrong.
func (r *Reader) MarkBefore() Mark {
	if r.before.sum == nil {
		return Mark{} // nothing was read
	}
	sum := sha256.New()
	if err := sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(r.before.sum); err != nil {
		panic("transfer: " + err.Error()) // it is what a SHA-256 has made
	}
	return Mark{Offset: r.before.offset, Line: r.before.lines, SHA256: hex.EncodeToString(sum.Sum(nil))}
}

// Offset is how many bytes were read.
func (r *Reader) Offset() int64 { return r.offset }

// Skip goes to a place that the Mark of another reader of the same input gave.
// It reads what stands before it, and returns ErrChanged if that has changed.
func (r *Reader) Skip(m Mark) error {
	if m.Offset == 0 {
		return nil
	}
	if err := r.begin(); err != nil {
		return err
	}
	if m.Offset < r.offset {
		return ErrChanged
	}
	n, err := io.CopyN(r.sum, r.in, m.Offset-r.offset)
	r.offset, r.lines = r.offset+n, m.Line
	if errors.Is(err, io.EOF) || err == nil && r.Mark() != m {
		return ErrChanged
	}
	return err
}

// Read returns the next message; io.EOF behind the last one; a *LineError for
// what is no message, after which it can be called again. Any other error is
// final.
func (r *Reader) Read() (message.Message, error) {
	if err := r.begin(); err != nil {
		return message.Message{}, err
	}
	if err := r.remember(); err != nil {
		return message.Message{}, err
	}
	if r.format == CSV {
		return r.readCSV()
	}
	return r.readNDJSON()
}

// remember keeps the place where the reader is for MarkBefore.
func (r *Reader) remember() (err error) {
	r.before.offset, r.before.lines = r.offset, r.lines
	r.before.sum, err = r.sum.(encoding.BinaryAppender).AppendBinary(r.before.sum[:0])
	return err
}

// begin passes over a byte order mark, and reads the header.
func (r *Reader) begin() error {
	if r.begun {
		return nil
	}
	const mark = "\xef\xbb\xbf"
	if head, err := r.in.Peek(len(mark)); err == nil && string(head) == mark {
		n, err := r.in.Discard(len(mark))
		if err != nil {
			return err
		}
		r.sum.Write(head)
		r.offset += int64(n)
	}
	if r.format == CSV {
		if err := r.readHeader(); err != nil {
			return err
		}
	}
	r.begun = true
	return nil
}

func (r *Reader) readNDJSON() (message.Message, error) {
	for {
		line, err := r.readLine(MaxRecord)
		if err != nil {
			return message.Message{}, r.lineError(r.lines, err)
		}
		if line = bytes.TrimRight(line, " \t\r\n"); len(line) == 0 {
			continue
		}
		m, err := message.DecodeStored(line)
		if err != nil {
			return message.Message{}, &LineError{r.lines, err}
		}
		return m, nil
	}
}

var errTooLong = fmt.Errorf("longer than %d bytes", MaxRecord)

// lineError returns a LineError for what is wrong with the input, and any other
// error as it is.
func (r *Reader) lineError(line int64, err error) error {
	if errors.Is(err, errTooLong) {
		return &LineError{line, err}
	}
	return err
}

// readLine reads one line with its line break, which the last one may lack, and
// returns io.EOF if there is none. The line is good until the next call. Of one
// that is longer than limit it reads everything and returns errTooLong.
func (r *Reader) readLine(limit int) ([]byte, error) {
	r.line = r.line[:0]
	tooLong := false
	for read := 0; ; {
		part, err := r.in.ReadSlice('\n')
		r.sum.Write(part)
		r.offset += int64(len(part))
		read += len(part)
		if tooLong = tooLong || len(r.line)+len(part) > limit; !tooLong {
			r.line = append(r.line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && read == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("read behind line %d: %w", r.lines, err)
		}
		r.lines++
		if tooLong {
			return nil, errTooLong
		}
		return r.line, nil
	}
}
