package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"lyftr/internal/message"
)

// saveOfSources saves four messages of three sources, of which two share an id.
func (s *service) saveOfSources() {
	s.t.Helper()
	for _, m := range []struct{ source, id, ts string }{
		{"native", "a", "2025-01-15T10:00:00Z"}, {"whatsapp", "a", "2025-01-15T10:00:00Z"},
		{"native", "b", "2025-01-15T11:00:00Z"}, {"Twilio", "c", "2025-01-16T10:00:00Z"},
	} {
		d, err := message.Decode([]byte(msg(m.id, "ts", m.ts, "from", "+1", "text", "of "+m.source)))
		if err != nil {
			s.t.Fatal(err)
		}
		d.Source, d.ReceivedAt = m.source, time.Date(2025, 1, 17, 0, 0, 0, 5e8, time.UTC)
		s.save(d)
	}
}

// TestSource: a source narrows whatever can be asked of messages.
func TestSource(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.saveOfSources()
	s.finds("source=native", "a", "b")
	s.finds("source=whatsapp", "a")
	s.finds("source=native&until=2025-01-15T11:00:00Z", "a")
	s.finds("source=native&q=whatsapp")
	s.finds("source=twilio") // exact
	s.finds("source=", "a", "a", "b", "c")
	cursor := *s.list("source=native&limit=1").NextCursor
	if got := s.list("source=native&cursor=" + cursor); got.Total != 2 || len(got.Data) != 1 || got.Data[0].ID != "b" {
		t.Errorf("behind the cursor: %+v", got)
	}
	for _, other := range []string{"", "source=whatsapp&"} {
		s.get("/messages?"+other+"cursor="+cursor).isInvalid(t, "query.cursor:value_error")
	}
	sameJSON(t, s.get("/stats?source=native").body, `{"total_messages":2,"senders_count":1,
		"messages_per_sender":[{"from":"+1","from_msisdn":"+1","count":2}],
		"first_message_ts":"2025-01-15T10:00:00Z","last_message_ts":"2025-01-15T11:00:00Z"}`)
	for query, want := range map[string]string{
		"source=native":             `{"bucket":"day","data":[{"ts":"2025-01-15T00:00:00Z","count":2}]}`,
		"source=Twilio&bucket=hour": `{"bucket":"hour","data":[{"ts":"2025-01-16T10:00:00Z","count":1}]}`,
		"source=native&bucket=minute&since=2025-01-15T11:00:00Z": `{"bucket":"minute","data":[{"ts":"2025-01-15T11:00:00Z","count":1}]}`,
		"source=x": `{"bucket":"day","data":[]}`,
	} {
		sameJSON(t, s.get("/stats/timeline?"+query).body, want)
	}
	if body := s.get("/export?source=whatsapp").body; strings.Count(body, "\n") != 1 || !strings.Contains(body, `"of whatsapp"`) {
		t.Errorf("the export is %q", body)
	}
	for _, path := range []string{"/messages", "/stats", "/stats/timeline", "/export"} {
		for _, query := range []string{"source=a&source=a", "source=%00", "source=%FF", "source=%"} {
			s.get(path+"?"+query).isInvalid(t, "query.source:value_error")
		}
	}
}

// TestFieldsAndTotal: a list says more of each message, or less of all of them,
// when it is told to.
func TestFieldsAndTotal(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.saveOfSources()
	const rest = `"from":"+1","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"of `
	const basic = `{"data":[{"message_id":"a",` + rest + `whatsapp"}],"total":1,"limit":50,"offset":0,"next_cursor":null}`
	const all = `{"data":[{"message_id":"a",` + rest + `whatsapp","source":"whatsapp","received_at":"2025-01-17T00:00:00.5Z"}],
		"total":1,"limit":50,"offset":0,"next_cursor":null}`
	for _, query := range []string{"", "&fields=", "&fields=basic", "&total=exact", "&total="} {
		sameJSON(t, s.get("/messages?source=whatsapp"+query).body, basic)
	}
	sameJSON(t, s.get("/messages?source=whatsapp&fields=all").body, all)
	sameJSON(t, s.get("/messages?source=whatsapp&fields=all&total=none").body, strings.Replace(all, `"total":1`, `"total":null`, 1))
	sameJSON(t, s.get("/messages?source=x&fields=all&total=none").body, `{"data":[],"total":null,"limit":50,"offset":0,"next_cursor":null}`)
	cursor := *s.list("q=of&total=none&limit=3").NextCursor
	sameJSON(t, s.get("/messages?q=of&cursor="+cursor+"&total=none").body, strings.NewReplacer(
		`"total":1`, `"total":null`, `whatsapp`, `Twilio`, `"a"`, `"c"`, `01-15`, `01-16`).Replace(basic))
	for _, value := range []string{"raw", "ALL", "1", "%00"} {
		s.get("/messages?fields="+value).isInvalid(t, "query.fields:enum")
		s.get("/messages?total="+value).isInvalid(t, "query.total:enum")
	}
}
