package e2e

import (
	"bytes"
	"errors"
	"io"
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
	composeFile    = "../compose.yaml"
	kubernetesFile = "../deploy/kubernetes/lyftr.yaml"
	balancerFile   = "../deploy/haproxy.cfg"
)

// otherConnections are what a replica has open beside its pool: one that writes
// and one that listens.
const otherConnections = 2

// serverConnections are those that a PostgreSQL server with its default settings
// leaves to ordinary roles: max_connections less superuser_reserved_connections.
const serverConnections = 100 - 3

// setting is a variable of lyftr serve as its help has it.
var setting = regexp.MustCompile(`\$([A-Z][A-Z_]*)`)

// settings returns the variables that lyftr serve reads.
func settings(t *testing.T) []string {
	t.Helper()
	help, err := exec.Command(binary, "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range setting.FindAllStringSubmatch(string(help), -1) {
		names = append(names, m[1])
	}
	for _, name := range []string{"WEBHOOK_SECRET_FILE", "DATABASE_URL", "DRAIN_DELAY"} {
		if !slices.Contains(names, name) {
			t.Fatalf("the help of lyftr serve does not show %s: %v", name, names)
		}
	}
	return names
}

// passwordVariable is not lyftr's but one of those that every client of
// PostgreSQL reads.
const passwordVariable = "PGPASSWORD"

// part is a part of a YAML file that is looked into by path.
type part struct {
	t    *testing.T
	what string
	*yaml.Node
}

// at returns what a path of members and indexes leads to.
func (n part) at(path ...string) part {
	n.t.Helper()
	for _, p := range path {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				if n.Content[i].Value == p {
					next = n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(p); err == nil && i < len(n.Content) {
				next = n.Content[i]
			}
		default: // has no parts
		}
		n.what += "." + p
		if next == nil {
			n.t.Fatalf("%s is not there", n.what)
		}
		if next.Kind == yaml.AliasNode {
			next = next.Alias
		}
		n.Node = next
	}
	return n
}

// read decodes what is there.
func read[T any](n part, path ...string) (v T) {
	n.t.Helper()
	n = n.at(path...)
	if err := n.Decode(&v); err != nil {
		n.t.Fatalf("%s: %v", n.what, err)
	}
	return v
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// documents returns the documents of a YAML file.
func documents(t *testing.T, path string) (all []part) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, part{t, filepath.Base(path), n.Content[0]})
	}
}

// poolOf returns how many connections a DATABASE_URL gives the readers of a
// replica. A machine with many cores would open many if it did not say so.
func poolOf(t *testing.T, databaseURL string) int {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := u.User.Password(); ok {
		t.Error("DATABASE_URL has a password in it")
	}
	n, err := strconv.Atoi(u.Query().Get("pool_max_conns"))
	if err != nil {
		t.Fatalf("DATABASE_URL has no pool_max_conns: %v", err)
	}
	return n
}

// defaultShutdown is SHUTDOWN_TIMEOUT where it is not set.
const defaultShutdown = 10 * time.Second

