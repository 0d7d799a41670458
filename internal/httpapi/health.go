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

// ready answers GET /health/ready. The reasons are kept short, for anybody may
// ask; the log has the details.
func (s *Server) ready(c *call) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), readyTimeout)
	defer cancel()
	checks := map[string]string{"store": "ok", "secret": "ok"}
	ok := true
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
	if !ok {
		return writeJSON(c, http.StatusServiceUnavailable, statusJSON{"not ready", checks})
	}
	return writeJSON(c, http.StatusOK, statusJSON{Status: "ready"})
}

// metrics answers GET /metrics.
func (s *Server) metrics(c *call) error {
	s.Metrics.Handler().ServeHTTP(c, c.r)
	return nil
}
