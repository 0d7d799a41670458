package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	prometheusDir  = "../deploy/prometheus"
	rulesFile      = prometheusDir + "/lyftr.rules.yml"
	prometheusFile = prometheusDir + "/prometheus.yml"
	boardFile      = "../deploy/grafana/lyftr.json"
)

// alertRule is an alert as its file has it.
type alertRule struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

// alertRules returns all alerts.
func alertRules(t *testing.T) (all []alertRule) {
	t.Helper()
	for _, group := range read[[]struct{ Rules []alertRule }](documents(t, rulesFile)[0], "groups") {
		all = append(all, group.Rules...)
	}
	if len(all) < 8 {
		t.Fatalf("%d alerts", len(all))
	}
	return all
}

// TestAlerts holds the alerts to what fires them and to their runbook.
func TestAlerts(t *testing.T) {
	for _, arguments := range [][]string{
		{"check", "config", prometheusFile}, // and the rules that it names
		{"test", "rules", prometheusDir + "/lyftr_test.yml", prometheusDir + "/lyftr_days_test.yml"},
	} {
		if out, err := exec.Command("promtool", arguments...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
		}
	}
	var tested []byte
	for _, name := range []string{"lyftr_test.yml", "lyftr_days_test.yml"} {
		b, err := os.ReadFile(filepath.Join(prometheusDir, name))
		if err != nil {
			t.Fatal(err)
		}
		tested = append(tested, b...)
	}
	runbook, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	var headings []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (Lyftr\w+)$`).FindAllSubmatch(runbook, -1) {
		headings = append(headings, string(m[1]))
	}
	var names []string
	for _, a := range alertRules(t) {
		names = append(names, a.Alert)
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", a.Alert, s)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s does not say what to do", a.Alert)
		}
		if got, want := a.Annotations["runbook_url"], "docs/OPERATIONS.md#"+strings.ToLower(a.Alert); got != want {
			t.Errorf("the runbook of %s is %s, not %s", a.Alert, got, want)
		}
		// Only what fires in a test is written so.
		fires := regexp.MustCompile(`alertname="` + a.Alert + `",alertstate="firing"|alertname: ` + a.Alert + `\n +exp_alerts:`)
		if !fires.Match(tested) {
			t.Errorf("%s does not fire in any test", a.Alert)
		}
	}
	slices.Sort(names)
	slices.Sort(headings)
	if !slices.Equal(names, headings) {
		t.Errorf("the alerts are\n%v\nand the runbook has\n%v", names, headings)
	}
}

// TestMonitoringServices holds what compose.yaml mounts and scrapes to the files.
func TestMonitoringServices(t *testing.T) {
	services := documents(t, composeFile)[0].at("services")
	for _, name := range []string{"prometheus", "grafana"} {
		for _, volume := range read[[]string](services, name, "volumes") {
			if path, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(path, ".") {
				if _, err := os.Stat(filepath.Join("..", path)); err != nil {
					t.Errorf("%s mounts what is not there: %v", name, err)
				}
			}
		}
		for _, port := range read[[]string](services, name, "ports") {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s is open to others: %s", name, port)
			}
		}
	}
	scrape := documents(t, prometheusFile)[0].at("scrape_configs", "0", "dns_sd_configs", "0")
	for _, name := range read[[]string](scrape, "names") {
		services.at(name)
	}
	if port := read[int](scrape, "port"); port != 8000 {
		t.Errorf("port %d is scraped", port)
	}
	source := documents(t, "../deploy/grafana/provisioning/datasources/prometheus.yaml")[0].at("datasources", "0")
	if got := read[string](source, "url"); got != "http://prometheus:9090" {
		t.Errorf("Grafana asks %s", got)
	}
	if got, want := read[string](source, "jsonData", "timeInterval"), read[string](documents(t, prometheusFile)[0], "global", "scrape_interval"); got != want {
		t.Errorf("Grafana is told of a look every %s, and it is every %s", got, want)
	}
}

// board is what is looked at of Grafana's model of a board.
type board struct {
	Title, UID    string
	SchemaVersion int
	Panels        []panel
	Annotations   struct {
		List []struct{ Name, Expr string }
	}
	Templating struct {
		List []struct {
			Name, Type string
			Definition string
		}
	}
}

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ UID string }
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Options                  struct{ YAxis struct{ Unit string } }
	Targets                  []struct {
		RefID, Expr, LegendFormat, Format string
		Datasource                        struct{ UID string }
	}
}

func readBoard(t *testing.T) (b board) {
	t.Helper()
	text, err := os.ReadFile(boardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Panels) < 20 {
		t.Fatalf("the board has %d panels", len(b.Panels))
	}
	return b
}

// TestBoard holds the board to what Grafana shows without a plugin.
func TestBoard(t *testing.T) {
	b := readBoard(t)
	// Of Grafana's own list of units.
	units := []string{"none", "short", "percentunit", "bytes", "s", "ms", "cps", "reqps"}
	ids := map[int]bool{}
	cells := map[[2]int]string{}
	for _, p := range b.Panels {
		if p.ID <= 0 || ids[p.ID] {
			t.Errorf("%s: the id %d is not its own", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W <= 0 || g.H <= 0 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s lies at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, taken := cells[[2]int{x, y}]; taken {
					t.Fatalf("%s lies on %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"stat", "timeseries", "heatmap"}, p.Type) {
			t.Errorf("%s is of type %s", p.Title, p.Type)
		}
		if p.Title == "" || p.Description == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s has no title, description, source or question", p.Title)
		}
		if unit := p.FieldConfig.Defaults.Unit + p.Options.YAxis.Unit; !slices.Contains(units, unit) {
			t.Errorf("%s has the unit %q", p.Title, unit)
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.RefID == "" || refs[q.RefID] || q.Expr == "" || q.Datasource.UID != "${datasource}" {
				t.Errorf("%s: a question is not whole: %+v", p.Title, q)
			}
			refs[q.RefID] = true
			if strings.Contains(q.Expr, "lyftr_") && (!strings.Contains(q.Expr, `job="$job"`) || !strings.Contains(q.Expr, `instance=~"$instance"`)) {
				t.Errorf("%s asks of all lyftrs: %s", p.Title, q.Expr)
			}
		}
	}
	var variables []string
	for _, v := range b.Templating.List {
		variables = append(variables, v.Name+" "+v.Type)
	}
	if want := []string{"datasource datasource", "job query", "instance query"}; !slices.Equal(variables, want) {
		t.Errorf("the variables are %q, not %q", variables, want)
	}
}

// prometheus is a running Prometheus server.
type prometheus struct {
	t   *testing.T
	url string
}

// startPrometheus runs a Prometheus that scrapes lyftr by the configuration of
// deploy, at another pace and another address, until the end of the test.
func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	config := read[map[string]any](part{t, "prometheus.yml", documents(t, prometheusFile)[0].Node})
	job := config["scrape_configs"].([]any)[0].(map[string]any)
	delete(job, "dns_sd_configs")
	job["static_configs"] = []any{map[string]any{"targets": []string{target}}}
	config["global"] = map[string]any{"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
	config["rule_files"] = []string{rules}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	write(t, file, string(text))
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:"+port)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus says:\n%s", log.String())
		}
	})
	return &prometheus{t, "http://127.0.0.1:" + port}
}

// ask decodes what the API answers to a question.
func (p *prometheus) ask(data any, path string, query url.Values) error {
	resp, err := http.Get(p.url + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return nil
}

// values returns the series of an expression whose value is a number.
func (p *prometheus) values(expr string) (values []float64, err error) {
	var data struct{ Result []struct{ Value [2]any } }
	if err := p.ask(&data, "/api/v1/query", url.Values{"query": {expr}}); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	for _, r := range data.Result {
		text, _ := r.Value[1].(string)
		if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	return values, nil
}

// lint is what promtool says of names that the contract gives.
var lint = []string{
	"request_latency_ms metric names should not contain abbreviated units",
}

// TestMonitoring watches a running server with a Prometheus: what alerts and
// board ask for is there, and a server in good health raises no alarm.
func TestMonitoring(t *testing.T) {
	const previous = "the-secret-before"
	p := start(t, filepath.Join(t.TempDir(), "app.db"), "WEBHOOK_SECRET_PREVIOUS="+previous)
	prom := startPrometheus(t, p.address)
	client := newClient(t, 1)
	var sent int
	deliver := func() {
		b := body(fmt.Sprintf("m%d", sent), "+919876543210", time.Now().UTC().Format(time.RFC3339), nil)
		sent++
		for range 2 { // the second is a repeat
			if status, answer := post(client, p.url("/webhook"), b); status != http.StatusOK {
				t.Fatalf("%d %s", status, answer)
			}
		}
		if sent < 4 {
			if status, answer := postSigned(client, p.url("/webhook"), b, strings.Repeat("0", 64)); status != http.StatusUnauthorized {
				t.Fatalf("%d %s", status, answer)
			}
		}
	}
	// While some arrive, so that what is counted grows from one look to the next.
	eventually(t, 30*time.Second, "Prometheus has looked at lyftr", func() bool {
		deliver()
		looks, err := prom.values(`count_over_time(lyftr_ready{job="lyftr"}[1m]) > 5`)
		return err == nil && len(looks) > 0
	})

	expressions := map[string]string{} // what is asked, by whom
	for _, a := range alertRules(t) {
		expressions[a.Alert] = a.Expr
	}
	b := readBoard(t)
	substitute := strings.NewReplacer("$__rate_interval", "5s", "$job", "lyftr", "$instance", ".*")
	asked := func(by, expr string) {
		expr = substitute.Replace(expr)
		expressions[by] = expr
		values, err := prom.values(expr)
		if err != nil || len(values) == 0 {
			t.Errorf("%s: no answer to %s: %v", by, expr, err)
		}
	}
	for _, panel := range b.Panels {
		for _, q := range panel.Targets {
			asked(panel.Title+" "+q.RefID, q.Expr)
		}
	}
	for _, a := range b.Annotations.List {
		if a.Expr != "" {
			asked(a.Name, a.Expr)
		}
	}
	// An alert in peace has no answer, but what it looks at is there: a name or
	// a label that does not exist would keep it silent for ever.
	selector := regexp.MustCompile(`[a-z_]+\{[^}]*\}`)
	for by, expr := range expressions {
		selectors := selector.FindAllString(expr, -1)
		if len(selectors) == 0 && by != "Alerts A" { // ALERTS
			t.Errorf("%s looks at nothing: %s", by, expr)
		}
		for _, s := range selectors {
			if values, err := prom.values(s); err != nil || len(values) == 0 {
				t.Errorf("%s looks at %s, which is not there: %v", by, s, err)
			}
		}
	}

	var data struct {
		Groups []struct {
			LastEvaluation time.Time
			Rules          []struct{ Name, Health, LastError, State string }
		}
	}
	now := time.Now()
	eventually(t, 30*time.Second, "all alerts are looked at once more", func() bool {
		data.Groups = nil
		if err := prom.ask(&data, "/api/v1/rules", nil); err != nil {
			t.Fatal(err)
		}
		for _, group := range data.Groups {
			if group.LastEvaluation.Before(now) {
				return false
			}
		}
		return true
	})
	var alerts int
	for _, group := range data.Groups {
		for _, r := range group.Rules {
			alerts++
			// Pending is what a machine that is busy with other tests may cause.
			if r.Health != "ok" || r.State == "firing" {
				t.Errorf("%s is %s and %s %s", r.Name, r.State, r.Health, r.LastError)
			}
		}
	}
	if want := len(alertRules(t)); alerts != want {
		t.Errorf("%d of %d alerts are looked at", alerts, want)
	}

	_, text := get(t, p.url("/metrics"))
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	said, _ := check.CombinedOutput() // it fails if it says something
	if got := strings.Split(strings.TrimSpace(string(said)), "\n"); !slices.Equal(got, lint) {
		t.Errorf("promtool says of the metrics:\n%s", said)
	}
	document, err := os.ReadFile("../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+) `).FindAllSubmatch(text, -1) {
		names[string(m[1])] = true
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)(?:\\{[a-z,]+\\})?` \\| (?:counter|gauge|histogram) \\|").FindAllSubmatch(document, -1) {
		documented[string(m[1])] = true
	}
	for name := range names {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			delete(names, name)
		}
	}
	if !maps.Equal(names, documented) {
		t.Errorf("the metrics are\n%v\nand docs/API.md has\n%v", slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(documented)))
	}
}
