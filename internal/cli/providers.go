package cli

import (
	"github.com/alecthomas/kong"

	"lyftr/internal/provider"
)

// providerSettings are the settings of all providers: each provider's struct
// declares its own.
type providerSettings struct {
	kong.Plugins
}

func newProviderSettings() providerSettings {
	var p providerSettings
	for _, one := range provider.All() {
		p.Plugins = append(p.Plugins, one)
	}
	return p
}

// list returns all providers, in the order of provider.All.
func (p *providerSettings) list() []provider.Provider {
	list := make([]provider.Provider, len(p.Plugins))
	for i, one := range p.Plugins {
		list[i], _ = one.(provider.Provider)
	}
	return list
}

// prepare readies the providers with their settings.
func (p *providerSettings) prepare() error {
	for _, one := range p.list() {
		if err := one.Prepare(); err != nil {
			return usageError{err}
		}
	}
	return nil
}

// on returns the providers that have a secret.
func (p *providerSettings) on() []provider.Provider {
	var on []provider.Provider
	for _, one := range p.list() {
		if len(one.KeyIDs()) > 0 {
			on = append(on, one)
		}
	}
	return on
}

// sources returns the sources of all providers.
func (p *providerSettings) sources() []string {
	var sources []string
	for _, one := range p.list() {
		sources = append(sources, one.Source())
	}
	return sources
}

// warnings are what is allowed and not wise.
func (p *providerSettings) warnings() []string {
	var all []string
	for _, one := range p.list() {
		all = append(all, one.Warnings()...)
	}
	return all
}
