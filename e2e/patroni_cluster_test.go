package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is what deploy/patroni describes, from those very files, on one
// machine: three etcds, three nodes of PostgreSQL under Patroni, one HAProxy.
type cluster struct {
	keeper      *keeper
	dir         string // everything is below it
	uid, gid    int    // whom everything runs as
	bin         string // PostgreSQL's programs
	password    string
	nodes       []*node
	haproxy     int // its process, 0 if it does not run
	haproxyPort int
	standbyPort int
	client      *http.Client // of Patroni's and etcd's interfaces
}

// node is one of the three machines.
type node struct {
	name     string
	dir      string
	patroni  int // its process, 0 if it does not run
	port     int // of PostgreSQL
	restPort int // of Patroni
	etcdPort int
	peerPort int // of etcd among its like
}

const (
	// clusterDir has the files that the cluster is made from.
	clusterDir = "../deploy/patroni"
	// clusterStart is how long a new cluster may take until it can be used.
	clusterStart = 60 * time.Second
	// clusterRepair is how long a cluster may take to have a primary and a
	// synchronous standby again once all its nodes run.
	clusterRepair = 60 * time.Second
)

// startCluster makes a new cluster with lyftr's database and returns when it has
// a primary and two standbys. It ends with the test.
func startCluster(tb testing.TB) *cluster {
	tb.Helper()
	c := &cluster{uid: os.Geteuid(), gid: os.Getegid(), bin: postgresPrograms(tb), client: &http.Client{Timeout: 5 * time.Second}}
	var err error
	// A short path: those of sockets have a limit of about a hundred bytes.
	if c.dir, err = os.MkdirTemp("", "lyftr-cluster-"); err != nil { //nolint:usetesting // another user has to enter it
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(c.dir) })
	if c.uid == 0 { // PostgreSQL refuses to run as root
		c.uid, c.gid = unprivileged(tb)
	}
	c.own(tb, c.dir)
	c.keeper = startKeeper(tb)
	tb.Cleanup(func() {
		if tb.Failed() {
			c.printLogs(tb)
		}
	})

	ports := freePorts(tb, 14)
	take := func() (port int) { port, ports = ports[0], ports[1:]; return port }
	c.haproxyPort, c.standbyPort = take(), take()
	for i := range 3 {
		n := &node{name: fmt.Sprintf("node%d", i+1), port: take(), restPort: take(), etcdPort: take(), peerPort: take()}
		n.dir = filepath.Join(c.dir, n.name)
		if err := os.Mkdir(n.dir, 0o700); err != nil {
			tb.Fatal(err)
		}
		c.own(tb, n.dir)
		c.nodes = append(c.nodes, n)
	}

	c.configure(tb)
	for _, n := range c.nodes {
		c.run(tb, n.name+".etcd.log", readEnvironment(tb, filepath.Join(n.dir, "etcd.env")), c.program(tb, "etcd"))
	}
	for _, n := range c.nodes {
		eventually(tb, clusterStart, n.name+": etcd is healthy", func() bool {
			_, answer := c.ask(http.MethodGet, n.etcdPort, "/health", "")
			return strings.Contains(answer, `"health":"true"`)
		})
	}
	for _, n := range c.nodes {
		c.startPatroni(tb, n)
	}
	c.startHAProxy(tb)
	c.waitWhole(tb, clusterStart)
	c.createDatabase(tb)
	return c
}

// postgresPrograms returns the folder with the newest PostgreSQL's programs, as
// Debian installs them.
func postgresPrograms(tb testing.TB) string {
	tb.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		tb.Fatalf("there is no PostgreSQL in /usr/lib/postgresql (scripts/tools.sh installs it): %v", err)
	}
	newest := slices.MaxFunc(found, func(a, b string) int {
		return versionOf(a) - versionOf(b)
	})
	return filepath.Dir(newest)
}

// versionOf returns the 15 of /usr/lib/postgresql/15/bin/initdb.
func versionOf(program string) int {
	version, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(program))))
	return version
}

