package httpapi

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/telemetry"
)

// answerTime is how long an answer may take to be sent that was longer in the
// making than the server's limit for writing.
const answerTime = 10 * time.Second

// eraseMessages answers DELETE /messages. It goes on when the client has gone:
// an erasure that was asked for is not left half done. Only Stop breaks it off.
func (s *Server) eraseMessages(c *call) error {
	if len(s.access.Load().tokens) == 0 {
		return errNoToken
	}
	from, err := parseEraseQuery(c.r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.r.Context()))
	defer cancel()
	forget := context.AfterFunc(s.ending, cancel)
	defer forget()
	deleted, err := s.Store.Erase(ctx, from)
	s.Metrics.Removed(telemetry.ReasonErased, deleted)
	// The limit may have passed. If it cannot be moved, writing fails.
	_ = http.NewResponseController(c).SetWriteDeadline(time.Now().Add(answerTime))
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, struct {
		Deleted int64 `json:"deleted"`
	}{deleted})
}

// extraDetail is FastAPI's word for what does not belong there.
const extraDetail = "Extra inputs are not permitted"

// maxExtra is how many parameters are named that do not belong there.
const maxExtra = 100

// parseEraseQuery returns whose messages are to be erased. What GET /messages
// would ignore is an error here: whoever sends it believes that it narrows what
// is erased.
func parseEraseQuery(r *http.Request) (from string, err error) {
	v, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	names := []string{"from", "from_msisdn"}
	if from = v.phone(names...); from == "" && len(v.faults) == 0 {
		v.fault(names[0], message.FaultMissing, "Field required")
	}
	for _, name := range slices.Sorted(maps.Keys(v.v)) {
		if !slices.Contains(names, name) && len(v.faults) < maxExtra {
			v.fault(name, message.FaultExtra, extraDetail)
		}
	}
	if r.ContentLength != 0 {
		v.faults = append(v.faults, message.Fault{Loc: []any{"body"}, Msg: extraDetail, Type: message.FaultExtra})
	}
	return from, v.err()
}
