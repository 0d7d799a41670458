package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// answer is what is looked at of the answer to a webhook.
type answer struct {
	status int
	last   bool   // the server ends the connection behind it
	begin  []byte // of the body, if the status is not 200
}

// errNotUnderstood is an answer that no server gives to a webhook.
var errNotUnderstood = errors.New("the answer is not HTTP/1.1 with a Content-Length")

// readAnswer reads one answer of HTTP/1.1 to its end. It reads what servers of
// webhooks send, with as little work as possible, since it shares the processors
// with the server that is measured: the length has to be in a Content-Length.
func readAnswer(r *bufio.Reader) (answer, error) {
	const version = "HTTP/1.1 "
	line, err := r.ReadSlice('\n')
	if err != nil {
		return answer{}, err
	}
	if len(line) < len(version)+3 || string(line[:len(version)]) != version {
		return answer{}, errNotUnderstood
	}
	a := answer{}
	if a.status, err = strconv.Atoi(string(line[len(version) : len(version)+3])); err != nil {
		return answer{}, errNotUnderstood
	}
	length := -1
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return answer{}, unexpectedEnd(err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if value, ok := headerValue(line, "Content-Length"); ok {
			n, err := strconv.ParseUint(string(value), 10, 31)
			if err != nil {
				return answer{}, errNotUnderstood
			}
			length = int(n)
		} else if value, ok := headerValue(line, "Connection"); ok {
			a.last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return answer{}, errNotUnderstood
	}
	if a.status != http.StatusOK {
		const shown = 200
		a.begin = make([]byte, min(length, shown))
		if _, err := io.ReadFull(r, a.begin); err != nil {
			return answer{}, unexpectedEnd(err)
		}
	}
	if _, err := r.Discard(length - len(a.begin)); err != nil {
		return answer{}, unexpectedEnd(err)
	}
	return a, nil
}

// headerValue returns the value of a header's line if it has that name.
func headerValue(line []byte, name string) (value []byte, ok bool) {
	if len(line) <= len(name) || line[len(name)] != ':' || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name)+1:]), true
}

// unexpectedEnd tells an answer that ends in its middle from none.
func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// error returns what an answer that is not 200 says.
func (a answer) error() error {
	return fmt.Errorf("the server answered %d: %s", a.status, bytes.TrimSpace(a.begin))
}
