package provider_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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

// arrival is when the deliveries of these tests arrive.
var arrival = time.Date(2025, 6, 9, 8, 7, 6, 543_210_000, time.FixedZone("IST", 19800))

// parse returns what a WhatsApp delivery holds.
func parse(t testing.TB, body string) provider.Content {
	t.Helper()
	content, err := whatsApp(t).Parse(&provider.Request{Body: []byte(body), Now: arrival})
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	return content
}

const metadata = `{"display_phone_number":"15550783881","phone_number_id":"106540352242922"}`

// envelope wraps values of changes of the field messages, each in an entry of
// its own.
func envelope(values ...string) string {
	entries := make([]string, len(values))
	for i, v := range values {
		entries[i] = fmt.Sprintf(`{"id":"%d","changes":[{"value":%s,"field":"messages"}]}`, i, v)
	}
	return `{"object":"whatsapp_business_account","entry":[` + strings.Join(entries, ",") + `]}`
}

// from returns the value that holds messages of somebody.
func from(messages ...string) string {
	return `{"messaging_product":"whatsapp","metadata":` + metadata + `,"contacts":[{"profile":{"name":"Sheena Nelson"},"wa_id":"16505551234"}],"messages":[` +
		strings.Join(messages, ",") + `]}`
}

// hello returns a text message.
func hello(id string) string {
	return `{"from":"16505551234","id":"` + id + `","timestamp":"1749416383","type":"text","text":{"body":"Hello"}}`
}

// only returns the message of a delivery that holds one message and nothing else.
func only(t testing.TB, body string) message.Message {
	t.Helper()
	c := parse(t, body)
	if len(c.Messages) != 1 || len(c.Statuses) != 0 || c.Ignored != 0 {
		t.Fatalf("got %+v\n%s", c, body)
	}
	return c.Messages[0]
}

func ptr(s string) *string { return &s }

func TestWhatsAppParse(t *testing.T) {
	content := parse(t, envelope(from(hello("wamid.1"))))
	want := provider.Content{Messages: []message.Message{{
		Source: "whatsapp", ID: "wamid.1", From: "+16505551234", To: "+15550783881", Text: ptr("Hello"),
		TS: "2025-06-08T20:59:43Z", At: time.Date(2025, 6, 8, 20, 59, 43, 0, time.UTC),
		Raw: []byte(from(hello("wamid.1"))),
	}}}
	if diff := cmp.Diff(want, content); diff != "" {
		t.Error(diff)
	}
}

// What the published bodies hold.
func TestWhatsAppParseVectors(t *testing.T) {
	want := map[string]string{
		"text":                          "+16505551234: Does it come in another color?",
		"text_bsuid_only":               "US.13491208655302741918: Does it come in another color?",
		"emoji_escaped":                 "+16505551234: café 👋",
		"batch_two_messages_one_change": "+16505551234: one|+16505551234: two",
		"batch_two_entries":             "+16505551234: five|+16505551234: six",
		"status_sent":                   "wamid.OUT1 sent",
		"status_read":                   "wamid.OUT1 read",
		"image_caption":                 "+16505551234: look",
		"button_reply":                  "+16505551234: Yes",
		"reaction":                      "+16505551234: 😮",
		"location":                      "+16505551234: Facebook HQ, 1 Hacker Way",
		"unsupported":                   "+16505551234",
		"account_update_ignored":        "1 ignored",
	}
	for _, v := range vectors(t) {
		if v.Provider != "whatsapp" || want[v.Name] == "" {
			continue
		}
		content := parse(t, v.Body)
		var got []string
		for _, m := range content.Messages {
			line := m.From
			if m.Text != nil {
				line += ": " + *m.Text
			}
			if m.To != "+15550783881" || m.TSIsArrival || !strings.HasPrefix(m.ID, "wamid.") {
				t.Errorf("%s: got %+v", v.Name, m)
			}
			got = append(got, line)
		}
		for _, s := range content.Statuses {
			got = append(got, s.ID+" "+s.Status)
		}
		if content.Ignored > 0 {
			got = append(got, fmt.Sprint(content.Ignored, " ignored"))
		}
		if diff := cmp.Diff(want[v.Name], strings.Join(got, "|")); diff != "" {
			t.Errorf("%s: %s", v.Name, diff)
		}
		delete(want, v.Name)
	}
	if len(want) > 0 {
		t.Errorf("no vectors %v", want)
	}
}

func TestWhatsAppParseRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"empty": "", "white space": " ", "no JSON": "test", "cut short": hubBody[:40], "two": hubBody + hubBody,
		"array": "[" + hubBody + "]", "string": `"x"`, "null": "null", "form": "a=b",
		"invalid UTF-8": "{\"object\":\"\xff\"}", "byte order mark": "\xef\xbb\xbf" + hubBody,
		"too deep": `{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		content, err := whatsApp(t).Parse(&provider.Request{Body: []byte(body), Now: arrival})
		var invalid *message.InvalidError
		if !errors.As(err, &invalid) || len(invalid.Faults) != 1 || len(content.Messages) > 0 {
			t.Errorf("%s: got %+v, %v; want a *message.InvalidError", name, content, err)
		}
	}
}

func TestWhatsAppText(t *testing.T) {
	long := strings.Repeat("é", 70_000)
	for _, c := range []struct {
		name, message string // its members but id, from and timestamp
		want          *string
	}{
		{"text", `"type":"text","text":{"body":"Hello"}`, ptr("Hello")},
		{"type last", `"text":{"body":"Hello"},"type":"text"`, ptr("Hello")},
		{"white space", `"type" : "text" , "text" : { "body" : "Hello" }`, ptr("Hello")},
		{"empty text", `"type":"text","text":{"body":""}`, ptr("")},
		{"long text", `"type":"text","text":{"body":"` + long + `"}`, &long},
		{"escapes", `"type":"text","text":{"body":"\"\\\/\b\u00e9\ud83d\udc4b{}[],:"}`, ptr("\"\\/\bé👋{}[],:")},
		{"escaped name", `"type":"text","text":{"b\u006fdy":"Hello"}`, ptr("Hello")},
		{"NUL", `"type":"text","text":{"body":"a\u0000b"}`, ptr("a\uFFFDb")},
		{"half a pair", `"type":"text","text":{"body":"a\ud83db"}`, ptr("a\uFFFDb")},
		{"backslashes", `"type":"text","text":{"body":"\\\\\"\\"}`, ptr(`\\"\`)},
		{"repeated", `"type":"text","text":{"body":"a","body":"b"}`, ptr("b")},
		{"another case", `"type":"text","text":{"Body":"a"}`, nil},
		{"no text", `"type":"text"`, nil},
		{"text of no object", `"type":"text","text":"Hello"`, nil},
		{"body of no string", `"type":"text","text":{"body":5}`, nil},
		{"body null", `"type":"text","text":{"body":null}`, nil},
		{"image", `"type":"image","image":{"id":"1","mime_type":"image/jpeg"}`, nil},
		{"image with caption", `"type":"image","image":{"caption":"look"}`, ptr("look")},
		{"video", `"type":"video","video":{"caption":"look"}`, ptr("look")},
		{"document", `"type":"document","document":{"caption":"look","filename":"a.pdf"}`, ptr("look")},
		{"document without caption", `"type":"document","document":{"filename":"a.pdf"}`, nil},
		{"audio", `"type":"audio","audio":{"id":"1","voice":true,"caption":"x"}`, nil},
		{"voice", `"type":"voice","voice":{"id":"1"}`, nil},
		{"sticker", `"type":"sticker","sticker":{"id":"1","animated":false}`, nil},
		{"location", `"type":"location","location":{"latitude":37.4,"longitude":-122.2,"name":"HQ","address":"1 Hacker Way"}`, ptr("HQ, 1 Hacker Way")},
		{"location with name", `"type":"location","location":{"name":"HQ","address":""}`, ptr("HQ")},
		{"location with address", `"type":"location","location":{"address":"1 Hacker Way"}`, ptr("1 Hacker Way")},
		{"bare location", `"type":"location","location":{"latitude":37.4,"longitude":-122.2}`, nil},
		{"contacts", `"type":"contacts","contacts":[{"name":{"formatted_name":"A B"}},{"name":{}},7,{"name":{"formatted_name":"C"}}]`, ptr("A B, C")},
		{"no contacts", `"type":"contacts","contacts":[]`, nil},
		{"contacts of no array", `"type":"contacts","contacts":{"name":{"formatted_name":"A B"}}`, nil},
		{"button", `"type":"button","button":{"text":"No","payload":"no"}`, ptr("No")},
		{"button reply", `"type":"interactive","interactive":{"type":"button_reply","button_reply":{"id":"1","title":"Yes"}}`, ptr("Yes")},
		{"list reply", `"type":"interactive","interactive":{"type":"list_reply","list_reply":{"id":"1","title":"Two","description":"2"}}`, ptr("Two")},
		{"form reply", `"type":"interactive","interactive":{"type":"nfm_reply","nfm_reply":{"name":"flow","body":"Sent","response_json":"{}"}}`, ptr("Sent")},
		{"interactive without object", `"type":"interactive","errors":[{"code":131000}]`, nil},
		{"unknown reply", `"type":"interactive","interactive":{"type":"new","new":{"title":"x"}}`, nil},
		{"reaction", `"type":"reaction","reaction":{"message_id":"wamid.X","emoji":"\ud83d\ude2e"}`, ptr("😮")},
		{"reaction removed", `"type":"reaction","reaction":{"message_id":"wamid.X"}`, nil},
		{"reaction emptied", `"type":"reaction","reaction":{"message_id":"wamid.X","emoji":""}`, nil},
		{"order", `"type":"order","order":{"catalog_id":"1","text":"two please","product_items":[]}`, ptr("two please")},
		{"order without text", `"type":"order","order":{"catalog_id":"1"}`, nil},
		{"system", `"type":"system","system":{"body":"User changed","type":"user_changed_number"}`, ptr("User changed")},
		{"edit", `"type":"edit","edit":{"original_message_id":"wamid.X","message":{"type":"text","text":{"body":"better"}}}`, ptr("better")},
		{"edited caption", `"type":"edit","edit":{"original_message_id":"wamid.X","message":{"type":"image","image":{"caption":"better"}}}`, ptr("better")},
		{"edit of an edit", `"type":"edit","edit":{"message":{"type":"edit","edit":{"message":{"type":"text","text":{"body":"x"}}}}}`, nil},
		{"edit of nothing", `"type":"edit","edit":{"original_message_id":"wamid.X"}`, nil},
		{"revoke", `"type":"revoke","revoke":{"original_message_id":"wamid.X"}`, nil},
		{"unsupported", `"type":"unsupported","errors":[{"code":131051}],"unsupported":{"type":"poll","text":"x"}`, nil},
		{"unknown", `"type":"unknown","errors":[{"code":131051}]`, nil},
		{"new type", `"type":"poll","poll":{"id":"1"}`, nil},
		{"new type with caption", `"type":"poll","poll":{"text":"c","body":"b","caption":"a"}`, ptr("a")},
		{"new type with body", `"type":"poll","poll":{"text":"c","body":"b","caption":1}`, ptr("b")},
		{"new type with text", `"type":"poll","poll":{"text":"c"}`, ptr("c")},
		{"type of a member", `"type":"from"`, nil},
		{"no type", `"text":{"body":"Hello"}`, nil},
		{"type of no string", `"type":5,"text":{"body":"Hello"}`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := only(t, envelope(from(`{"from":"16505551234","id":"wamid.1","timestamp":"1749416383",`+c.message+`}`)))
			if diff := cmp.Diff(c.want, m.Text); diff != "" {
				t.Error(diff)
			}
			if m.ID != "wamid.1" || m.From != "+16505551234" || m.TS != "2025-06-08T20:59:43Z" || m.TSIsArrival {
				t.Errorf("got %+v", m)
			}
		})
	}
}

