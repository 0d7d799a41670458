package transfer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"lyftr/internal/message"
	"lyftr/internal/transfer"
)

func ptr(s string) *string { return &s }

// hello is a message like that of the contract's acceptance script.
func hello(text *string) message.Message {
	return message.Message{
		Source: message.SourceNative, ID: "m1", From: "+919876543210", To: "+14155550100", TS: "2025-01-15T10:00:00Z",
		At: time.Date(2025, 1, 15, 10, 0, 0, 0, time.UTC), Text: text,
		ReceivedAt: time.Date(2025, 1, 15, 10, 0, 2, 187e6, time.UTC),
	}
}

// TestBytes: the bytes are part of what others depend on.
func TestBytes(t *testing.T) {
	const ndjson = `{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":%s,"source":"native","received_at":"2025-01-15T10:00:02.187Z"}` + "\n"
	const csv = `"m1","'+919876543210","'+14155550100","2025-01-15T10:00:00Z",%s,"native","2025-01-15T10:00:02.187Z",` + "\r\n"
	for _, tt := range []struct {
		text      *string
		json, csv string
	}{
		{nil, `null`, ``},
		{ptr(""), `""`, `""`},
		{ptr("Hello"), `"Hello"`, `"Hello"`},
		{ptr("<a href=\"x\">&</a>"), `"<a href=\"x\">&</a>"`, `"<a href=""x"">&</a>"`},
		{ptr("1\r\n2\n3\t4\x01\x7f"), `"1\r\n2\n3\t4\u0001` + "\x7f\"", "\"1\r\n2\n3\t4\x01\x7f\""},
		{ptr("\u0085\u2028\u2029é😀"), `"\u0085\u2028\u2029é😀"`, "\"\u0085\u2028\u2029é😀\""},
		{ptr("=1+1"), `"=1+1"`, `"'=1+1"`},
		{ptr("'=1"), `"'=1"`, `"''=1"`},
		{ptr("''@"), `"''@"`, `"'''@"`},
		{ptr("'tis"), `"'tis"`, `"'tis"`},
		{ptr("'"), `"'"`, `"'"`},
		{ptr("''"), `"''"`, `"''"`},
		{ptr("＝1"), `"＝1"`, `"'＝1"`},
		{ptr(" =1"), `" =1"`, `" =1"`},
		// Bytes that are not UTF-8, which an adopted row can hold.
		{ptr("a\xff\xc3"), `"a\udcff\udcc3"`, "\"a\xff\xc3\""},
	} {
		m := hello(tt.text)
		if got, want := string(transfer.NDJSON.Append(nil, &m)), fmt.Sprintf(ndjson, tt.json); got != want {
			t.Errorf("NDJSON\n got %q\nwant %q", got, want)
		}
		if got, want := string(transfer.CSV.Append(nil, &m)), fmt.Sprintf(csv, tt.csv); got != want {
			t.Errorf("CSV\n got %q\nwant %q", got, want)
		}
	}
	unknown := hello(nil)
	unknown.ReceivedAt = time.Time{}
	if got := string(transfer.NDJSON.Append(nil, &unknown)); !strings.HasSuffix(got, `"received_at":null}`+"\n") {
		t.Errorf("got %q", got)
	}
	if got := string(transfer.CSV.Append(nil, &unknown)); !strings.HasSuffix(got, "\"native\",,\r\n") {
		t.Errorf("got %q", got)
	}
	if got, want := transfer.CSV.Header(), "\"message_id\",\"from\",\"to\",\"ts\",\"text\",\"source\",\"received_at\",\"raw\"\r\n"; got != want {
		t.Errorf("the header is %q, want %q", got, want)
	}
}

