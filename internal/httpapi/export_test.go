package httpapi

import (
	"time"

	"lyftr/internal/provider"
)

// SetHeartbeat has streams be silent for so long at most. It is for tests, which
// cannot wait, and called before the first request.
func (s *Server) SetHeartbeat(every time.Duration) { s.heartbeat = every }

// Route is a route as tests see it.
type Route struct {
	Method, Label string
	// Statuses are those that a client can get.
	Statuses []int
}

// AllRoutes lists the routes that there are.
func AllRoutes() []Route {
	var list []Route
	for _, r := range allRoutes(provider.All()) {
		one := Route{r.method, r.label, []int{500}}
		for _, status := range r.statuses {
			if status != statusClientGone {
				one.Statuses = append(one.Statuses, status)
			}
		}
		list = append(list, one)
	}
	return list
}