func TestWhatsAppParties(t *testing.T) {
	const contacts = `"contacts":[{"profile":{"name":"A"},"wa_id":"111","user_id":"US.1"}]`
	for _, c := range []struct{ name, value, from, to string }{
		{"number", `{"metadata":` + metadata + `,"messages":[{"from":"16505551234"}]}`, "+16505551234", "+15550783881"},
		{"number with plus", `{"messages":[{"from":"+1 650-555-1234"}]}`, "+16505551234", ""},
		{"number as a number", `{"messages":[{"from":16505551234}]}`, "+16505551234", ""},
		{"user in from", `{"messages":[{"from":"US.13491208655302741918"}]}`, "US.13491208655302741918", ""},
		{"user", `{"messages":[{"from_user_id":"US.13491208655302741918"}]}`, "US.13491208655302741918", ""},
		{"both", `{"messages":[{"from_user_id":"US.13491208655302741918","from":"1"}]}`, "+1", ""},
		{"empty from", `{"messages":[{"from":" ","from_user_id":"US.1"}]}`, "US.1", ""},
		{"from of no string", `{"messages":[{"from":{"id":1},"from_user_id":"US.1"}]}`, "US.1", ""},
		{"contact's number", `{` + contacts + `,"messages":[{}]}`, "+111", ""},
		{"contact's id", `{"contacts":[{"user_id":"US.1"}],"messages":[{"from":null}]}`, "US.1", ""},
		{"one of two contacts", `{"contacts":[{"wa_id":"1"},{"wa_id":"2"}],"messages":[{}]}`, "", ""},
		{"nobody", `{"messages":[{}]}`, "", ""},
		{"too many digits", `{"messages":[{"from":"1234567890123456"}]}`, "1234567890123456", ""},
		{"digits of another script", `{"messages":[{"from":"١٢٣"}]}`, "١٢٣", ""},
		{"control characters", `{"messages":[{"from":"US.\u0000\n1"}]}`, "US.\uFFFD\uFFFD1", ""},
		{"long", `{"messages":[{"from":"` + strings.Repeat("é", 300) + `"}]}`, strings.Repeat("é", 255), ""},
		{"number with spaces", `{"metadata":{"display_phone_number":"+250 788 (123)-200"},"messages":[{}]}`, "", "+250788123200"},
		{"number's id", `{"metadata":{"phone_number_id":"1065"},"messages":[{}]}`, "", "1065"},
		{"number of words", `{"metadata":{"display_phone_number":"Test","phone_number_id":1065},"messages":[{}]}`, "", "1065"},
		{"long id", `{"metadata":{"phone_number_id":"` + strings.Repeat("x", 300) + `"},"messages":[{}]}`, "", strings.Repeat("x", 255)},
		{"metadata of no object", `{"metadata":[1],"messages":[{}]}`, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := only(t, envelope(c.value))
			if m.From != c.from || m.To != c.to {
				t.Errorf("got from %q to %q; want %q, %q", m.From, m.To, c.from, c.to)
			}
		})
	}
}

