package cli

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"lyftr/internal/provider"
	"lyftr/internal/sample"
	"lyftr/internal/signature"
)

// request is a signed message as it goes over the wire. One that is sent again is
// the same request.
type request struct {
	raw          []byte
	acknowledged atomic.Bool
}

// repeatWithin is how many messages lie between a message and its repeat at most:
// some of the repeats come while the first is on its way.
const repeatWithin = 1000

// requestMaker makes requests in advance. It is for one goroutine at a time.
type requestMaker struct {
	head      string // of each request, up to the value of its signature
	secret    []byte
	generator *sample.Generator
	random    *rand.Rand
	repeat    int        // percent of all requests
	recent    []*request // the last that were made, in no order
	made      int
}

// newRequestMaker returns one for a host and a path. The generator's messages have
// to have ReceivedAt.
func newRequestMaker(host, path string, o loadOptions, generator *sample.Generator) *requestMaker {
	return &requestMaker{
		head:      "POST " + path + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n" + provider.HeaderSignature + ": ",
		secret:    []byte(o.Secret),
		generator: generator,
		random:    rand.New(rand.NewPCG(o.Seed, 0)),
		repeat:    o.Repeat,
	}
}

// next returns a message that was not sent yet, or one of the last again.
func (m *requestMaker) next() (*request, error) {
	if len(m.recent) > 0 && m.random.IntN(100) < m.repeat {
		return m.recent[m.random.IntN(len(m.recent))], nil
	}
	message := m.generator.Next()
	// As if it arrived now: the generator has it under way for some time.
	layout := "2006-01-02T15:04:05.000Z"
	if len(message.TS) < len(layout) {
		layout = "2006-01-02T15:04:05Z"
	}
	message.TS = time.Now().UTC().Add(message.At.Sub(message.ReceivedAt)).Format(layout)
	body, err := json.Marshal(newBody(message))
	if err != nil {
		return nil, fmt.Errorf("make a message: %w", err)
	}
	raw := make([]byte, 0, len(m.head)+128+len(body))
	raw = append(raw, m.head...)
	raw = append(raw, signature.SignHex(m.secret, body)...)
	raw = append(raw, "\r\nContent-Length: "...)
	raw = strconv.AppendInt(raw, int64(len(body)), 10)
	raw = append(raw, "\r\n\r\n"...)
	r := &request{raw: append(raw, body...)}
	if len(m.recent) < repeatWithin {
		m.recent = append(m.recent, r)
	} else {
		m.recent[m.made%repeatWithin] = r
	}
	m.made++
	return r, nil
}
