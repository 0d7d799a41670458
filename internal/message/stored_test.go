package message_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
)

// places returns where an error finds fault, as "place: type".
func places(t *testing.T, err error) (found []string) {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *message.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("error is %T, want *message.InvalidError", err)
	}
	for _, f := range invalid.Faults {
		place, _ := f.Loc[1].(string)
		found = append(found, place+": "+f.Type)
	}
	return found
}

// TestStoredRules: the limits of lyftr's own format are those of source native;
// what a provider sent is bound by what every store and format can hold. Both
// doors, DecodeStored and Check, say the same.
func TestStoredRules(t *testing.T) {
	long := strings.Repeat("é", message.MaxTextLength+1)
	valid := example()
	type change = func(*message.Message)
	for _, tt := range []struct {
		name             string
		change           change
		native, provided []string
	}{
		{"a number", func(*message.Message) {}, nil, nil},
		{"an ID", func(m *message.Message) { m.From = "US.13491208655302741918" }, []string{"from: value_error"}, nil},
		{"a name", func(m *message.Message) { m.From = "My Brand é" }, []string{"from: value_error"}, nil},
		{"a short code", func(m *message.Message) { m.To = "32665" }, []string{"to: value_error"}, nil},
		{"nobody", func(m *message.Message) { m.From, m.To = "", "" }, []string{"from: value_error", "to: value_error"}, nil},
		{"255 characters", func(m *message.Message) { m.To = strings.Repeat("é", 255) }, []string{"to: value_error"}, nil},
		{"256 characters", func(m *message.Message) { m.To = strings.Repeat("é", 256) }, []string{"to: value_error"}, []string{"to: string_too_long"}},
		{"a control character", func(m *message.Message) { m.From = "a\u0085" }, []string{"from: value_error"}, []string{"from: value_error"}},
		{"a long text", func(m *message.Message) { m.Text = &long }, []string{"text: string_too_long"}, nil},
		{"a text with NUL", func(m *message.Message) { m.Text = ptr("a\x00b") }, []string{"text: value_error"}, []string{"text: value_error"}},
		{"a long text with NUL", func(m *message.Message) { m.Text = ptr(long + "\x00") }, []string{"text: string_too_long"}, []string{"text: value_error"}},
		{"no ID", func(m *message.Message) { m.ID = "" }, []string{"message_id: string_too_short"}, []string{"message_id: string_too_short"}},
		{"another time", func(m *message.Message) { m.TS = "1749416383" }, []string{"ts: value_error"}, []string{"ts: value_error"}},
	} {
		for _, source := range []string{message.SourceNative, "whatsapp"} {
			m, want := valid, tt.provided
			if tt.change(&m); source == message.SourceNative {
				want = tt.native
			}
			m.Source = source
			body := object([]member{
				{"message_id", quoted(m.ID)}, {"from", quoted(m.From)}, {"to", quoted(m.To)}, {"ts", quoted(m.TS)},
				{"text", quoted(*m.Text)}, {"source", quoted(source)},
			})
			got, err := message.DecodeStored([]byte(body))
			if diff := cmp.Diff(want, places(t, err)); diff != "" {
				t.Errorf("%s of %s, decoded (-want +got):\n%s", tt.name, source, diff)
			}
			if diff := cmp.Diff(want, places(t, m.Check())); diff != "" {
				t.Errorf("%s of %s, checked (-want +got):\n%s", tt.name, source, diff)
			}
			if diff := cmp.Diff(m, got); err == nil && diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", tt.name, source, diff)
			}
		}
	}
	for _, source := range []string{"", "a\nb", strings.Repeat("x", 256), "\xff"} {
		m := valid
		m.Source, m.From = source, "MyBrand"
		if got := places(t, m.Check()); len(got) != 2 || got[0] != "from: value_error" {
			t.Errorf("source %q, which is none: %q", source, got)
		}
	}
	m := valid
	m.Source, m.From, m.To = "whatsapp", "a\xff", "\xff"
	if diff := cmp.Diff([]string{"from: value_error", "to: value_error"}, places(t, m.Check())); diff != "" {
		t.Errorf("no UTF-8 (-want +got):\n%s", diff)
	}
	// They stay required, and strings.
	if got := places(t, func() error {
		_, err := message.DecodeStored([]byte(`{"message_id":"m","to":null,"ts":"2025-01-15T10:00:00Z","source":"x"}`))
		return err
	}()); !cmp.Equal(got, []string{"from: missing", "to: string_type"}) {
		t.Errorf("without from and to: %q", got)
	}
}