// TestKubernetesManifest holds the manifest to the program that it starts.
func TestKubernetesManifest(t *testing.T) {
	objects := map[string]part{}
	for _, d := range documents(t, kubernetesFile) {
		kind := read[string](d, "kind")
		d.what = kind
		if _, ok := objects[kind]; ok {
			t.Fatalf("two of kind %s", kind)
		}
		objects[kind] = d
		if name := read[string](d, "metadata", "name"); name != "lyftr" {
			t.Errorf("%s is named %q", kind, name)
		}
	}
	object := func(kind string) part {
		t.Helper()
		if _, ok := objects[kind]; !ok {
			t.Fatalf("there is no %s", kind)
		}
		return objects[kind]
	}
	config := read[map[string]string](object("ConfigMap"), "data")
	secrets := read[map[string]string](object("Secret"), "stringData")
	deployment := object("Deployment").at("spec")
	pod := deployment.at("template", "spec")
	container := pod.at("containers", "0")

	// Nothing that could be taken for a real secret.
	for key, value := range secrets {
		if value != "REPLACE-ME-"+key {
			t.Errorf("the secret %s is no placeholder", key)
		}
	}

	// What is set is read.
	known := settings(t)
	env := container.at("env")
	for name := range config {
		if !slices.Contains(known, name) {
			t.Errorf("the ConfigMap sets %s, which lyftr serve does not read", name)
		}
	}
	var password string
	for i := range env.Content {
		e := env.at(strconv.Itoa(i))
		name := read[string](e, "name")
		if name == passwordVariable {
			password = read[string](e, "valueFrom", "secretKeyRef", "key")
			continue
		}
		if !slices.Contains(known, name) {
			t.Errorf("the container sets %s, which lyftr serve does not read", name)
		}
		// A secret from a file of the Secret.
		if dir, key := filepath.Split(read[string](e, "value")); filepath.Clean(dir) != read[string](container, "volumeMounts", "0", "mountPath") || secrets[key] == "" {
			t.Errorf("%s is a file that is not mounted", name)
		}
	}
	if secrets[password] == "" {
		t.Errorf("%s comes from %q, which the Secret does not have", passwordVariable, password)
	}

	// One port.
	port := read[int](container, "ports", "0", "containerPort")
	portName := read[string](container, "ports", "0", "name")
	annotations := read[map[string]string](deployment, "template", "metadata", "annotations")
	for what, got := range map[string]string{
		"PORT": config["PORT"], "prometheus.io/port": annotations["prometheus.io/port"],
	} {
		if got != strconv.Itoa(port) {
			t.Errorf("%s is %s and the port of the container %d", what, got, port)
		}
	}
	for _, n := range []part{
		object("Service").at("spec", "ports", "0", "targetPort"),
		object("NetworkPolicy").at("spec", "ingress", "0", "ports", "0", "port"),
		container.at("startupProbe", "httpGet", "port"),
		container.at("livenessProbe", "httpGet", "port"),
		container.at("readinessProbe", "httpGet", "port"),
	} {
		if n.Value != portName {
			t.Errorf("%s is %q and the port of the container %q", n.what, n.Value, portName)
		}
	}

	// lyftr starts with these settings, and has what is asked for.
	var started []string
	for name, value := range config {
		if name != "DATABASE_URL" && name != "PORT" {
			started = append(started, name+"="+value)
		}
	}
	p := start(t, filepath.Join(t.TempDir(), "app.db"), started...)
	live, ready := "/health/live", "/health/ready"
	for path, want := range map[string]string{
		read[string](container, "startupProbe", "httpGet", "path"):   live,
		read[string](container, "livenessProbe", "httpGet", "path"):  live,
		read[string](container, "readinessProbe", "httpGet", "path"): ready,
		annotations["prometheus.io/path"]:                            "/metrics",
	} {
		if path != want {
			t.Errorf("the probe asks %s, not %s", path, want)
		}
		if status, answer := get(t, p.url(path)); status != http.StatusOK {
			t.Errorf("%s answers %d %s", path, status, answer)
		}
	}

	// It may end in its time, and nothing more is sent to it by then.
	drain, shutdown := duration(t, config["DRAIN_DELAY"]), duration(t, config["SHUTDOWN_TIMEOUT"])
	if grace := time.Duration(read[int](pod, "terminationGracePeriodSeconds")) * time.Second; grace <= drain+shutdown {
		t.Errorf("it is killed after %v, and needs %v to drain and %v to shut down", grace, drain, shutdown)
	}
	readiness := container.at("readinessProbe")
	if noticed := time.Duration(read[int](readiness, "periodSeconds")*read[int](readiness, "failureThreshold")) * time.Second; drain <= noticed {
		t.Errorf("it drains for %v, and a probe notices after %v", drain, noticed)
	}

	// As many as the budget wants stay, and the database has room for all.
	hpa := object("HorizontalPodAutoscaler").at("spec")
	replicas, least, most := read[int](deployment, "replicas"), read[int](hpa, "minReplicas"), read[int](hpa, "maxReplicas")
	budget := read[int](object("PodDisruptionBudget"), "spec", "minAvailable")
	if budget >= replicas || budget >= least || replicas < least || replicas > most {
		t.Errorf("a budget of %d for %d replicas, between %d and %d", budget, replicas, least, most)
	}
	update := deployment.at("strategy", "rollingUpdate")
	if n := read[int](update, "maxUnavailable"); n != 0 {
		t.Errorf("an update takes %d away before there are others", n)
	}
	most += read[int](update, "maxSurge")
	if n := most * (poolOf(t, config["DATABASE_URL"]) + otherConnections); n > serverConnections {
		t.Errorf("%d replicas open %d connections, and a server has %d", most, n, serverConnections)
	}

	// Every selector is that of the Pods.
	label := read[map[string]string](deployment, "template", "metadata", "labels")["app.kubernetes.io/name"]
	for _, n := range []part{
		deployment.at("selector", "matchLabels"), object("Service").at("spec", "selector"),
		object("PodDisruptionBudget").at("spec", "selector", "matchLabels"),
		object("NetworkPolicy").at("spec", "podSelector", "matchLabels"),
		pod.at("topologySpreadConstraints", "0", "labelSelector", "matchLabels"),
		pod.at("topologySpreadConstraints", "1", "labelSelector", "matchLabels"),
	} {
		if got := read[string](n, "app.kubernetes.io/name"); got != label {
			t.Errorf("%s selects %q, the Pods are %q", n.what, got, label)
		}
	}
	if !read[bool](pod, "securityContext", "runAsNonRoot") || !read[bool](container, "securityContext", "readOnlyRootFilesystem") {
		t.Error("it runs with more rights than it needs")
	}
}

