package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	for s, want := range map[string]string{
		"":                              "",
		"http://localhost:4318":         "http://localhost:4318/v1/traces",
		"http://localhost:4318/":        "http://localhost:4318/v1/traces",
		"https://collector.example/in/": "https://collector.example/in/v1/traces",
		"http://[::1]:4318/a%20b":       "http://[::1]:4318/a%20b/v1/traces",
	} {
		if got, err := parseEndpoint(s); got != want || err != nil {
			t.Errorf("%q: got %s, %v, want %s", s, got, err, want)
		}
	}
}

func TestParseHeaders(t *testing.T) {
	for s, want := range map[string]string{
		"": "map[]",
		"authorization=Bearer%20a%3Db, x-scope = 1 ,": "map[Authorization:[Bearer a=b] X-Scope:[1]]",
		"a=b=c,a=": "map[A:[b=c ]]",
		"a=1%2C2":  "map[A:[1,2]]",
		"a=1+2":    "map[A:[1+2]]",
	} {
		if got, err := parseHeaders(s); fmt.Sprint(got) != want || err != nil {
			t.Errorf("%q: got %v, %v, want %s", s, got, err, want)
		}
	}
}

// A wrong setting stops the start with one line that names it, and keeps what is
// secret.
func TestTracingSettings(t *testing.T) {
	for _, setting := range []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318", "OTEL_EXPORTER_OTLP_ENDPOINT=http://", "OTEL_EXPORTER_OTLP_ENDPOINT=http://:4318", "OTEL_EXPORTER_OTLP_ENDPOINT=grpc://localhost:4317",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://a:zqsecret@localhost:4318", "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318?zqsecret", "OTEL_EXPORTER_OTLP_ENDPOINT=http://a:zqsecret\x7f@localhost",
		"OTEL_EXPORTER_OTLP_HEADERS=zqsecret", "OTEL_EXPORTER_OTLP_HEADERS==zqsecret", "OTEL_EXPORTER_OTLP_HEADERS=a=1,b c=zqsecret", "OTEL_EXPORTER_OTLP_HEADERS=a=zqsecret%zz",
		"OTEL_EXPORTER_OTLP_HEADERS=a=zqsecret%0d%0ab: c",
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json",
		"OTEL_TRACES_SAMPLER=sometimes", "OTEL_TRACES_SAMPLER_ARG=2", "OTEL_TRACES_SAMPLER_ARG=x",
	} {
		name, value, _ := strings.Cut(setting, "=")
		getenv := func(n string) (string, bool) {
			switch n {
			case name:
				return value, true
			case "OTEL_EXPORTER_OTLP_ENDPOINT":
				return "http://localhost:4318", true
			case "OTEL_TRACES_SAMPLER":
				return "traceidratio", true
			}
			return "", false
		}
		var stdout, stderr bytes.Buffer
		code := Run(t.Context(), []string{"serve"}, getenv, nil, &stdout, &stderr)
		if code != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), name+":") || stdout.Len() != 0 {
			t.Errorf("%s: exit code %d, %s%s", setting, code, stdout.String(), stderr.String())
		}
		if strings.Contains(stderr.String(), "zqsecret") {
			t.Errorf("%s: %s", setting, stderr.String())
		}
	}
}

// What other programs are told of their collector is nothing to lyftr while it
// has none.
func TestTracingSettingsOfOthers(t *testing.T) {
	others := tracingSettings{OTLPProtocol: "grpc", Sampler: "jaeger_remote", SamplerArg: "x", OTLPHeaders: "x"}
	if o, err := others.options(); o.URL != "" || err != nil {
		t.Errorf("got %q, %v", o.URL, err)
	}
}
