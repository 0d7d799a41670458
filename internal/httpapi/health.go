package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"
)

type statusJSON struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
}

// live answers GET /health/live.
func (s *Server) live(c *call) error {
	return writeJSON(c, http.StatusOK, statusJSON{Status: "ok"})
}

// readyTimeout is how long the store may take to prove that it can write.
const readyTimeout = 2 * time.Second

// ready answers GET /health/ready.
func (s *Server) ready(c *call) error {
	if checks, ok := s.checkReady(c.r.Context()); !ok {
		return writeJSON(c, http.StatusServiceUnavailable, statusJSON{"not ready", checks})
	}
	return writeJSON(c, http.StatusOK, statusJSON{Status: "ready"})
}

// checkReady finds out whether a message could be stored now. The reasons are
// kept short, for anybody may ask; the log has the details.
func (s *Server) checkReady(ctx context.Context) (checks map[string]string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	checks, ok = map[string]string{"store": "ok", "secret": "ok"}, true
	if err := s.Store.Ready(ctx); err != nil {
		checks["store"], ok = "cannot save messages", false
		if pass, skipped := s.errors.Allow("ready: "+err.Error(), time.Now()); pass {
			s.Logger.Error("store is not ready", "error", err.Error(), "not_logged_before", skipped)
		}
	}
	if !slices.ContainsFunc(s.access.Load().providers, isOn) {
		checks["secret"], ok = "no secret is set, neither WEBHOOK_SECRET nor that of a provider", false
	}
	if s.draining.Load() {
		checks["server"], ok = "shutting down", false
	}
	return checks, ok
}

// metrics answers GET /metrics, after the check of /health/ready.
func (s *Server) metrics(c *call) error {
	_, ok := s.checkReady(c.r.Context())
	s.Metrics.Ready(ok)
	s.Metrics.Handler().ServeHTTP(c, c.r)
	return nil
}
