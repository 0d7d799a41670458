package httpapi

import (
	"cmp"
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/telemetry"
)

// rejectionJSON is a refused delivery as GET /rejected shows it.
type rejectionJSON struct {
	When      string  `json:"when"`
	Source    string  `json:"source"`
	Status    int     `json:"status"`
	Result    string  `json:"result"`
	Reason    string  `json:"reason"`
	Size      int64   `json:"size"`
	Hash      *string `json:"hash"`
	RequestID string  `json:"request_id"`
	Times     int     `json:"times"`
}

// rejected answers GET /rejected.
func (s *Server) rejected(c *call) error {
	v, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	limit := int(v.integer("limit", 1, message.MaxRejections, message.MaxRejections))
	source := v.text("source")
	if err := v.err(); err != nil {
		return err
	}
	if err := s.refusals.flush(c.r.Context()); err != nil {
		return err
	}
	list, err := s.Store.Rejected(c.r.Context(), message.MaxRejections)
	if err != nil {
		return err
	}
	if source != "" {
		list = slices.DeleteFunc(list, func(r message.Rejection) bool { return r.Source != source })
	}
	list = list[:min(limit, len(list))]
	answer := struct {
		Data []rejectionJSON `json:"data"`
	}{make([]rejectionJSON, len(list))}
	for i, r := range list {
		answer.Data[i] = rejectionJSON{r.At.UTC().Format(time.RFC3339Nano), r.Source, r.Status, r.Result, r.Reason, r.Size, nil, r.RequestID, r.Times}
		if r.Hash != "" {
			answer.Data[i].Hash = &r.Hash
		}
	}
	return writeJSON(c, http.StatusOK, answer)
}

// remember keeps a refused delivery for GET /rejected. What failed for a fault
// of lyftr's own is none.
func (s *Server) remember(c *call, now time.Time) {
	if !c.webhook {
		s.noteStray(c)
	}
	if c.reason == "" || c.status < http.StatusBadRequest {
		return
	}
	r := message.Rejection{
		At: now.UTC().Truncate(time.Millisecond), Source: c.source, Status: c.status, Result: string(c.result),
		Reason: c.reason, Size: c.size, RequestID: c.id, Times: 1,
	}
	if c.hash != ([len(c.hash)]byte{}) {
		r.Hash = hex.EncodeToString(c.hash[:])
	}
	s.refusals.add(r)
}

// strayResult is what became of a delivery that came to no provider's path.
const strayResult = "no_route"

// noteStray notes why a delivery went nowhere, if the request seems to be one:
// somebody has given its sender the wrong URL.
func (s *Server) noteStray(c *call) {
	if c.label != unmatched && c.status != http.StatusMethodNotAllowed || c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		return
	}
	hint := s.hint(c)
	if hint == "" && !strings.HasPrefix(c.r.URL.Path, "/webhook") {
		return
	}
	if hint == "" {
		hint = "the paths of deliveries are " + strings.Join(s.deliveryPaths(), ", ")
	}
	c.reason = "nothing is received at " + c.shownPath() + ": " + hint
	c.size = max(0, c.r.ContentLength)
	c.result = strayResult
}

// shownPath is the path as a reason names it.
func (c *call) shownPath() string {
	const longest = 100
	p := c.loggedPath()
	if len(p) > longest {
		p = strings.ToValidUTF8(p[:longest], "") + "…"
	}
	return p
}

func (s *Server) deliveryPaths() []string {
	var paths []string
	for _, p := range s.access.Load().providers {
		paths = append(paths, provider.Path(p))
	}
	return paths
}

// hint names the provider whose delivery a request seems to be, by its headers,
// if it came to another path.
func (s *Server) hint(c *call) string {
	for _, p := range s.access.Load().providers {
		if p.Source() != c.source && p.Recognizes(c.r.Header) {
			c.source = cmp.Or(c.source, p.Source())
			return "it looks like a delivery of the source " + p.Source() + ", whose path is " + provider.Path(p)
		}
	}
	return ""
}

// refusals are on their way to the store: a stranger must not be able to make a
// transaction with each request.
type refusals struct {
	store   message.Store
	writing sync.Mutex // held while they are written

	mu      sync.Mutex
	pending []message.Rejection
	timer   *time.Timer // runs write; nil while nothing is pending
	room    float64     // for entries, as it was then
	then    time.Time
}

const (
	// refusalDelay is how long refusals gather before they are written.
	refusalDelay = time.Second
	// refusalTimeout bounds their writing.
	refusalTimeout = 5 * time.Second
	// refusalRoom is how many refusals at once get an entry each, and one more each
	// second: whoever sends more must not push out those of others.
	refusalRoom = 100
)

// add takes one. Those of a client beyond its limit, and others beyond the room
// there is, join an entry of their source and result that is not written yet.
func (r *refusals) add(x message.Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.room, r.then = min(refusalRoom, r.room+max(0, x.At.Sub(r.then).Seconds())), x.At
	if x.Result == string(telemetry.ResultLimited) || r.room < 1 {
		for i := len(r.pending) - 1; i >= 0; i-- {
			if p := &r.pending[i]; p.Result == x.Result && p.Source == x.Source {
				p.Times++
				return
			}
		}
	}
	r.room--
	r.put(append(r.pending, x))
}

// put sets what is pending, less the oldest beyond what is remembered at all.
func (r *refusals) put(list []message.Rejection) {
	r.pending = list[max(0, len(list)-message.MaxRejections):]
	if r.timer == nil && len(r.pending) > 0 {
		r.timer = time.AfterFunc(refusalDelay, r.write)
	}
}

// write writes what is pending, and leaves what it cannot for the next time.
func (r *refusals) write() {
	ctx, cancel := context.WithTimeout(context.Background(), refusalTimeout)
	defer cancel()
	_ = r.flush(ctx) // the store says by itself what is wrong with it
}

// flush writes what is pending.
func (r *refusals) flush(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	batch := r.pending
	r.pending = nil
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	r.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	err := r.store.Reject(ctx, batch)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.put(append(batch, r.pending...))
	}
	return err
}

// close writes what is pending, for the last time.
func (r *refusals) close() {
	r.write()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
}
