package httpapi

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"testing"
)

// Only what a trusted proxy says of a client is believed, and of a list only
// what trusted proxies added.
func TestClient(t *testing.T) {
	t.Parallel()
	s := &Server{Options: Options{TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8:1::/48"),
	}}}
	for _, tt := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"203.0.113.9:5", nil, "203.0.113.9"},
		{"203.0.113.9:5", []string{"198.51.100.1"}, "203.0.113.9"}, // not trusted
		{"192.0.2.2:5", []string{"198.51.100.1"}, "192.0.2.2"},
		{"192.0.2.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:5", nil, "10.1.2.3"},
		{"10.1.2.3:5", []string{""}, "10.1.2.3"},
		{"10.1.2.3:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"[::ffff:10.1.2.3]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"[2001:db8:1::5%eth0]:5", []string{"198.51.100.1"}, "198.51.100.1"},
		// What the client itself sent stands before what the proxies added.
		{"10.1.2.3:5", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"1.1.1.1", "198.51.100.1"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"1.1.1.1", "198.51.100.1,10.9.9.9", "192.0.2.1"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"10.0.0.7, 10.0.0.8"}, "10.0.0.7"},
		// What cannot be read ends the list.
		{"10.1.2.3:5", []string{"198.51.100.1, unknown"}, "10.1.2.3"},
		{"10.1.2.3:5", []string{"198.51.100.1, , 10.0.0.8"}, "10.0.0.8"},
		{"10.1.2.3:5", []string{"198.51.100.1, zq, 10.0.0.8"}, "10.0.0.8"},
		{"10.1.2.3:5", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.1.2.3:5", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"10.1.2.3:5", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"10.1.2.3:5", []string{"2001:db8:1::9, 2001:db8:2::7 ,2001:db8:1::8"}, "2001:db8:2::7"},
		{"@", []string{"198.51.100.1"}, "invalid IP"},
	} {
		got := s.client(&http.Request{RemoteAddr: tt.peer, Header: http.Header{"X-Forwarded-For": tt.forwarded, "X-Forwarded-Proto": nil}})
		if got.address.String() != tt.want || got.secure {
			t.Errorf("%s, %q: got %v, want %s", tt.peer, tt.forwarded, got, tt.want)
		}
	}
	for _, tt := range []struct {
		peer   string
		tls    *tls.ConnectionState
		proto  []string
		secure bool
	}{
		{"203.0.113.9:5", nil, []string{"https"}, false},
		{"203.0.113.9:5", &tls.ConnectionState{}, nil, true},
		{"10.1.2.3:5", nil, []string{"https"}, true},
		{"10.1.2.3:5", nil, []string{" HTTPS , http"}, true},
		{"10.1.2.3:5", nil, []string{"http"}, false},
		{"10.1.2.3:5", nil, nil, false},
	} {
		if got := s.client(&http.Request{RemoteAddr: tt.peer, TLS: tt.tls, Header: http.Header{"X-Forwarded-Proto": tt.proto}}); got.secure != tt.secure {
			t.Errorf("%s, %v, %q: secure is %v", tt.peer, tt.tls != nil, tt.proto, got.secure)
		}
	}
	for address, want := range map[string]string{
		"198.51.100.1": "198.51.100.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::": "2001:db8:1:2::", "::1": "::",
	} {
		if got := (client{address: netip.MustParseAddr(address)}).network(); got.String() != want {
			t.Errorf("%s counts as %v, want %s", address, got, want)
		}
	}
}