// TestRawBytes: raw is written byte for byte, on one line, and what nobody could
// read is left out.
func TestRawBytes(t *testing.T) {
	for _, tt := range []struct{ raw, json, csv string }{
		{`{}`, `,"raw":{}`, `"{}"`},
		{`{"a":1,"a":"\ud800é"}`, `,"raw":{"a":1,"a":"\ud800é"}`, `"{""a"":1,""a"":""\ud800é""}"`},
		{"{ \"a\" :\t[ ] }", ",\"raw\":{ \"a\" :\t[ ] }", "\"{ \"\"a\"\" :\t[ ] }\""},
		{"{\r\n \"a\": [ 1.0,\n \"< \u2028\\n\" ]\n}", ",\"raw\":{\"a\":[1.0,\"< \u2028\\n\"]}", "\"{\"\"a\"\":[1.0,\"\"< \u2028\\n\"\"]}\""},
		{"\n\t{\"a\": 1}\r\n", `,"raw":{"a": 1}`, `"{""a"": 1}"`},
		{"", "", ""},
		{"=1+1", "", ""},
		{"[]", "", ""},
		{"{} {}", "", ""},
		{"{\"a\":\"\xff\"}", "", ""},
	} {
		m := hello(nil)
		m.Raw = []byte(tt.raw)
		before := string(m.Raw)
		if got, want := string(transfer.NDJSON.Append(nil, &m)), `"received_at":"2025-01-15T10:00:02.187Z"`+tt.json+"}\n"; !strings.HasSuffix(got, want) {
			t.Errorf("NDJSON of raw %q\n got %q\nwant %q", tt.raw, got, want)
		}
		if got, want := string(transfer.CSV.Append(nil, &m)), `"2025-01-15T10:00:02.187Z",`+tt.csv+"\r\n"; !strings.HasSuffix(got, want) {
			t.Errorf("CSV of raw %q\n got %q\nwant %q", tt.raw, got, want)
		}
		if string(m.Raw) != before {
			t.Errorf("raw %q was changed to %q", before, m.Raw)
		}
	}
}

// TestAdoptedRows: a row that breaks a rule is written, and refused when it is
// read, without harm to its neighbours.
func TestAdoptedRows(t *testing.T) {
	for _, f := range formats {
		good := hello(ptr("good"))
		file := []byte(f.Header())
		for _, spoil := range []func(*message.Message){
			func(m *message.Message) { m.From = "9198" },
			func(m *message.Message) { m.To = "" },
			func(m *message.Message) { m.ID = "a\nb" },
			func(m *message.Message) { m.ID = "" },
			func(m *message.Message) { m.TS = "yesterday" },
			func(m *message.Message) { m.Text = ptr("a\xffb") },
			func(m *message.Message) { m.Text = ptr("a\x00b") },
			func(m *message.Message) { m.Text = ptr(strings.Repeat("é", message.MaxTextLength+1)) },
			func(m *message.Message) { m.ID = "\xff" },
		} {
			bad := good
			spoil(&bad)
			file = f.Append(f.Append(file, &bad), &good)
		}
		got, wrong := read(t, transfer.NewReader(f, bytes.NewReader(file)))
		if len(got) != 9 || len(wrong) != 9 {
			t.Errorf("%s: %d good ones and %d wrong ones, want 9 and 9: %v", f, len(got), len(wrong), wrong)
		}
	}
}

