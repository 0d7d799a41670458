package message

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// DecodeStored parses and validates a message that was stored before and
// written out, as Decode does. Besides what Decode knows it knows source, which
// follows the rule of message_id and is SourceNative if it is absent;
// received_at, an RFC 3339 time with Z or an offset; and raw, an object in which
// nothing is checked but that it is JSON. Each may be null. A body in lyftr's own
// format is one too.
//
// Of another source than SourceNative from and to may be anything without control
// characters that is no longer than a message_id, also empty, and a text may have
// any length.
func DecodeStored(body []byte) (Message, error) {
	d := decoder{stored: true}
	members, ok := d.object(body)
	if !ok {
		return Message{}, &InvalidError{Faults: d.faults}
	}
	if raw := members[memberSource]; raw != nil && raw[0] == '"' {
		d.provided = provided(unquote(raw))
	}
	m, err := d.message(&members)
	knownID := m.ID
	if invalid, ok := err.(*InvalidError); ok { //nolint:errorlint // it is what message returns
		knownID = invalid.MessageID
	}
	if raw := members[memberSource]; raw != nil && raw[0] != 'n' {
		if s, ok := d.str("source", raw); ok {
			d.checkID("source", s)
			m.Source = s
		}
	}
	if raw := members[memberReceivedAt]; raw != nil && raw[0] != 'n' {
		if s, ok := d.str("received_at", raw); ok {
			at, err := ParseInstant(s)
			if err != nil {
				d.fault(FaultValue, "Value error, "+err.Error(), "received_at")
			}
			m.ReceivedAt = at.Truncate(time.Millisecond)
		}
	}
	if raw := members[memberRaw]; raw != nil && raw[0] != 'n' {
		if raw[0] != '{' {
			d.fault(FaultNotObject, "Input should be a JSON object", "raw")
		}
		m.Raw = bytes.Clone(raw)
	}
	if len(d.faults) > 0 {
		return Message{}, &InvalidError{Faults: d.faults, MessageID: knownID}
	}
	return m, nil
}

// provided reports whether messages of the source are a provider's. What is no
// source at all vouches for nothing.
func provided(source string) bool {
	kind, _ := CheckID(source)
	return kind == "" && source != SourceNative
}

// ValidRaw reports whether raw is what Message.Raw may be: one JSON object, in
// UTF-8.
func ValidRaw(raw []byte) bool {
	object := bytes.TrimLeft(raw, " \t\r\n")
	return len(object) > 0 && object[0] == '{' && utf8.Valid(raw) && json.Valid(raw)
}

// Check validates a message whose strings come from elsewhere than JSON, by the
// rules of DecodeStored, and sets its At. The error is an *InvalidError that
// holds every fault.
func (m *Message) Check() error {
	var d decoder
	utf := func(name, s string) bool {
		if !utf8.ValidString(s) {
			d.fault(FaultValue, "Value error, must be valid UTF-8", name)
			return false
		}
		return true
	}
	d.provided = utf8.ValidString(m.Source) && provided(m.Source)
	if utf("message_id", m.ID) {
		d.checkID("message_id", m.ID)
	}
	for _, of := range [...]struct{ name, value string }{{"from", m.From}, {"to", m.To}} {
		if !d.provided || utf(of.name, of.value) {
			d.checkPhone(of.name, of.value)
		}
	}
	m.At = d.checkTimestamp(m.TS)
	if m.Text != nil && utf("text", *m.Text) {
		d.checkText(*m.Text)
	}
	if utf("source", m.Source) {
		d.checkID("source", m.Source)
	}
	if m.Raw != nil && !ValidRaw(m.Raw) {
		d.fault(FaultNotObject, "Input should be a JSON object", "raw")
	}
	if len(d.faults) > 0 {
		return &InvalidError{Faults: d.faults}
	}
	return nil
}
