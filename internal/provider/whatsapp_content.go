package provider

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lyftr/internal/message"
)

// Parse implements Provider: the messages and statuses of every entry and every
// change. What is of no known shape is passed over and counted; a message of
// which only that much can be told is kept all the same.
func (*WhatsApp) Parse(r *Request) (Content, error) {
	if err := message.CheckJSON(r.Body); err != nil {
		return Content{}, err
	}
	p := parcel{arrival: r.Now.UTC()}
	p.open(bytes.TrimSpace(r.Body))
	return p.Content, nil
}

// parcel is a delivery of WhatsApp while it is unpacked.
type parcel struct {
	Content
	arrival time.Time
}

func (p *parcel) open(body value) {
	var object, entries value
	for name, m := range body.members() {
		switch string(name) {
		case "object":
			object = m
		case "entry":
			entries = m
		}
	}
	if o, _ := object.str(); o != hubObject {
		p.Ignored++
		return
	}
	for entry := range p.objects(entries) {
		for change := range p.objects(entry.member("changes")) {
			p.change(change)
		}
	}
}

// objects yields those of a list, and counts whatever else is there.
func (p *parcel) objects(list value) iter.Seq[value] {
	return func(yield func(value) bool) {
		if list.kind() != '[' {
			p.Ignored++
		}
		for v := range list.elements() {
			if v.kind() != '{' {
				p.Ignored++
			} else if !yield(v) {
				return
			}
		}
	}
}

func (p *parcel) change(v value) {
	var field, content value
	for name, m := range v.members() {
		switch string(name) {
		case "field":
			field = m
		case "value":
			content = m
		}
	}
	if f, _ := field.str(); f != hubField {
		p.Ignored++
		return
	}
	p.updates(content)
}

// updates takes the messages and statuses of one phone number of a business.
func (p *parcel) updates(v value) {
	var l line
	var contacts, messages, statuses, failures value
	for name, m := range v.members() {
		switch string(name) {
		case "metadata":
			l.metadata = m
		case "contacts":
			contacts = m
		case "messages":
			messages = m
		case "statuses":
			statuses = m
		case "errors":
			failures = m
		}
	}
	l.contacts = newContacts(contacts)
	l.to = l.number()
	before := p.count()
	for range failures.elements() {
		p.Ignored++
	}
	if !messages.none() {
		for m := range p.objects(messages) {
			p.Messages = append(p.Messages, p.message(&l, m))
		}
	}
	if !statuses.none() {
		for s := range p.objects(statuses) {
			p.Statuses = append(p.Statuses, p.status(&l, s))
		}
	}
	if p.count() == before {
		p.Ignored++
	}
}

func (p *parcel) count() int { return len(p.Messages) + len(p.Statuses) + p.Ignored }

func (p *parcel) message(l *line, v value) message.Message {
	var id, from, user, timestamp, kind value
	for name, m := range v.members() {
		switch string(name) {
		case "id":
			id = m
		case "from":
			from = m
		case "from_user_id":
			user = m
		case "timestamp":
			timestamp = m
		case "type":
			kind = m
		}
	}
	sender := l.contacts.find(from.scalar(), user.scalar())
	if sender.v == nil {
		sender = l.contacts.only()
	}
	m := message.Message{
		Source: sourceWhatsApp,
		ID:     identify(id, v),
		From:   party(from.scalar(), user.scalar(), sender.number, sender.user),
		To:     l.to,
	}
	m.At, m.TSIsArrival = p.instant(timestamp)
	m.At = m.At.Truncate(time.Second)
	m.TS = m.At.Format(secondsLayout)
	if k, ok := kind.str(); ok {
		m.Text = textOf(v, k)
	}
	m.Raw = l.raw("messages", v, sender.v, m.TSIsArrival)
	return m
}

// maxStatusLength is how long a status may be, in bytes. The longest of
// WhatsApp's has nine.
const maxStatusLength = 64

// unknownStatus stands for a status that is no word.
const unknownStatus = "unknown"

func (p *parcel) status(l *line, v value) message.Status {
	var id, word, recipient, user, timestamp value
	for name, m := range v.members() {
		switch string(name) {
		case "id":
			id = m
		case "status":
			word = m
		case "recipient_id":
			recipient = m
		case "recipient_user_id":
			user = m
		case "timestamp":
			timestamp = m
		}
	}
	s := message.Status{
		Source:    sourceWhatsApp,
		ID:        identify(id, v),
		Status:    unknownStatus,
		Recipient: party(recipient.scalar(), user.scalar()),
	}
	if w, _ := word.str(); w != "" && !strings.ContainsFunc(w, unicode.IsControl) {
		if w = strings.ToLower(w); len(w) <= maxStatusLength {
			s.Status = w
		}
	}
	at, isArrival := p.instant(timestamp)
	s.At = at.Truncate(time.Millisecond)
	s.Raw = l.raw("statuses", v, l.contacts.find(recipient.scalar(), user.scalar()).v, isArrival)
	return s
}

