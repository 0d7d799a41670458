package httpapi

import (
	"net/http"
	"time"
)

// stats answers GET /stats.
func (s *Server) stats(c *call) error {
	v, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	f := v.statsFilter()
	if err := v.err(); err != nil {
		return err
	}
	st, err := s.Store.Stats(c.r.Context(), f)
	if err != nil {
		return err
	}
	// The two forms of the contract name the sender differently: both are given.
	type sender struct {
		From       string `json:"from"`
		FromMSISDN string `json:"from_msisdn"`
		Count      int64  `json:"count"`
	}
	answer := struct {
		Total     int64    `json:"total_messages"`
		Senders   int64    `json:"senders_count"`
		PerSender []sender `json:"messages_per_sender"`
		First     *string  `json:"first_message_ts"`
		Last      *string  `json:"last_message_ts"`
	}{Total: st.Total, Senders: st.Senders, PerSender: make([]sender, len(st.Top))}
	for i, t := range st.Top {
		answer.PerSender[i] = sender{t.From, t.From, t.Count}
	}
	if st.Total > 0 {
		answer.First, answer.Last = &st.FirstTS, &st.LastTS
	}
	return writeJSON(c, http.StatusOK, answer)
}

// timeline answers GET /stats/timeline.
func (s *Server) timeline(c *call) error {
	v, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	name, bucket := v.bucket()
	f := v.statsFilter()
	if err := v.err(); err != nil {
		return err
	}
	counts, err := s.Store.Timeline(c.r.Context(), f, bucket)
	if err != nil {
		return err
	}
	type point struct {
		TS    string `json:"ts"`
		Count int64  `json:"count"`
	}
	answer := struct {
		Bucket string  `json:"bucket"`
		Data   []point `json:"data"`
	}{name, make([]point, len(counts))}
	for i, b := range counts {
		answer.Data[i] = point{b.Start.Format(time.RFC3339), b.Count}
	}
	return writeJSON(c, http.StatusOK, answer)
}