// TestStoredRaw: raw comes back byte for byte, whatever a provider puts into it,
// and what stands around it is checked as ever.
func TestStoredRaw(t *testing.T) {
	deep := strings.Repeat(`{"a":[`, 500) + strings.Repeat(`]}`, 500)
	for _, raw := range []string{
		`{}`, `{ }`, `{"a":1,"a":2}`, `{"message_id":"x","raw":{"raw":null},"source":"native"}`, `{"a":"\ud800","\udc00":"\ud800\n"}`, deep,
		`{"a":"}","b":"]\"}\\","c":"\\"}`, "{ \"a\" : [ 1 ,\t-2.5e-3, true,false , null,[],{} ] }", `{"a":"\u0000","b":"é` + "\u2028" + `"}`,
	} {
		for _, body := range []string{and(`,"raw":` + raw), and(`, "raw" : ` + raw + " , \"x\":[{}]"), `{"raw":` + raw + "," + object(members())[1:], and(`,"r\u0061w":` + raw)} {
			line := []byte(body)
			m, err := message.DecodeStored(line)
			if err != nil {
				t.Errorf("%.200s: %v", body, err)
				continue
			}
			clear(line) // the reader's buffer is used again
			want := example()
			want.Raw = []byte(raw)
			if diff := cmp.Diff(want, m); diff != "" {
				t.Errorf("%.200s (-want +got):\n%s", body, diff)
			}
			if m.Check() != nil {
				t.Errorf("Check finds fault with raw %.200s", raw)
			}
		}
	}
	if m, err := message.DecodeStored([]byte(and(`,"raw":null`))); err != nil || m.Raw != nil {
		t.Errorf("null: %v, %q", err, m.Raw)
	}
	for tail, want := range map[string]string{
		`,"raw":1`:                              "raw: model_attributes_type",
		`,"raw":"{}"`:                           "raw: model_attributes_type",
		`,"raw":[{"a":1,"a":2}]`:                "raw: model_attributes_type",
		`,"raw":true`:                           "raw: model_attributes_type",
		`,"raw":{},"raw":{}`:                    "raw: json_invalid",
		`,"raw":{"a":1,"a":2},"raw":null`:       "raw: json_invalid",
		`,"raw":{},"x":{"a":1,"a":2}`:           ": json_invalid",
		`,"raw":{},"x":"\ud800"`:                ": json_invalid",
		`,"raw":{},"x":` + deep:                 ": json_invalid",
		`,"x":{"raw":{"a":1,"a":2}}`:            ": json_invalid", // not the member
		`,"raw":{"a":1,}`:                       ": json_invalid",
		`,"raw":{"a":"` + "\xff" + `"}`:         ": json_invalid",
		`,"raw":{},"raw\ud800":{"a":1},"Raw":1`: ": json_invalid",
	} {
		_, err := message.DecodeStored([]byte(and(tail)))
		if got := places(t, err); len(got) != 1 || got[0] != want {
			t.Errorf("%.100s: %q, want %q", tail, got, want)
		}
	}
	// Of a webhook raw is a member like any other.
	for tail, want := range map[string][]string{
		`,"raw":{"a":1,"a":2}`:  {"#: json_invalid"},
		`,"raw":{"a":"\ud800"}`: {"#: json_invalid"},
		`,"raw":` + deep:        {"#: json_invalid"},
		`,"raw":1,"raw":2`:      {"#: json_invalid"},
	} {
		if got := faults(t, and(tail)); !cmp.Equal(got, want) {
			t.Errorf("Decode of %.100s: %q, want %q", tail, got, want)
		}
	}
	if m, err := message.Decode([]byte(and(`,"raw":{"a":1}`))); err != nil || m.Raw != nil {
		t.Errorf("Decode knows raw: %v, %q", err, m.Raw)
	}
}

func TestValidRaw(t *testing.T) {
	for raw, want := range map[string]bool{
		"{}": true, " {\r\n} ": true, `{"a":1,"a":"\ud800"}`: true,
		"": false, " ": false, "null": false, "[]": false, `"{}"`: false, "{": false, "{}{}": false, `{} x`: false, "{\"a\":\"\xff\"}": false, "\ufeff{}": false,
	} {
		if got := message.ValidRaw([]byte(raw)); got != want {
			t.Errorf("ValidRaw(%q) is %v", raw, got)
		}
		m := example()
		m.Raw = bytes.Clone([]byte(raw))
		if got := m.Check() == nil; got != want && raw != "" {
			t.Errorf("Check of %q: %v", raw, got)
		}
	}
}