// unprivileged returns the user that Debian's package of PostgreSQL makes.
func unprivileged(tb testing.TB) (uid, gid int) {
	tb.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		tb.Fatalf("PostgreSQL does not run as root, and there is nobody else to run it: %v", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return uid, gid
}

// freePorts returns ports of 127.0.0.1 on which nobody listens. They lie below
// those that the system gives to outgoing connections, so that they stay free
// while a server that uses one is down.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	const lowest, highest = 10_000, 32_000
	var ports []int
	for tries := 0; len(ports) < n; tries++ {
		if tries > 100*n {
			tb.Fatal("there are no free ports")
		}
		port := lowest + rand.IntN(highest-lowest)
		if slices.Contains(ports, port) {
			continue
		}
		listener, err := net.Listen("tcp", local(port))
		if err != nil {
			continue
		}
		listener.Close()
		ports = append(ports, port)
	}
	return ports
}

// local is a port of this machine as an address.
func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// own gives a file to whom the cluster runs as.
func (c *cluster) own(tb testing.TB, file string) {
	tb.Helper()
	if err := os.Chown(file, c.uid, c.gid); err != nil {
		tb.Fatal(err)
	}
}

// program returns the path of an installed program. Debian has some where an
// ordinary user's PATH does not lead.
func (c *cluster) program(tb testing.TB, name string) string {
	tb.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin"} {
		if path := filepath.Join(dir, name); exec.Command("test", "-x", path).Run() == nil {
			return path
		}
	}
	tb.Fatalf("there is no %s (scripts/tools.sh installs it)", name)
	return ""
}

// configure writes the files of deploy/patroni with the values of this test.
func (c *cluster) configure(tb testing.TB) {
	tb.Helper()
	values := map[string]string{}
	for _, line := range readEnvironment(tb, filepath.Join(clusterDir, "cluster.env")) {
		name, _, _ := strings.Cut(line, "=")
		values[name] = "secret-of-" + strings.ToLower(name) // the passwords; the others follow
	}
	c.password = values["LYFTR_PASSWORD"]
	values["CLIENTS"] = "127.0.0.1/32"
	for _, n := range c.nodes {
		values[strings.ToUpper(n.name)] = "127.0.0.1"
	}
	for _, n := range c.nodes {
		values["NAME"], values["ADDRESS"] = n.name, "127.0.0.1"
		// On three machines the ports are the same, here they are not.
		ports := []string{
			"${ADDRESS}:2379", local(n.etcdPort),
			"${ADDRESS}:2380", local(n.peerPort),
			"${ADDRESS}:8008", local(n.restPort),
			"${ADDRESS}:5432", local(n.port),
		}
		peers := []string{}
		etcds := []string{}
		for _, other := range c.nodes {
			address := "${" + strings.ToUpper(other.name) + "}"
			peers = append(peers, address+":2380", local(other.peerPort))
			etcds = append(etcds, address+":2379", local(other.etcdPort))
		}
		c.write(tb, n, "etcd.env", values, slices.Concat(ports[:4], peers, []string{
			"/var/lib/etcd/lyftr", filepath.Join(n.dir, "etcd"),
		}))
		c.write(tb, n, "patroni.yml", values, slices.Concat(ports[4:], etcds, []string{
			"/var/lib/postgresql/15/lyftr", filepath.Join(n.dir, "data"),
			"/usr/lib/postgresql/15/bin", c.bin,
			"/var/lib/postgresql/.pgpass-patroni", filepath.Join(n.dir, "pgpass"),
			"/var/run/postgresql", n.dir,
			// A failover takes seconds in place of half a minute.
			"ttl: 20", "ttl: 8",
			"loop_wait: 5", "loop_wait: 1",
			"retry_timeout: 7", "retry_timeout: 3",
			// The tests kill Patroni, and the machine must not be reset.
			"mode: automatic", "mode: off",
		}))
	}
	servers := []string{
		"127.0.0.1:5000", local(c.haproxyPort),
		"127.0.0.1:5001", local(c.standbyPort),
	}
	for _, n := range c.nodes {
		servers = append(servers,
			"${"+strings.ToUpper(n.name)+"}:5432 check port 8008",
			fmt.Sprintf("%s check port %d", local(n.port), n.restPort))
	}
	c.write(tb, nil, "haproxy.cfg", values, servers)
}

