package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// client is who sent a request, as far as that can be known.
type client struct {
	address netip.Addr // the zero Addr if the connection has none
	// secure says that the client came by HTTPS.
	secure bool
}

// client finds out who sent the request. What the headers of a proxy say counts
// only if the connection comes from one that is trusted: everybody can send them.
func (s *Server) client(r *http.Request) client {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // a socket without a port is nobody's
	c := client{address: plain(peer.Addr()), secure: r.TLS != nil}
	if !s.trusts(c.address) {
		return c
	}
	// Each proxy adds whom it got the request from at the end, so what trusted
	// ones wrote is read from there, as far as it goes. The first that is not
	// trusted is the client; what stands before it may be its invention.
	list := strings.Join(r.Header["X-Forwarded-For"], ",")
	for more := list != ""; more && s.trusts(c.address); {
		last := list
		i := strings.LastIndexByte(list, ',')
		if more = i >= 0; more {
			list, last = list[:i], list[i+1:]
		}
		address, ok := parseForwarded(strings.TrimSpace(last))
		if !ok {
			break
		}
		c.address = address
	}
	// Of several proxies the first knows how the client came.
	if proto := r.Header["X-Forwarded-Proto"]; len(proto) > 0 {
		first, _, _ := strings.Cut(proto[0], ",")
		c.secure = c.secure || strings.EqualFold(strings.TrimSpace(first), "https")
	}
	return c
}

func (s *Server) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// parseForwarded reads an address as proxies write it: some add a port.
func parseForwarded(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(s)
		a = withPort.Addr()
	}
	return plain(a), err == nil
}

// plain is an address in the one form in which addresses are compared.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// network is what is counted as one client: whoever has an address of IPv6 has
// its /64, more addresses than could be counted.
func (c client) network() netip.Addr {
	const bits = 64
	if !c.address.Is6() {
		return c.address
	}
	p, _ := c.address.Prefix(bits) // a /64 of IPv6 always exists
	return p.Addr()
}
