package cli

import (
	"log/slog"
	"net/netip"
	"strings"
)

// accessSettings say who may read, and who is believed.
type accessSettings struct {
	APIToken       string `name:"api-token" setting:"API_TOKEN" secret:"" placeholder:"TOKEN,…" help:"Tokens, separated by commas, one of which is needed to see messages. Without any they are open."`
	TrustedProxies string `setting:"TRUSTED_PROXIES" placeholder:"NETWORK,…" help:"Addresses and networks, separated by commas, of proxies in front: only their X-Forwarded-For and X-Forwarded-Proto are believed."`
	FailureLimit   int    `setting:"FAILURE_LIMIT" default:"120" placeholder:"N" help:"Wrong signatures a minute, and wrong API tokens, that an address may send before it is answered 429; 0 is no limit."`
}

// maxFailureLimit is more than a server can answer.
const maxFailureLimit = 100_000_000

// check finds what is wrong with the settings.
func (a *accessSettings) check() error {
	if a.APIToken != "" && len(a.tokens()) == 0 {
		return usagef("API_TOKEN holds no token: give at least one, or leave it unset to show messages to everybody")
	}
	if a.FailureLimit < 0 || a.FailureLimit > maxFailureLimit {
		return usagef("FAILURE_LIMIT: must be 0 to %d", maxFailureLimit)
	}
	_, err := parseNetworks(a.TrustedProxies)
	return err
}

func (a *accessSettings) tokens() []string { return split(a.APIToken) }

// proxies are the networks of TRUSTED_PROXIES, which check has seen.
func (a *accessSettings) proxies() []netip.Prefix {
	networks, _ := parseNetworks(a.TrustedProxies)
	return networks
}

// warnAccess warns of what is allowed and not wise.
func (a *accessSettings) warnAccess(log *slog.Logger) {
	if len(a.tokens()) == 0 {
		log.Warn("API_TOKEN is not set: whoever reaches this server can read the messages")
	}
	if short := a.shortTokens(); short > 0 {
		log.Warn("API_TOKEN holds tokens that can be guessed: take at least 16 bytes", "short_tokens", short)
	}
}

// leastToken is the length below which a token draws a warning, in bytes.
const leastToken = 16

// shortTokens is how many tokens are shorter than that.
func (a *accessSettings) shortTokens() (n int) {
	for _, t := range a.tokens() {
		if len(t) < leastToken {
			n++
		}
	}
	return n
}

// parseNetworks parses addresses and networks that stand between commas. An
// address is the network of itself.
func parseNetworks(s string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, one := range split(s) {
		n, err := netip.ParsePrefix(one)
		if err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(one)
			n = netip.PrefixFrom(a, a.BitLen())
			if a.Zone() != "" {
				n = netip.Prefix{}
			}
		}
		// What IPv6 calls ::ffff:192.0.2.1 is an address of IPv4.
		if n.Addr().Is4In6() {
			const before = 96 // bits
			n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-before)
		}
		if err != nil || !n.IsValid() {
			return nil, usagef("TRUSTED_PROXIES: %q is no address and no network: write them as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32, with commas between", one)
		}
		networks = append(networks, n)
	}
	return networks, nil
}

// split returns what stands between commas, without what is empty.
func split(s string) []string {
	var parts []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
