// Package transfer writes messages to files and reads them back: NDJSON, which
// is one JSON object a line, and CSV. What is written is read back without loss.
// It also copies messages, and the statuses of those that were sent, from one
// store to another, and compares two stores.
//
// Both formats hold the members message_id, from, to, ts, text, source, received_at and raw.
// Equal messages are always written as equal bytes.
package transfer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"lyftr/internal/message"
)

// Format is how messages are written.
type Format string

// The formats.
const (
	NDJSON Format = "ndjson"
	CSV    Format = "csv"
)

// ParseFormat returns the format of that name.
func ParseFormat(name string) (Format, error) {
	switch f := Format(strings.ToLower(name)); f {
	case NDJSON, CSV:
		return f, nil
	}
	return "", fmt.Errorf("%q is not a format: use ndjson or csv", name)
}

// GuessFormat returns the format of a file by the end of its name: CSV for .csv,
// else NDJSON.
func GuessFormat(name string) Format {
	if strings.EqualFold(filepath.Ext(name), ".csv") {
		return CSV
	}
	return NDJSON
}

// ContentType is the format's media type.
func (f Format) ContentType() string {
	if f == CSV {
		return "text/csv; charset=utf-8"
	}
	return "application/x-ndjson"
}

// Header is what stands before the first message.
func (f Format) Header() string {
	if f == CSV {
		return csvHeader
	}
	return ""
}

// Append appends a message to b, its line break included. Messages that break
// the rules of the contract, such as those that were adopted, are written too;
// Reader refuses them.
func (f Format) Append(b []byte, m *message.Message) []byte {
	if f == CSV {
		return appendCSV(b, m)
	}
	return appendNDJSON(b, m)
}

// receivedAtLayout is RFC 3339 in UTC with milliseconds, which is all that is
// stored.
const receivedAtLayout = "2006-01-02T15:04:05.000Z"

// onOneLine returns raw as both formats write it: without what stands around the
// object, and compact if there is a line break in it, else byte for byte. What is
// no object it leaves out, for nobody could read the line.
func onOneLine(raw []byte) []byte {
	if !message.ValidRaw(raw) {
		return nil
	}
	raw = bytes.Trim(raw, " \t\r\n")
	if !bytes.ContainsAny(raw, "\r\n") {
		return raw
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return nil // not reached: it is valid
	}
	return line.Bytes()
}

func appendReceivedAt(b []byte, at time.Time) []byte {
	return at.UTC().AppendFormat(b, receivedAtLayout)
}