func TestWhatsAppTimestamp(t *testing.T) {
	const arrived = "2025-06-09T02:37:06Z"
	for timestamp, want := range map[string]string{
		`"1749416383"`: "2025-06-08T20:59:43Z", `1749416383`: "2025-06-08T20:59:43Z", `"0"`: "1970-01-01T00:00:00Z",
		`"253402300799"`: "9999-12-31T23:59:59Z",
		`"253402300800"`: arrived, `"1749416383000"`: arrived, `"-1"`: arrived, `-1`: arrived, `""`: arrived, `"x"`: arrived,
		`null`: arrived, `[]`: arrived, `{}`: arrived, `true`: arrived, `"99999999999999999999"`: arrived,
		`"9223372036854775807"`: arrived, `1.5`: arrived, `1e3`: arrived, `"0x10"`: arrived, `" 1"`: arrived,
	} {
		c := parse(t, envelope(`{"messages":[{"id":"a","timestamp":`+timestamp+`}],"statuses":[{"id":"a","timestamp":`+timestamp+`}]}`))
		m, s := c.Messages[0], c.Statuses[0]
		if m.TS != want || m.TSIsArrival != (want == arrived) || m.At.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: got %s, %v, %v; want %s", timestamp, m.TS, m.TSIsArrival, m.At, want)
		}
		if strings.Contains(string(m.Raw), `"ts_is_arrival":true`) != (want == arrived) {
			t.Errorf("%s: got %s", timestamp, m.Raw)
		}
		if got := s.At.Format("2006-01-02T15:04:05Z"); got != want || s.At.Location() != time.UTC || s.At != s.At.Truncate(time.Millisecond) {
			t.Errorf("%s: got %v for a status", timestamp, s.At)
		}
	}
}

