package httpapi

import "time"

// SetHeartbeat has streams be silent for so long at most. It is for tests, which
// cannot wait, and called before the first request.
func (s *Server) SetHeartbeat(every time.Duration) { s.heartbeat = every }