// TestRead: what is accepted from elsewhere, and what is said of the rest.
func TestRead(t *testing.T) {
	const body = `{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"`
	const long = transfer.MaxRecord
	native := hello(ptr("Hello"))
	native.ReceivedAt = time.Time{}
	received := hello(ptr("Hello"))
	other := received
	other.Source = "twilio"
	brand := received
	brand.Source, brand.From, brand.To, brand.Raw = "twilio", "MyBrand", "", []byte(`{"a":1,"a":"\ud800"}`)
	tests := []struct {
		name   string
		format transfer.Format
		file   string
		want   []message.Message
		wrong  []string // as LINE: what
	}{
		{"empty", transfer.NDJSON, "", nil, nil},
		{"webhook bodies", transfer.NDJSON, body + "}\n" + body + `,"unknown":[1,{"a":1}]}` + "\r\n", []message.Message{native, native}, nil},
		{"no break at the end", transfer.NDJSON, body + "}", []message.Message{native}, nil},
		{"empty lines, byte order mark", transfer.NDJSON, "\xef\xbb\xbf" + body + "}\n\n \t\r\n" + body + "}\n\n", []message.Message{native, native}, nil},
		{"stored", transfer.NDJSON, body + `,"source":"twilio","received_at":"2025-01-15T15:30:02.1879999+05:30"}`, []message.Message{other}, nil},
		{"nulls", transfer.NDJSON, body + `,"source":null,"received_at":null}`, []message.Message{native}, nil},
		{"faults", transfer.NDJSON, `{"message_id":"","from":"1","to":2,"source":"","received_at":"x"}` + "\n" + body + "}\n", []message.Message{native}, []string{
			"1: message_id: String should have at least 1 character; from: must be + followed by 1 to 15 digits (E.164); to: Input should be a valid string; ts: Field required; " +
				"source: String should have at least 1 character; received_at: must be an RFC 3339 time such as 2025-01-15T09:30:00Z or 2025-01-15T09:30:00+05:30"}},
		{"raw", transfer.NDJSON, strings.NewReplacer("+919876543210", "MyBrand", "+14155550100", "").Replace(body) +
			`,"source":"twilio","received_at":"2025-01-15T10:00:02.187Z","raw":{"a":1,"a":"\ud800"}}` + "\n" + body + `,"raw":null}`, []message.Message{brand, native}, nil},
		{"raw of another type", transfer.NDJSON, body + `,"raw":"{}"}`, nil, []string{"1: raw: Input should be a JSON object"}},
		{"source of another type", transfer.NDJSON, body + `,"source":1}`, nil, []string{"1: source: Input should be a valid string"}},
		{"not JSON", transfer.NDJSON, "\n{\"message_id\":}\nx\n" + body + "} {}\n[]\n" + body, nil, []string{
			"2: not JSON at byte 14: unexpected character", "3: not JSON at byte 0: unexpected character", "4: not JSON at byte 106: unexpected character",
			"5: Input should be a JSON object", "6: not JSON at byte 104: unexpected end of input"}},
		{"a member twice", transfer.NDJSON, body + `,"source":"a","source":"b"}`, nil, []string{"1: source: the member appears twice"}},
		{"half a surrogate pair", transfer.NDJSON, strings.Replace(body, "Hello", `\udcff`, 1) + "}", nil, []string{"1: not JSON at byte 98: half of a surrogate pair stands alone"}},
		{"too long", transfer.NDJSON, body + `,"x":"` + strings.Repeat("x", long) + "\"}\n" + body + "}\n", []message.Message{native}, []string{"1: longer than 16777216 bytes"}},
		{"longest", transfer.NDJSON, body + strings.Repeat(" ", long-len(body)-2) + "}\n", []message.Message{native}, nil},

		{"CSV", transfer.CSV, "message_id,from,to,ts,text\nm1,+919876543210,+14155550100,2025-01-15T10:00:00Z,Hello\n", []message.Message{native}, nil},
		{"CSV, other order, further columns, CRLF, mark", transfer.CSV, "\xef\xbb\xbf\"text\",x,ts,to,from,message_id,received_at,source\r\n\"Hello\",,2025-01-15T10:00:00Z,'+14155550100,'+919876543210,m1,2025-01-15T10:00:02.187Z,\r\n\r\n", []message.Message{received}, nil},
		{"CSV, raw", transfer.CSV, "raw,message_id,from,to,ts,text,source,received_at\n\"{\"\"a\"\":1,\"\"a\"\":\"\"\\ud800\"\"}\",m1,MyBrand,,2025-01-15T10:00:00Z,Hello,twilio,2025-01-15T10:00:02.187Z\n" +
			"\"\",m1,'+919876543210,'+14155550100,2025-01-15T10:00:00Z,Hello,,\n,m1,'+919876543210,'+14155550100,2025-01-15T10:00:00Z,Hello,,\n" +
			"'=1,m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,Hello,,\n", []message.Message{brand, native, native}, []string{"5: raw: Input should be a JSON object"}},
		{"CSV, null and empty", transfer.CSV, "message_id,from,to,ts,text\nm1,+919876543210,+14155550100,2025-01-15T10:00:00Z,\nm1,+919876543210,+14155550100,2025-01-15T10:00:00Z,\"\"", func() []message.Message {
			null, empty := native, native
			null.Text, empty.Text = nil, ptr("")
			return []message.Message{null, empty}
		}(), nil},
		{"CSV of the table", transfer.CSV, "message_id,from_msisdn,to_msisdn,ts,text,created_at\r\n" +
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,\"'=x\",\"2025-01-15 10:00:02.187\"\r\n" +
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,'+x,2025-01-15T10:00:02.187999\r\n" +
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,x,now\r\n", func() []message.Message {
			a, b := received, received
			a.Text, b.Text = ptr("'=x"), ptr("'+x") // as they are: nothing was defused
			return []message.Message{a, b}
		}(), []string{"4: created_at: must be a time such as 2025-01-15T09:30:00Z or 2025-01-15 09:30:00"}},
		{"CSV, wrong lines", transfer.CSV, "message_id,from,to,ts,text\n" +
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z\n" + // 2
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,a\"b\n" +
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,\"a\"b\n" +
			"m1,9,+14155550100,2025-01-15T10:00:00Z,\"a\nb\nc\"\n" + // 5 to 7
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,Hello\n" +
			"m1,+919876543210,+14155550100,2025-01-15T10:00:00Z,\"Hello\n", []message.Message{native}, []string{
			"2: 4 cells where the header has 5",
			"3: a quote within cell 5, which has none around it: put the cell into quotes and write its own twice",
			"4: cell 5 goes on behind its closing quote: a quote within a cell is written twice",
			"5: from: must be + followed by 1 to 15 digits (E.164)",
			"9: a quote is opened and not closed"}},
		{"CSV, too long", transfer.CSV, "message_id,from,to,ts,text\nm1,+919876543210,+14155550100,2025-01-15T10:00:00Z,\"" + strings.Repeat(strings.Repeat("x", 1023)+"\n", long>>10) + "\"\n", nil, []string{"2: longer than 16777216 bytes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var in io.Reader = strings.NewReader(tt.file)
			if len(tt.file) < long {
				in = iotest.HalfReader(in)
			}
			got, wrong := read(t, transfer.NewReader(tt.format, in))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			var what []string
			for _, w := range wrong {
				what = append(what, fmt.Sprintf("%d: %s", w.Line, w.What()))
			}
			if tt.name == "CSV, too long" && len(what) > 1 {
				what = what[:1] // how far the cell reached nobody can tell
			}
			if diff := cmp.Diff(tt.wrong, what); diff != "" {
				t.Errorf("wrong lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	for file, want := range map[string]string{
		"":                                      "there is no header: the first line has to name the columns",
		"\n\r\n":                                "there is no header: the first line has to name the columns",
		"a,b\n":                                 "line 1: the header names no column message_id: it needs message_id, from, to and ts, separated by commas, and may have text, source, received_at and raw",
		"message_id;from;to;ts;text\nx":         "line 1: the header names no column message_id: it needs message_id, from, to and ts, separated by commas, and may have text, source, received_at and raw",
		"Message_ID,from,to,ts\n":               "line 1: the header names no column message_id: it needs message_id, from, to and ts, separated by commas, and may have text, source, received_at and raw",
		"message_id,from,to\n":                  "line 1: the header names no column ts: it needs message_id, from, to and ts, separated by commas, and may have text, source, received_at and raw",
		"\nmessage_id,from,to,ts,from_msisdn\n": "line 2: the header names the column from_msisdn twice",
		"\"message_id,from\n":                   "header: line 1: a quote is opened and not closed",
	} {
		r := transfer.NewReader(transfer.CSV, strings.NewReader(file))
		_, err := r.Read()
		if _, isLine := errors.AsType[*transfer.LineError](err); err == nil || isLine || err.Error() != want {
			t.Errorf("header %q: got %v, want %s", file, err, want)
		}
	}
}

// TestReadFault: a fault of the input is not the end of it.
func TestReadFault(t *testing.T) {
	for _, f := range formats {
		m := hello(ptr("a"))
		file := write(f, []message.Message{m, m})
		for cut := range file {
			r := transfer.NewReader(f, io.MultiReader(bytes.NewReader(file[:cut]), iotest.ErrReader(errors.New("broken pipe"))))
			for {
				_, err := r.Read()
				if err == nil {
					continue
				}
				if !strings.Contains(err.Error(), "broken pipe") {
					t.Fatalf("%s, cut at %d: %v", f, cut, err)
				}
				break
			}
		}
	}
}

func TestFormats(t *testing.T) {
	for name, want := range map[string]transfer.Format{"a.csv": transfer.CSV, "A.CSV": transfer.CSV, "a.ndjson": transfer.NDJSON, "a": transfer.NDJSON, "-": transfer.NDJSON, "csv": transfer.NDJSON} {
		if got := transfer.GuessFormat(name); got != want {
			t.Errorf("GuessFormat(%q) is %q", name, got)
		}
	}
	if _, err := transfer.ParseFormat("xml"); err == nil {
		t.Error("xml is a format")
	}
	if got := []string{transfer.NDJSON.ContentType(), transfer.CSV.ContentType()}; !slices.Equal(got, []string{"application/x-ndjson", "text/csv; charset=utf-8"}) {
		t.Errorf("the types are %q", got)
	}
}