// write writes a file of deploy/patroni into a node's folder, or the cluster's.
// Each of the pairs of what is replaced has to be there; then the names of
// cluster.env are filled in, as envsubst does.
func (c *cluster) write(tb testing.TB, n *node, name string, values map[string]string, replaced []string) {
	tb.Helper()
	template, err := os.ReadFile(filepath.Join(clusterDir, name))
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(replaced); i += 2 {
		if !bytes.Contains(template, []byte(replaced[i])) {
			tb.Fatalf("%s has no %q", name, replaced[i])
		}
	}
	text := os.Expand(strings.NewReplacer(replaced...).Replace(string(template)), func(name string) string {
		value, ok := values[name]
		if !ok {
			tb.Fatalf("cluster.env has no %s", name)
		}
		return value
	})
	dir := c.dir
	if n != nil {
		dir = n.dir
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	c.own(tb, file)
}

// readEnvironment returns the NAME=value lines of a file.
func readEnvironment(tb testing.TB, file string) []string {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var variables []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			variables = append(variables, line)
		}
	}
	return variables
}

// run starts a program of the cluster.
func (c *cluster) run(tb testing.TB, log string, env []string, args ...string) int {
	tb.Helper()
	return c.keeper.start(tb, launch{
		Args: args,
		Env:  append([]string{"PATH=" + c.bin + ":/usr/bin:/bin", "HOME=" + c.dir, "LC_ALL=C.UTF-8"}, env...),
		Dir:  c.dir,
		Log:  filepath.Join(c.dir, log),
		UID:  c.uid,
		GID:  c.gid,
	})
}

// startPatroni starts a node's Patroni, which starts its PostgreSQL if that does
// not run.
func (c *cluster) startPatroni(tb testing.TB, n *node) {
	tb.Helper()
	// Debian's own Python has Patroni's modules, another on PATH may not.
	n.patroni = c.run(tb, n.name+".log", nil, "/usr/bin/python3", c.program(tb, "patroni"), filepath.Join(n.dir, "patroni.yml"))
}

func (c *cluster) startHAProxy(tb testing.TB) {
	tb.Helper()
	c.haproxy = c.run(tb, "haproxy.log", nil, c.program(tb, "haproxy"), "-db", "-f", filepath.Join(c.dir, "haproxy.cfg"))
}

// createDatabase runs deploy/patroni/lyftr.sql on the primary, and waits until
// the standbys have the database too: who connects to several hosts gives up at
// one that does not know it.
func (c *cluster) createDatabase(tb testing.TB) {
	tb.Helper()
	psql := exec.Command(filepath.Join(c.bin, "psql"), "--no-psqlrc", "--set=password="+c.password,
		"--file="+filepath.Join(clusterDir, "lyftr.sql"), c.adminURL(c.leader()))
	if out, err := psql.CombinedOutput(); err != nil {
		tb.Fatalf("lyftr.sql: %v\n%s", err, out)
	}
	for _, n := range c.nodes {
		eventually(tb, clusterRepair, n.name+" has the database", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://lyftr:%s@%s/lyftr", c.password, local(n.port)))
			if err == nil {
				err = conn.Close(ctx)
			}
			return err == nil
		})
	}
}

// adminURL leads the superuser to one node, past HAProxy.
func (c *cluster) adminURL(n *node) string {
	return fmt.Sprintf("postgres://postgres:secret-of-superuser_password@%s/postgres?connect_timeout=5", local(n.port))
}

// throughHAProxy is a DATABASE_URL that leads to the primary by way of HAProxy.
func (c *cluster) throughHAProxy() string {
	return fmt.Sprintf("postgres://lyftr:%s@%s/lyftr", c.password, local(c.haproxyPort))
}

// severalHosts is a DATABASE_URL that names all nodes and leads to the one that
// takes writes.
func (c *cluster) severalHosts() string {
	var hosts []string
	for _, n := range c.nodes {
		hosts = append(hosts, local(n.port))
	}
	return fmt.Sprintf("postgres://lyftr:%s@%s/lyftr?target_session_attrs=read-write", c.password, strings.Join(hosts, ","))
}