// unidentified begins the ID of what has none that can be kept. The rest is made
// of its bytes, so that a repeat is a duplicate.
const unidentified = "unidentified-"

func identify(id, whole value) string { return idOf(id.scalar(), whole) }

// idOf returns the ID if it can be kept, else one that is made of the whole.
func idOf(s string, whole []byte) string {
	if fault, _ := message.CheckID(s); fault == "" && utf8.ValidString(s) {
		return s
	}
	sum := sha256.Sum256(whole)
	return unidentified + hex.EncodeToString(sum[:16])
}

// lastSecond is the last one of the year 9999.
const lastSecond = 253402300799

// instant returns the time that Unix seconds name; if they name none that can be
// kept, it is when the delivery arrived.
func (p *parcel) instant(v value) (at time.Time, isArrival bool) {
	n, err := strconv.ParseInt(v.scalar(), 10, 64)
	if err != nil || n < 0 || n > lastSecond {
		return p.arrival, true
	}
	return time.Unix(n, 0).UTC(), false
}

// maxPartyLength is how long a name of somebody may be, in characters.
const maxPartyLength = 255

// party returns the first of the names that is one: a phone number as + and
// digits, anything else as it is. It is empty if there is none.
func party(names ...string) string {
	for _, s := range names {
		s = strings.TrimSpace(s)
		digits := strings.Map(func(r rune) rune {
			if r == ' ' || r == '-' {
				return -1
			}
			return r
		}, strings.TrimPrefix(s, "+"))
		if number := "+" + digits; message.ValidPhone(number) {
			return number
		}
		if s != "" {
			return printable(s, maxPartyLength)
		}
	}
	return ""
}

// printable returns s without control characters, cut to so many characters.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most])
	}
	return s
}

// line is the phone number of a business, and with whom it spoke.
type line struct {
	metadata value
	contacts contacts
	to       string
}

// number is what the business's line is known by.
func (l *line) number() string {
	var shown, id string
	for name, m := range l.metadata.members() {
		switch string(name) {
		case "display_phone_number":
			shown = m.scalar()
		case "phone_number_id":
			id = m.scalar()
		}
	}
	// Meta shows some numbers with spaces, brackets and dashes.
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, shown)
	if number := "+" + digits; message.ValidPhone(number) {
		return number
	}
	return printable(strings.TrimSpace(id), maxPartyLength)
}

// maxShared is how long the metadata and a contact may be that are kept beside
// each of their messages, in bytes: a thousand copies are made of them.
const maxShared = 4 << 10

// raw returns the value of a change that holds one update of it, so that what
// reads WhatsApp's deliveries reads it too.
func (l *line) raw(list string, update, who value, isArrival bool) []byte {
	var b bytes.Buffer
	const around = `{"messaging_product":"whatsapp","metadata":,"contacts":[],"messages":[],"ts_is_arrival":true}`
	b.Grow(len(around) + min(len(l.metadata), maxShared) + min(len(who), maxShared) + len(update))
	b.WriteString(`{"messaging_product":"whatsapp"`)
	if l.metadata.kind() == '{' && len(l.metadata) <= maxShared {
		b.WriteString(`,"metadata":`)
		b.Write(l.metadata)
	}
	if who != nil && len(who) <= maxShared {
		b.WriteString(`,"contacts":[`)
		b.Write(who)
		b.WriteString(`]`)
	}
	b.WriteString(`,"` + list + `":[`)
	b.Write(update)
	b.WriteString(`]`)
	if isArrival {
		b.WriteString(`,"ts_is_arrival":true`)
	}
	b.WriteString(`}`)
	return b.Bytes()
}

// contact is what is told of somebody beside the messages.
type contact struct {
	v            value
	number, user string // what messages know them by
}

// contacts are those of one change.
type contacts struct {
	list   []contact
	byName map[string]int // indexes of list
}

func newContacts(v value) contacts {
	var c contacts
	for one := range v.elements() {
		if one.kind() != '{' {
			continue
		}
		who := contact{v: one}
		for name, m := range one.members() {
			switch string(name) {
			case "wa_id":
				who.number = m.scalar()
			case "user_id":
				who.user = m.scalar()
			}
		}
		c.list = append(c.list, who)
	}
	c.byName = make(map[string]int, len(c.list))
	for i, who := range c.list {
		c.byName[who.number], c.byName[who.user] = i, i
	}
	delete(c.byName, "")
	return c
}

// find returns the contact who has the first of the names that anybody has.
func (c *contacts) find(names ...string) contact {
	for _, name := range names {
		if i, ok := c.byName[name]; ok {
			return c.list[i]
		}
	}
	return contact{}
}

// only returns the contact if there is just one.
func (c *contacts) only() contact {
	if len(c.list) == 1 {
		return c.list[0]
	}
	return contact{}
}
