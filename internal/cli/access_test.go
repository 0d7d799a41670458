package cli

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"lyftr/internal/telemetry"
)

func TestParseNetworks(t *testing.T) {
	for s, want := range map[string]string{
		"":                                     "[]",
		" , ":                                  "[]",
		"192.0.2.1":                            "[192.0.2.1/32]",
		"10.0.0.0/8, 2001:db8::1,::1/128,":     "[10.0.0.0/8 2001:db8::1/128 ::1/128]",
		"::ffff:192.0.2.1,::ffff:10.0.0.0/104": "[192.0.2.1/32 10.0.0.0/8]",
		"0.0.0.0/0,::/0":                       "[0.0.0.0/0 ::/0]",
	} {
		got, err := parseNetworks(s)
		if fmt.Sprint(got) != want || err != nil {
			t.Errorf("%q: got %v, %v, want %s", s, got, err, want)
		}
	}
	for _, s := range []string{
		"localhost", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.1:80", "[::1]", "2001:db8::/129", "fe80::1%eth0", "::ffff:10.0.0.0/90", "10.0.0.1 10.0.0.2", "*",
	} {
		if got, err := parseNetworks("192.0.2.1," + s); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("%q: got %v, %v, want an error that names it", s, got, err)
		}
	}
}

// A wrong setting stops the start with one line that names it.
func TestAccessSettings(t *testing.T) {
	for _, setting := range []string{"TRUSTED_PROXIES=10.0.0.0/33", "FAILURE_LIMIT=-1", "FAILURE_LIMIT=100000001", "FAILURE_LIMIT=x", "API_TOKEN=,"} {
		name, value, _ := strings.Cut(setting, "=")
		getenv := func(n string) (string, bool) {
			if n == name {
				return value, true
			}
			return "", false
		}
		var stdout, stderr bytes.Buffer
		code := Run(t.Context(), []string{"serve"}, getenv, nil, &stdout, &stderr)
		named := strings.Contains(stderr.String(), name) || strings.Contains(stderr.String(), strings.ToLower(strings.ReplaceAll(name, "_", "-")))
		if code != exitUsage || strings.Count(stderr.String(), "\n") != 1 || !named || stdout.Len() != 0 {
			t.Errorf("%s: exit code %d, %s%s", setting, code, stdout.String(), stderr.String())
		}
	}
}

func TestWarnAccess(t *testing.T) {
	for tokens, want := range map[string]string{
		"":                                   "API_TOKEN is not set",
		"sixteen-bytes-16":                   "",
		"fifteen-bytes15,sixteen-bytes-16,x": `"short_tokens":2}`,
	} {
		var log bytes.Buffer
		settings := accessSettings{APIToken: tokens}
		settings.warnAccess(telemetry.NewLogger(&log, slog.LevelInfo))
		if !strings.Contains(log.String(), want) || want == "" && log.Len() > 0 || strings.Contains(log.String(), "fifteen") {
			t.Errorf("of %q it says %q, want %q", tokens, log.String(), want)
		}
	}
}
