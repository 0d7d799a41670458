package message

import (
	"time"
	"unicode/utf8"
)

// DecodeStored parses and validates a message that was stored before and
// written out, as Decode does. Besides what Decode knows it knows source, which
// follows the rule of message_id and is SourceNative if it is absent, and
// received_at, an RFC 3339 time with Z or an offset; either may be null. A body
// in lyftr's own format is one too.
func DecodeStored(body []byte) (Message, error) {
	d := decoder{stored: true}
	members, ok := d.object(body)
	if !ok {
		return Message{}, &InvalidError{Faults: d.faults}
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
	if len(d.faults) > 0 {
		return Message{}, &InvalidError{Faults: d.faults, MessageID: knownID}
	}
	return m, nil
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
	if utf("message_id", m.ID) {
		d.checkID("message_id", m.ID)
	}
	d.checkPhone("from", m.From)
	d.checkPhone("to", m.To)
	m.At = d.checkTimestamp(m.TS)
	if m.Text != nil && utf("text", *m.Text) {
		d.checkText(*m.Text)
	}
	if utf("source", m.Source) {
		d.checkID("source", m.Source)
	}
	if len(d.faults) > 0 {
		return &InvalidError{Faults: d.faults}
	}
	return nil
}
