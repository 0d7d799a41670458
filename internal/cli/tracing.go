package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lyftr/internal/telemetry"
)

// tracingSettings say where the spans of requests go. Their names are those of
// OpenTelemetry. No other of its variables is read.
type tracingSettings struct {
	OTLPEndpoint string `name:"otel-exporter-otlp-endpoint" setting:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"Collector of traces, such as http://localhost:4318: spans are posted to its /v1/traces. Without it there are none."`
	OTLPHeaders  string `name:"otel-exporter-otlp-headers" setting:"OTEL_EXPORTER_OTLP_HEADERS" secret:"" placeholder:"NAME=VALUE,…" help:"Headers that the collector wants to see, percent-encoded."`
	OTLPProtocol string `name:"otel-exporter-otlp-protocol" setting:"OTEL_EXPORTER_OTLP_PROTOCOL" default:"http/protobuf" placeholder:"PROTOCOL" help:"How to speak to the collector: there is no other way."`
	ServiceName  string `name:"otel-service-name" setting:"OTEL_SERVICE_NAME" default:"lyftr" placeholder:"NAME" help:"Name of this service in traces."`
	Sampler      string `name:"otel-traces-sampler" setting:"OTEL_TRACES_SAMPLER" default:"parentbased_always_on" placeholder:"NAME" help:"Which requests have spans: always_on, always_off, traceidratio, or one of these behind parentbased_ for what the caller has not decided."`
	SamplerArg   string `name:"otel-traces-sampler-arg" setting:"OTEL_TRACES_SAMPLER_ARG" placeholder:"SHARE" help:"Share of traces that a traceidratio takes, 0 to 1. Without it all."`
}

// flushTimeout is how long a server that has stopped waits for the collector.
const flushTimeout = 3 * time.Second

// check finds what is wrong with the settings.
func (t *tracingSettings) check() error {
	if _, err := t.options(); err != nil {
		return usageError{err}
	}
	return nil
}

// options are the settings as tracing takes them. Without a collector they have
// no URL.
func (t *tracingSettings) options() (telemetry.TracingOptions, error) {
	fail := func(err error) (telemetry.TracingOptions, error) { return telemetry.TracingOptions{}, err }
	if t.OTLPEndpoint == "" {
		// The others may be meant for the programs beside this one.
		return telemetry.TracingOptions{}, nil
	}
	target, err := parseEndpoint(t.OTLPEndpoint)
	if err != nil {
		return fail(fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err))
	}
	header, err := parseHeaders(t.OTLPHeaders)
	if err != nil {
		return fail(fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: %w", err))
	}
	if t.OTLPProtocol != "http/protobuf" {
		return fail(fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL: %q is not spoken here: use http/protobuf, on the collector's port for it, mostly 4318", t.OTLPProtocol))
	}
	// A ratio's argument is looked at by itself, so that the error names it.
	if _, err := telemetry.ParseSampler(t.Sampler, ""); err != nil {
		return fail(fmt.Errorf("OTEL_TRACES_SAMPLER: %w", err))
	}
	sampler, err := telemetry.ParseSampler(t.Sampler, t.SamplerArg)
	if err != nil {
		return fail(fmt.Errorf("OTEL_TRACES_SAMPLER_ARG: %w", err))
	}
	return telemetry.TracingOptions{URL: target, Header: header, Sampler: sampler, Service: t.ServiceName, Version: Version()}, nil
}

// startTracing starts tracing, or returns nil without a collector. Stop, which
// is called in any case, sends what is left.
func (t *tracingSettings) startTracing(log *slog.Logger, metrics *telemetry.Metrics) (tracing *telemetry.Tracing, stop func() error) {
	o, err := t.options()
	if err != nil || o.URL == "" { // check has seen the error
		return nil, func() error { return nil }
	}
	o.Logger, o.Metrics = log, metrics
	log.Info("spans go to a collector", "endpoint", o.URL, "sampler", t.Sampler)
	tracing = telemetry.NewTracing(o)
	return tracing, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		return tracing.Shutdown(ctx)
	}
}

// parseEndpoint returns the URL for spans at a collector. It is empty for none.
func parseEndpoint(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	// The error does not quote it: it may have a password in it.
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", errors.New("write it as http://host:4318, with the path before /v1/traces if there is one")
	}
	if u.User != nil {
		return "", errors.New("it has a name or password in it: put that into OTEL_EXPORTER_OTLP_HEADERS")
	}
	return u.JoinPath("v1", "traces").String(), nil
}

// parseHeaders parses headers, name=value with commas between, as W3C Baggage
// has them. Its errors do not quote them: they are secret.
func parseHeaders(s string) (http.Header, error) {
	header := http.Header{}
	for i, one := range split(s) {
		name, value, ok := strings.Cut(one, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		decoded, err := url.PathUnescape(value)
		if !ok || name == "" || strings.Trim(name, headerName) != "" || err != nil || strings.ContainsFunc(decoded, isControl) {
			return nil, fmt.Errorf("number %d is no header: write them as name=value, with commas between and values percent-encoded", i+1)
		}
		header.Add(name, decoded)
	}
	return header, nil
}

// headerName has the characters of a header's name (RFC 9110, 5.6.2).
const headerName = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