// ask returns the answer of Patroni or etcd, 0 if there is none.
func (c *cluster) ask(method string, port int, path, body string) (status int, answer string) {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+local(port)+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if body != "" {
		r.SetBasicAuth("patroni", "secret-of-restapi_password")
	}
	return do(c.client, r)
}

// leader returns the node that says that it holds the lock as primary, nil if
// none does.
func (c *cluster) leader() *node {
	for _, n := range c.nodes {
		if status, _ := c.ask(http.MethodGet, n.restPort, "/primary", ""); status == http.StatusOK {
			return n
		}
	}
	return nil
}

// waitLeader waits until there is one.
func (c *cluster) waitLeader(tb testing.TB, limit time.Duration) *node {
	tb.Helper()
	var leader *node
	eventually(tb, limit, "the cluster has a primary", func() bool {
		leader = c.leader()
		return leader != nil
	})
	return leader
}

// member is what Patroni knows of a node.
type member struct{ Name, Role, State string }

func (m member) streams() bool {
	return m.Role != "leader" && (m.State == "running" || m.State == "streaming")
}

// members asks a node for what Patroni knows of all.
func (c *cluster) members(n *node) []member {
	_, answer := c.ask(http.MethodGet, n.restPort, "/cluster", "")
	var view struct{ Members []member }
	if err := json.Unmarshal([]byte(answer), &view); err != nil {
		return nil
	}
	return view.Members
}

// standbys returns the leader, if there is one, and how many standbys stream
// from it, and whether one of them is the synchronous one.
func (c *cluster) standbys() (leader *node, streaming int, synchronous bool) {
	if leader = c.leader(); leader == nil {
		return nil, 0, false
	}
	for _, m := range c.members(leader) {
		if m.streams() {
			streaming++
			synchronous = synchronous || m.Role == "sync_standby"
		}
	}
	return leader, streaming, synchronous
}

// follows reports whether a node is a standby that streams.
func (c *cluster) follows(leader, n *node) bool {
	return slices.ContainsFunc(c.members(leader), func(m member) bool { return m.Name == n.name && m.streams() })
}

// usable reports whether there are a primary and a synchronous standby.
func (c *cluster) usable() bool {
	_, _, synchronous := c.standbys()
	return synchronous
}

// waitUsable waits until there are a primary and a synchronous standby, and
// returns the primary.
func (c *cluster) waitUsable(tb testing.TB, limit time.Duration) *node {
	tb.Helper()
	eventually(tb, limit, "the cluster has a primary and a synchronous standby", c.usable)
	return c.waitLeader(tb, limit)
}

// waitWhole waits until there are a primary and two standbys, one of them
// synchronous.
func (c *cluster) waitWhole(tb testing.TB, limit time.Duration) {
	tb.Helper()
	eventually(tb, limit, "the cluster is whole", c.whole)
}

func (c *cluster) whole() bool {
	_, streaming, synchronous := c.standbys()
	return streaming == len(c.nodes)-1 && synchronous
}

// repair waits until a condition holds, and does what the README of
// deploy/patroni tells the operator to do if a standby stays behind: it has it
// copied anew.
func (c *cluster) repair(tb testing.TB, condition func() bool) {
	tb.Helper()
	const patience = 20 * time.Second
	holds := false
	over := time.Now().Add(patience)
	eventually(tb, 2*patience, "the cluster was waited for", func() bool {
		holds = condition()
		return holds || time.Now().After(over)
	})
	if holds {
		return
	}
	leader := c.waitLeader(tb, clusterRepair)
	for _, n := range c.nodes {
		if n != leader && !c.follows(leader, n) {
			status, answer := c.ask(http.MethodPost, n.restPort, "/reinitialize", `{"force":true}`)
			tb.Logf("%s does not follow %s and is copied anew: %d %s", n.name, leader.name, status, answer)
		}
	}
	eventually(tb, clusterRepair, "the cluster is repaired", condition)
}