// TestCompose holds the compose file to the program, and the balancer's
// configuration to the compose file.
func TestCompose(t *testing.T) {
	files := documents(t, composeFile)
	if len(files) != 1 {
		t.Fatalf("%d documents", len(files))
	}
	services := files[0].at("services")

	// Without a profile there is lyftr on SQLite, alone.
	for name, service := range read[map[string]map[string]any](services) {
		_, profiled := service["profiles"]
		if profiled != (name != "api") {
			t.Errorf("the service %s has a profile: %v", name, profiled)
		}
	}
	known := append(settings(t), passwordVariable)
	env := map[string]map[string]string{}
	for _, name := range []string{"api", "replica"} {
		env[name] = map[string]string{}
		for _, e := range read[[]string](services, name, "environment") {
			variable, value, _ := strings.Cut(e, "=")
			env[name][variable] = value
			if !slices.Contains(known, variable) {
				t.Errorf("%s sets %s, which lyftr serve does not read", name, variable)
			}
		}
		drain := time.Duration(0)
		if d := env[name]["DRAIN_DELAY"]; d != "" {
			drain = duration(t, d)
		}
		if grace := duration(t, read[string](services, name, "stop_grace_period")); grace <= drain+defaultShutdown {
			t.Errorf("%s is killed after %v, and needs %v to drain and %v to shut down", name, grace, drain, defaultShutdown)
		}
	}
	if got, want := env["api"]["DATABASE_URL"], "${DATABASE_URL:-sqlite:////data/app.db}"; got != want {
		t.Errorf("api has the database %s, not %s", got, want)
	}
	// What must not differ from the service without a profile.
	for variable := range env["api"] {
		if _, ok := env["replica"][variable]; !ok {
			t.Errorf("replica does not pass %s on", variable)
		}
	}
	// It is not needed without the profile, so that its lack must not be told of.
	if got, want := env["replica"][passwordVariable], "${POSTGRES_PASSWORD:-}"; got != want {
		t.Errorf("the password is %s, not %s", got, want)
	}

	// The balancer finds the replicas, and as many as it takes fit into the server.
	b, err := os.ReadFile(balancerFile)
	if err != nil {
		t.Fatal(err)
	}
	if mount := read[string](services, "balancer", "volumes", "0"); !strings.HasPrefix(mount, "./deploy/haproxy.cfg:") {
		t.Errorf("the balancer has %s", mount)
	}
	template := regexp.MustCompile(`(?m)^ *server-template \S+ (\d+) replica:8000 `).FindSubmatch(b)
	if template == nil {
		t.Fatal("the balancer does not look for replica:8000")
	}
	servers, err := strconv.Atoi(string(template[1]))
	if err != nil {
		t.Fatal(err)
	}
	if n := read[int](services, "replica", "deploy", "replicas"); n != 3 || n > servers {
		t.Errorf("%d replicas, and the balancer takes %d", n, servers)
	}
	if n := servers * (poolOf(t, env["replica"]["DATABASE_URL"]) + otherConnections); n > serverConnections {
		t.Errorf("%d replicas open %d connections, and a server has %d", servers, n, serverConnections)
	}
	// It notices a replica that ends before that one is gone.
	check := regexp.MustCompile(`default-server check inter (\d+s) fall (\d+) `).FindSubmatch(b)
	if check == nil || !bytes.Contains(b, []byte("uri /health/ready ")) {
		t.Fatal("the balancer does not ask /health/ready")
	}
	fall, err := strconv.Atoi(string(check[2]))
	if err != nil {
		t.Fatal(err)
	}
	if noticed, drain := duration(t, string(check[1]))*time.Duration(fall+1), duration(t, env["replica"]["DRAIN_DELAY"]); drain <= noticed {
		t.Errorf("a replica drains for %v, and the balancer notices after %v", drain, noticed)
	}
}
