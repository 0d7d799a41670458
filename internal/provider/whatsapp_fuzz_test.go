package provider_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/provider"
)

// reference counts what a delivery holds as encoding/json reads it.
func reference(t *testing.T, body []byte) (messages, statuses int) {
	var top map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber() // there are numbers that no float64 holds
	if err := d.Decode(&top); err != nil {
		t.Fatal(err)
	}
	object := func(v any) map[string]any { m, _ := v.(map[string]any); return m }
	list := func(v any) []any { l, _ := v.([]any); return l }
	objects := func(v any) (n int) {
		for _, one := range list(v) {
			if _, ok := one.(map[string]any); ok {
				n++
			}
		}
		return n
	}
	if top["object"] != "whatsapp_business_account" {
		return 0, 0
	}
	for _, entry := range list(top["entry"]) {
		for _, change := range list(object(entry)["changes"]) {
			if object(change)["field"] == "messages" {
				v := object(object(change)["value"])
				messages += objects(v["messages"])
				statuses += objects(v["statuses"])
			}
		}
	}
	return messages, statuses
}

// checkString reports what no string of a message or status may hold.
func checkString(t *testing.T, what, s string, most int) {
	t.Helper()
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		t.Errorf("%s: %q", what, s)
	}
	if most > 0 && (utf8.RuneCountInString(s) > most || strings.ContainsFunc(s, unicode.IsControl)) {
		t.Errorf("%s: %q", what, s)
	}
}

func checkContent(t *testing.T, c provider.Content) {
	t.Helper()
	for _, m := range c.Messages {
		if fault, _ := message.CheckID(m.ID); fault != "" || m.Source != "whatsapp" {
			t.Errorf("id %q of %q: %s", m.ID, m.Source, fault)
		}
		checkString(t, "id", m.ID, 255)
		checkString(t, "from", m.From, 255)
		checkString(t, "to", m.To, 255)
		if m.Text != nil {
			checkString(t, "text", *m.Text, 0)
		}
		at, err := message.ParseTimestamp(m.TS)
		if err != nil || !at.Equal(m.At) || m.At.Location() != time.UTC {
			t.Errorf("ts %q, %v: %v", m.TS, m.At, err)
		}
		if !json.Valid(m.Raw) {
			t.Errorf("raw %q", m.Raw)
		}
	}
	for _, s := range c.Statuses {
		if fault, _ := message.CheckID(s.ID); fault != "" || s.Source != "whatsapp" || s.Status == "" {
			t.Errorf("id %q of %q, status %q: %s", s.ID, s.Source, s.Status, fault)
		}
		checkString(t, "id", s.ID, 255)
		checkString(t, "status", s.Status, 64)
		checkString(t, "recipient", s.Recipient, 255)
		if s.At.Year() < 1 || s.At.Year() > 9999 || s.At.Location() != time.UTC || !json.Valid(s.Raw) {
			t.Errorf("at %v, raw %q", s.At, s.Raw)
		}
	}
}

func FuzzWhatsAppParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Body))
	}
	f.Add([]byte(envelope(from(hello("a"), `{"id":"\ud800\u0000","from":"\n","timestamp":"-1","type":"edit","edit":{"message":{"type":"contacts","contacts":[{"name":{"formatted_name":"A"}}]}}}`))))
	f.Add([]byte(envelope(`{"metadata":{"phone_number_id":"\u0001"},"messages":[1,{}],"statuses":[{"status":"X","recipient_user_id":"US.1"},[]],"errors":[{}]}`)))
	f.Add([]byte(`{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"messages":[{"\u0069d":"a"}],"m\\":"\\\"","messages":[]}}]}],"entry":[]}`))
	f.Add([]byte(hello("a")))
	f.Add([]byte(from(hello("a"))))
	f.Fuzz(func(t *testing.T, body []byte) {
		parseAny(t, body)
		if utf8.Valid(body) && json.Valid(body) { // as a message and a status, and as all that there is of a number
			parseAny(t, []byte(envelope(`{"contacts":[`+string(body)+`],"messages":[`+string(body)+`],"statuses":[`+string(body)+`]}`)))
			parseAny(t, []byte(envelope(string(body))))
		}
	})
}

// parseAny parses a body of any kind and checks what it is found to hold.
func parseAny(t *testing.T, body []byte) {
	w := whatsApp(t)
	sent := bytes.Clone(body)
	c, err := w.Parse(&provider.Request{Body: body, Now: arrival})
	if !bytes.Equal(sent, body) {
		t.Fatal("the body was changed")
	}
	isObject := utf8.Valid(body) && json.Valid(body) && bytes.TrimSpace(body)[0] == '{'
	var invalid *message.InvalidError
	if (err == nil) != isObject || err != nil && !errors.As(err, &invalid) {
		t.Fatalf("an object: %v; got %v", isObject, err)
	}
	if err != nil {
		return
	}
	checkContent(t, c)
	messages, statuses := reference(t, body)
	if len(c.Messages) != messages || len(c.Statuses) != statuses || c.Ignored > len(body)/2 {
		t.Fatalf("got %d messages, %d statuses, %d ignored; want %d, %d", len(c.Messages), len(c.Statuses), c.Ignored, messages, statuses)
	}
	// What is kept of a message is the value of a change that holds it again.
	for _, m := range c.Messages {
		if got := only(t, envelope(string(m.Raw))); got.ID != m.ID || !cmp.Equal(got.Text, m.Text) {
			t.Fatalf("got %+v out of %+v", got, m)
		}
	}
}

// BenchmarkWhatsAppParse parses the longest delivery: a thousand updates in three
// megabytes.
func BenchmarkWhatsAppParse(b *testing.B) {
	text := strings.Repeat(`\u0928\u092e {[a, \"b\"]}: `, 100)
	messages := make([]string, 1000)
	for i := range messages {
		messages[i] = fmt.Sprintf(`{"from":"16505551234","id":"wamid.%d","timestamp":"1749416383","type":"text","text":{"body":"%s"},"context":{"id":"wamid.X","from":"1"}}`, i, text)
	}
	for _, c := range []struct {
		name   string
		values []string
	}{
		{"one change", []string{from(messages...)}},
		{"a change each", slices.Collect(func(yield func(string) bool) {
			for _, m := range messages {
				if !yield(from(m)) {
					return
				}
			}
		})},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, r := whatsApp(b), &provider.Request{Body: []byte(envelope(c.values...)), Now: arrival}
			b.SetBytes(int64(len(r.Body)))
			b.ReportAllocs()
			for b.Loop() {
				content, err := w.Parse(r)
				if err != nil || len(content.Messages) != len(messages) {
					b.Fatalf("got %d messages, %v", len(content.Messages), err)
				}
			}
		})
	}
}