// postmaster returns the process of a node's PostgreSQL, 0 if it does not run.
func (c *cluster) postmaster(n *node) int {
	text, err := os.ReadFile(filepath.Join(n.dir, "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || !slices.Contains(descendants(c.keeper.cmd.Process.Pid), pid) {
		return 0 // the file of one that was killed
	}
	return pid
}

// killPostgres kills the postmaster of a node, whose Patroni goes on. It reports
// whether there was one.
func (c *cluster) killPostgres(n *node) bool {
	pid := c.postmaster(n)
	return pid != 0 && syscall.Kill(pid, syscall.SIGKILL) == nil
}

// killPatroni kills the Patroni of a node, whose PostgreSQL goes on.
func (c *cluster) killPatroni(tb testing.TB, n *node) {
	tb.Helper()
	c.signal(tb, n.patroni, syscall.SIGKILL)
	n.patroni = 0
}

// stop ends Patroni and PostgreSQL of a node in good order.
func (c *cluster) stop(tb testing.TB, n *node) {
	tb.Helper()
	c.signal(tb, n.patroni, syscall.SIGTERM)
	n.patroni = 0
}

// signal sends a signal that ends a process and waits for its end.
func (c *cluster) signal(tb testing.TB, pid int, s syscall.Signal) {
	tb.Helper()
	const limit = 30 * time.Second
	if err := syscall.Kill(pid, s); err != nil {
		tb.Fatalf("process %d: %v", pid, err)
	}
	eventually(tb, limit, fmt.Sprintf("process %d ends", pid), func() bool {
		return !slices.Contains(descendants(c.keeper.cmd.Process.Pid), pid)
	})
}

// pause stops all processes of a node in the middle of what they do, and resume
// lets them go on.
func (c *cluster) pause(n *node)  { c.signalNode(n, syscall.SIGSTOP) }
func (c *cluster) resume(n *node) { c.signalNode(n, syscall.SIGCONT) }

func (c *cluster) signalNode(n *node, s syscall.Signal) {
	for _, pid := range []int{n.patroni, c.postmaster(n)} {
		if pid != 0 {
			for _, p := range append([]int{pid}, descendants(pid)...) {
				_ = syscall.Kill(p, s)
			}
		}
	}
}

// switchover makes the synchronous standby the primary, and reports whether
// Patroni did it.
func (c *cluster) switchover() (done bool, answer string) {
	leader := c.leader()
	if leader == nil {
		return false, "there is no leader"
	}
	client := &http.Client{Timeout: 30 * time.Second}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+local(leader.restPort)+"/switchover",
		strings.NewReader(fmt.Sprintf(`{"leader":%q}`, leader.name)))
	if err != nil {
		panic(err)
	}
	r.SetBasicAuth("patroni", "secret-of-restapi_password")
	status, answer := do(client, r)
	return status == http.StatusOK, answer
}

// cutConnections ends all connections of lyftr on the primary, by PostgreSQL
// itself.
func (c *cluster) cutConnections(ctx context.Context, leader *node) (cut int, err error) {
	conn, err := pgx.Connect(ctx, c.adminURL(leader))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'lyftr'").Scan(&cut)
	return cut, err
}

// restartHAProxy ends HAProxy with all its connections and starts it again.
func (c *cluster) restartHAProxy(tb testing.TB) {
	tb.Helper()
	c.signal(tb, c.haproxy, syscall.SIGKILL)
	c.startHAProxy(tb)
}

// noise are lines of the logs that say that nothing happens.
var noise = []string{
	"no action. I am", "Lock owner: ", "the database system is starting up", "Consistent recovery state has not been yet reached", "establishing a new patroni connection",
	" - rejecting connections", " - accepting connections",
}

// printLogs prints the end of each log.
func (c *cluster) printLogs(tb testing.TB) {
	tb.Helper()
	const most = 300 // lines
	logs, _ := filepath.Glob(filepath.Join(c.dir, "*.log"))
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			tb.Log(err)
			continue
		}
		lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool {
			return slices.ContainsFunc(noise, func(n string) bool { return strings.Contains(line, n) })
		})
		tb.Logf("%s ends:\n%s", filepath.Base(log), strings.Join(lines[max(0, len(lines)-most):], ""))
	}
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, limit time.Duration, what string, condition func() bool) {
	tb.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	over := time.After(limit)
	for !condition() {
		select {
		case <-tick.C:
		case <-over:
			tb.Fatalf("within %v it did not come true that %s", limit, what)
		}
	}
}
