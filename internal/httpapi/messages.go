package httpapi

import (
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

// fullMessageJSON is a message with all that is known of it.
type fullMessageJSON struct {
	messageJSON
	Source     string  `json:"source"`
	ReceivedAt *string `json:"received_at"`
}

func toFullJSON(m message.Message) fullMessageJSON {
	full := fullMessageJSON{toJSON(m), m.Source, nil}
	if !m.ReceivedAt.IsZero() {
		at := m.ReceivedAt.Format(time.RFC3339Nano)
		full.ReceivedAt = &at
	}
	return full
}

// listMessages answers GET /messages.
func (s *Server) listMessages(c *call) error {
	q, err := parseListQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	page, err := s.Store.List(c.r.Context(), q)
	if err != nil {
		return err
	}
	answer := struct {
		Data       []messageJSON `json:"data"`
		Total      int64         `json:"total"`
		Limit      int           `json:"limit"`
		Offset     int64         `json:"offset"`
		NextCursor *string       `json:"next_cursor"`
	}{make([]messageJSON, len(page.Messages)), page.Total, q.Limit, q.Offset, nil}
	for i, m := range page.Messages {
		answer.Data[i] = toJSON(m)
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
	return writeJSON(c, http.StatusOK, toFullJSON(m))
}
