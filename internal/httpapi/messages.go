package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"lyftr/internal/message"
)

// messageJSON is a message in a list.
type messageJSON struct {
	ID   string  `json:"message_id"`
	From string  `json:"from"`
	To   string  `json:"to"`
	TS   string  `json:"ts"`
	Text *string `json:"text"`
}

func toJSON(m message.Message) messageJSON {
	return messageJSON{m.ID, m.From, m.To, m.TS, m.Text}
}

// fullMessageJSON is a message as the feed gives it.
type fullMessageJSON struct {
	messageJSON
	Source     string          `json:"source"`
	ReceivedAt *string         `json:"received_at"`
	Raw        json.RawMessage `json:"raw,omitempty"`
}

func toFullJSON(m message.Message) fullMessageJSON {
	return fullMessageJSON{toJSON(m), m.Source, timeJSON(m.ReceivedAt), rawJSON(m.Raw)}
}

// timeJSON is null for the zero time.
func timeJSON(at time.Time) *string {
	if at.IsZero() {
		return nil
	}
	s := at.UTC().Format(time.RFC3339Nano)
	return &s
}

// rawJSON is what a provider sent, as part of an answer; nil if there is none.
func rawJSON(raw []byte) json.RawMessage {
	if !json.Valid(raw) {
		return nil // an answer that cannot be read would be worse
	}
	return raw
}

// oneMessageJSON is a message with all that is known of it.
type oneMessageJSON struct {
	fullMessageJSON
	Status   *string        `json:"status,omitempty"`
	Statuses []statusOfJSON `json:"statuses,omitempty"`
}

// statusOfJSON is what was reported of a message.
type statusOfJSON struct {
	Status     string          `json:"status"`
	TS         *string         `json:"ts"`
	ReceivedAt *string         `json:"received_at"`
	Recipient  *string         `json:"recipient"`
	Raw        json.RawMessage `json:"raw"`
}

// toStatusesJSON returns the status that the message has come to, and all of
// them.
func toStatusesJSON(statuses []message.Status) (current *string, all []statusOfJSON) {
	all = make([]statusOfJSON, len(statuses))
	for i, s := range statuses {
		all[i] = statusOfJSON{s.Status, timeJSON(s.At), timeJSON(s.ReceivedAt), nil, rawJSON(s.Raw)}
		if s.Recipient != "" {
			all[i].Recipient = &s.Recipient
		}
	}
	if len(statuses) > 0 {
		status := message.CurrentStatus(statuses)
		current = &status
	}
	return current, all
}

// listJSON returns the messages of a list, with all that a list knows of them or
// with what the contract has.
func listJSON(messages []message.Message, all bool) any {
	if all {
		return mapped(messages, toFullJSON)
	}
	return mapped(messages, toJSON)
}

// mapped is f of each; of none it is no null either.
func mapped[T any](messages []message.Message, f func(message.Message) T) []T {
	list := make([]T, len(messages))
	for i, m := range messages {
		list[i] = f(m)
	}
	return list
}

// listMessages answers GET /messages.
func (s *Server) listMessages(c *call) error {
	q, all, err := parseListQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	page, err := s.Store.List(c.r.Context(), q)
	if err != nil {
		return err
	}
	answer := struct {
		Data       any     `json:"data"`
		Total      *int64  `json:"total"`
		Limit      int     `json:"limit"`
		Offset     int64   `json:"offset"`
		NextCursor *string `json:"next_cursor"`
	}{listJSON(page.Messages, all), nil, q.Limit, q.Offset, nil}
	if !q.NoTotal {
		answer.Total = &page.Total
	}
	if page.NextCursor != "" {
		answer.NextCursor = &page.NextCursor
	}
	return writeJSON(c, http.StatusOK, answer)
}

// getMessage answers GET /messages/{message_id}.
func (s *Server) getMessage(c *call) error {
	v, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	source := v.text("source")
	if err := v.err(); err != nil {
		return err
	}
	id := c.r.PathValue("message_id")
	if strings.IndexByte(id, 0) >= 0 {
		return message.ErrNotFound // no store can hold it
	}
	m, err := s.Store.Get(c.r.Context(), source, id)
	if err != nil {
		return err
	}
	statuses, err := s.Store.Statuses(c.r.Context(), m.Source, m.ID)
	if err != nil {
		return err
	}
	one := oneMessageJSON{fullMessageJSON: toFullJSON(m)}
	one.Status, one.Statuses = toStatusesJSON(statuses)
	return writeJSON(c, http.StatusOK, one)
}

// getStatuses answers GET /statuses: what was reported of a message, which may
// be one that was sent by other means and never came to lyftr.
func (s *Server) getStatuses(c *call) error {
	v, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	id, source := v.text("message_id"), v.text("source")
	if id == "" && len(v.faults) == 0 {
		v.fault("message_id", message.FaultMissing, "Field required")
	}
	if err := v.err(); err != nil {
		return err
	}
	statuses, err := s.Store.Statuses(c.r.Context(), source, id)
	if err != nil {
		return err
	}
	answer := struct {
		ID     string         `json:"message_id"`
		Source *string        `json:"source"`
		Status *string        `json:"status"`
		Data   []statusOfJSON `json:"data"`
	}{ID: id}
	if len(statuses) > 0 {
		answer.Source = &statuses[0].Source
	}
	answer.Status, answer.Data = toStatusesJSON(statuses)
	return writeJSON(c, http.StatusOK, answer)
}