// An id that cannot be kept is replaced by one that a repeat has too.
func TestWhatsAppUnidentified(t *testing.T) {
	for _, id := range []string{`"id":"",`, `"id":null,`, `"id":["a"],`, ``, `"ID":"a",`, `"id":"a\u0000",`, `"id":"a\n",`, `"id":"` + strings.Repeat("x", 256) + `",`} {
		one := `{` + id + `"from":"1","timestamp":"1"}`
		sum := sha256.Sum256([]byte(one))
		want := "unidentified-" + hex.EncodeToString(sum[:])[:32]
		c := parse(t, envelope(`{"messages":[`+one+`], "statuses":[`+one+`]}`))
		if c.Messages[0].ID != want || c.Statuses[0].ID != want {
			t.Errorf("%s: got %q, %q; want %q", one, c.Messages[0].ID, c.Statuses[0].ID, want)
		}
	}
	long := strings.Repeat("é", 255)
	if m := only(t, envelope(from(hello(long)))); m.ID != long {
		t.Errorf("got %q", m.ID)
	}
}

func TestWhatsAppStatuses(t *testing.T) {
	at := time.Date(2025, 6, 8, 20, 59, 43, 0, time.UTC)
	for _, c := range []struct {
		status    string
		recipient string
		word      string
	}{
		{`{"id":"wamid.1","status":"sent","timestamp":"1749416383","recipient_id":"16505551234","conversation":{"id":"c","expiration_timestamp":"1749502783","origin":{"type":"utility"}}}`, "+16505551234", "sent"},
		{`{"id":"wamid.1","status":"delivered","timestamp":"1749416383","recipient_id":"16505551234","conversation":{"id":"c","expiration_timestamp":1749502783}}`, "+16505551234", "delivered"},
		{`{"id":"wamid.1","status":"READ","timestamp":1749416383,"recipient_user_id":"US.1"}`, "US.1", "read"},
		{`{"id":"wamid.1","status":"played","timestamp":"1749416383","recipient_id":"US.1","recipient_user_id":"US.2"}`, "US.1", "played"},
		{`{"id":"wamid.1","status":"failed","timestamp":"1749416383","errors":[{"code":131026}]}`, "", "failed"},
		{`{"id":"wamid.1","status":"new word","timestamp":"1749416383"}`, "", "new word"},
		{`{"id":"wamid.1","status":"","timestamp":"1749416383"}`, "", "unknown"},
		{`{"id":"wamid.1","timestamp":"1749416383"}`, "", "unknown"},
		{`{"id":"wamid.1","status":7,"timestamp":"1749416383"}`, "", "unknown"},
		{`{"id":"wamid.1","status":"a\u0000","timestamp":"1749416383"}`, "", "unknown"},
		{`{"id":"wamid.1","status":"` + strings.Repeat("x", 65) + `","timestamp":"1749416383"}`, "", "unknown"},
	} {
		got := parse(t, envelope(`{"messaging_product":"whatsapp","metadata":`+metadata+`,"statuses":[`+c.status+`]}`))
		want := provider.Content{Statuses: []message.Status{{
			Source: "whatsapp", ID: "wamid.1", Status: c.word, Recipient: c.recipient, At: at,
			Raw: []byte(`{"messaging_product":"whatsapp","metadata":` + metadata + `,"statuses":[` + c.status + `]}`),
		}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// summary is what a delivery holds, in short.
func summary(c provider.Content) string {
	var b strings.Builder
	for _, m := range c.Messages {
		b.WriteString(m.ID + " ")
	}
	for _, s := range c.Statuses {
		b.WriteString(s.ID + "=" + s.Status + " ")
	}
	return b.String() + fmt.Sprint(c.Ignored)
}

func TestWhatsAppBatches(t *testing.T) {
	status := func(id, word string) string {
		return `{"id":"` + id + `","status":"` + word + `","timestamp":"1749416383"}`
	}
	both := `{"metadata":` + metadata + `,"messages":[` + hello("c") + `,` + hello("d") + `],"statuses":[` + status("x", "sent") + `,` + status("x", "read") + `]}`
	change := func(field, value string) string { return `{"field":"` + field + `","value":` + value + `}` }
	for _, c := range []struct{ name, body, want string }{
		{"messages of one change", envelope(from(hello("a"), hello("b"))), "a b 0"},
		{"entries", envelope(from(hello("a")), from(hello("b")), both), "a b c d x=sent x=read 0"},
		{"changes", `{"object":"whatsapp_business_account","entry":[{"changes":[` + change("messages", from(hello("a"))) + `,` + change("messages", both) + `]},{"changes":[` + change("messages", from(hello("e"))) + `]}]}`,
			"a c d e x=sent x=read 0"},
		{"the same id twice", envelope(from(hello("a"), hello("a")), from(hello("a"))), "a a a 0"},
		{"other fields between", `{"object":"whatsapp_business_account","entry":[{"changes":[` + change("account_update", `{"event":"PARTNER_ADDED"}`) + `,` + change("messages", from(hello("a"))) + `,` +
			change("smb_message_echoes", `{"message_echoes":[`+hello("b")+`]}`) + `,` + change("history", `{"messages":[`+hello("b")+`]}`) + `]}]}`, "a 3"},
		{"errors", envelope(`{"errors":[{"code":130429}]}`), "1"},
		{"errors beside messages", envelope(`{"errors":[{"code":130429}],"messages":[` + hello("a") + `]}`), "a 1"},
		{"neither", envelope(`{"metadata":` + metadata + `}`), "1"},
		{"no messages", envelope(`{"messages":[],"statuses":[]}`), "1"},
		{"nothing", hubBody, "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := summary(parse(t, c.body)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Nothing in an object fails a delivery, nor takes with it what stands beside it.
func TestWhatsAppOddShapes(t *testing.T) {
	a := hello("a")
	for body, want := range map[string]string{
		`{}`: "1",
		` { "object" : "page" , "entry" : [ ] } ` + "\n":                      "1",
		`{"object":"instagram","entry":[{"changes":[{"field":"messages"}]}]}`: "1",
		`{"object":5}`:                                                      "1",
		`{"Object":"whatsapp_business_account"}`:                            "1",
		`{"object":"whatsapp_business_account"}`:                            "1",
		`{"object":"whatsapp_business_account","entry":{}}`:                 "1",
		`{"object":"whatsapp_business_account","entry":[1,"x",null,[],{}]}`: "5",
		`{"object":"whatsapp_business_account","entry":[{"changes":null},{"changes":[1,{}]},{"id":[]}]}`:   "4",
		`{"object":"whatsapp_business_account","entry":[{"changes":[{"field":["messages"],"value":{}}]}]}`: "1",
		envelope(`null`):                          "1",
		envelope(`[]`):                            "1",
		envelope(`"x"`):                           "1",
		envelope(`{"messages":{}}`):               "1",
		envelope(`{"messages":null}`):             "1",
		envelope(`{"messages":7,"statuses":"x"}`): "2",
		envelope(`{"messages":[7,` + a + `,"x",null,[` + a + `]]}`):           "a 4",
		envelope(`{"Messages":[` + a + `]}`):                                  "1",
		envelope(`{"messages":[],"messages":[` + a + `]}`):                    "a 0",
		envelope(`{"m\u0065ssages":[` + a + `]}`):                             "a 0",
		envelope(`{"contacts":7,"metadata":"x","messages":[` + a + `]}`):      "a 0",
		envelope(`{"contacts":[7,null,{"wa_id":[]}],"messages":[` + a + `]}`): "a 0",
		envelope(`{"errors":{},"messages":[` + a + `]}`):                      "a 0",
	} {
		if got := summary(parse(t, body)); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// Raw is what Meta sent of one message: its bytes, the number that it was sent
// to and who sent it, and nothing of the others.
func TestWhatsAppRaw(t *testing.T) {
	const (
		ann = `{"profile":{"name":"Ann"},"wa_id":"111","user_id":"US.1"}`
		bob = `{"profile" : {"name":"Bob \ud83d\udc4b"},"wa_id":"222"}`
	)
	messages := []string{
		`{"from":"111","id":"a","timestamp":"1","type":"text", "text":{"body":"\u00e9"}}`,
		`{"from":"222","id":"b","timestamp":"1"}`,
		`{"from_user_id":"US.1","id":"c","timestamp":"1"}`,
		`{"from":"333","id":"d","timestamp":"1"}`,
		`{"from":"111","id":"e"}`,
	}
	const status = `{"id":"f","status":"sent","timestamp":"1","recipient_id":"222"}`
	c := parse(t, envelope(`{"messaging_product":"whatsapp","contacts":[`+ann+`,`+bob+`],"messages":[`+strings.Join(messages, " , ")+`],"statuses":[`+status+`],"metadata":`+metadata+`}`))
	const begin = `{"messaging_product":"whatsapp","metadata":` + metadata
	want := []string{
		begin + `,"contacts":[` + ann + `],"messages":[` + messages[0] + `]}`,
		begin + `,"contacts":[` + bob + `],"messages":[` + messages[1] + `]}`,
		begin + `,"contacts":[` + ann + `],"messages":[` + messages[2] + `]}`,
		begin + `,"messages":[` + messages[3] + `]}`,
		begin + `,"contacts":[` + ann + `],"messages":[` + messages[4] + `],"ts_is_arrival":true}`,
		begin + `,"contacts":[` + bob + `],"statuses":[` + status + `]}`,
	}
	var got []string
	for _, m := range c.Messages {
		got = append(got, string(m.Raw))
	}
	for _, s := range c.Statuses {
		got = append(got, string(s.Raw))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A long contact would be copied a thousand times.
func TestWhatsAppRawShared(t *testing.T) {
	big := `{"wa_id":"1","x":"` + strings.Repeat("x", 5000) + `"}`
	m := only(t, envelope(`{"metadata":`+big+`,"contacts":[`+big+`],"messages":[{"id":"a","timestamp":"1"}]}`))
	if got := string(m.Raw); got != `{"messaging_product":"whatsapp","messages":[{"id":"a","timestamp":"1"}]}` || m.From != "+1" {
		t.Errorf("got %s from %s", got, m.From)
	}
}

// The body is somebody else's memory again once it is parsed.
func TestWhatsAppParseCopies(t *testing.T) {
	body := []byte(envelope(from(hello("a")), `{"statuses":[{"id":"x","status":"sent","recipient_id":"1"}]}`))
	parseIt := func() provider.Content {
		c, err := whatsApp(t).Parse(&provider.Request{Body: body, Now: arrival})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	want, got := parseIt(), parseIt()
	want.Messages[0].Raw, want.Statuses[0].Raw = bytes.Clone(want.Messages[0].Raw), bytes.Clone(want.Statuses[0].Raw)
	clear(body)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if want.Messages[0].ID != "a" || bytes.IndexByte(want.Messages[0].Raw, 0) >= 0 {
		t.Errorf("got %+v", want.Messages[0])
	}
}

// reference counts what a delivery holds as encoding/json reads it.
func reference(t *testing.T, body []byte) (messages, statuses int) {
	var top map[string]any
	if err := json.Unmarshal(body, &top); err != nil {
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
	w := whatsApp(f)
	f.Fuzz(func(t *testing.T, body []byte) {
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
		again, err := w.Parse(&provider.Request{Body: body, Now: arrival})
		if diff := cmp.Diff(c, again); err != nil || diff != "" {
			t.Fatalf("the second time: %v %s", err, diff)
		}
		// What is kept of a message is the value of a change that holds it again.
		for _, m := range c.Messages {
			if got := only(t, envelope(string(m.Raw))); got.ID != m.ID || got.To != m.To && m.To != "" && len(m.Raw) < 4<<10 || !cmp.Equal(got.Text, m.Text) {
				t.Fatalf("got %+v out of %+v", got, m)
			}
		}
	})
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
