package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Bounds of connections.
const (
	connectTimeout = 5 * time.Second
	// openTimeout is how long Open waits for a server that does not take
	// connections yet: a failover takes less.
	openTimeout = 30 * time.Second
	// openLogEvery is how often it says that it waits.
	openLogEvery = 5 * time.Second
	// ackTimeout is how long sent bytes may stay without an acknowledgement of
	// the other machine.
	ackTimeout = 5 * time.Second
	// idleConnection is how long a connection of the readers may be of no use.
	idleConnection = 5 * time.Minute
)

// target is the database that a URL names, and how it is reached.
type target struct {
	config   *pgxpool.Config
	readOnly bool
	sockets  *sockets
}

// ignoredParameters are arguments of Python's drivers that FastAPI services put
// into their URL. They say nothing about the data.
var ignoredParameters = []string{
	"async_fallback", "command_timeout", "prepared_statement_cache_size", "prepared_statement_name_func",
	"statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size", "timeout",
}

// errURL says how a URL looks. It does not say what the URL is, for that may
// hold a password.
var errURL = errors.New("DATABASE_URL cannot be parsed: use postgres://user:password@host:5432/database, " +
	"with %-escapes for special characters in the password, or several hosts as in postgres://user:password@host1:5432,host2:5432/database")

// ParseURL checks the URL of a database and returns host, port and name of the
// database, which may be shown. The error never holds the URL.
func ParseURL(databaseURL string) (server string, err error) {
	t, err := parseTarget(databaseURL, false, defaultReadTimeout)
	if err != nil {
		return "", err
	}
	return t.host(), nil
}

// parseTarget parses the URLs of libpq and of SQLAlchemy, which name a driver
// too, as in postgresql+asyncpg://.
//
// Sources of the forms: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
// and https://docs.sqlalchemy.org/en/20/dialects/postgresql.html
func parseTarget(databaseURL string, readOnly bool, readTimeout time.Duration) (*target, error) {
	_, rest, ok := strings.Cut(databaseURL, "://")
	if !ok {
		return nil, errURL
	}
	address, query, _ := strings.Cut(rest, "?")
	// As in libpq a plus sign is one, and not a space.
	parameters, err := url.ParseQuery(strings.ReplaceAll(query, "+", "%2B"))
	if err != nil {
		return nil, errURL
	}
	for _, name := range ignoredParameters {
		delete(parameters, name)
	}
	if ssl := parameters.Get("ssl"); ssl != "" { // asyncpg's name for it
		parameters.Del("ssl")
		if ssl == "true" || ssl == "True" {
			ssl = "require"
		}
		parameters.Set("sslmode", ssl)
	}
	text := "postgres://" + address
	if len(parameters) > 0 {
		text += "?" + strings.ReplaceAll(parameters.Encode(), "+", "%20")
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, parseError(err)
	}
	if !parameters.Has("pool_max_conns") {
		config.MaxConns = int32(max(4, 2*runtime.GOMAXPROCS(0))) //nolint:gosec // a machine has fewer processors
	}
	if !parameters.Has("pool_max_conn_idle_time") {
		config.MaxConnIdleTime = idleConnection
	}
	if !parameters.Has("pool_ping_timeout") {
		config.PingTimeout = pingTimeout
	}
	c := config.ConnConfig
	if c.ConnectTimeout == 0 || !parameters.Has("connect_timeout") {
		c.ConnectTimeout = connectTimeout
	}
	sockets := &sockets{
		dialer: net.Dialer{
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: ackTimeout, Interval: ackTimeout / 5, Count: 3},
			Control:         limitUnacknowledged,
		},
		open: map[*socket]struct{}{},
	}
	c.DialFunc = sockets.dial
	set := func(name, value string) {
		if _, ok := c.RuntimeParams[name]; !ok {
			c.RuntimeParams[name] = value
		}
	}
	set("application_name", "lyftr")
	set("statement_timeout", milliseconds(readTimeout))
	set("idle_in_transaction_session_timeout", "10000")
	// With plans for the values at hand: whether a text is rare decides how it is
	// looked for.
	set("plan_cache_mode", "force_custom_plan")
	// These are not for anybody to choose: the store counts on them.
	c.RuntimeParams["client_encoding"] = "UTF8"
	c.RuntimeParams["client_min_messages"] = "warning"
	c.RuntimeParams["default_transaction_isolation"] = "read committed"
	c.OnNotice = noteWarning
	switch {
	case readOnly:
		c.RuntimeParams["default_transaction_read_only"] = "on"
	case c.ValidateConnect == nil:
		// Of several hosts the one that takes writes.
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return &target{config: config, readOnly: readOnly, sockets: sockets}, nil
}

// parseError returns why the driver does not take the URL, as far as that can be
// said without repeating the URL.
func parseError(err error) error {
	var number *strconv.NumError
	cause := errors.Unwrap(err)
	var parse *url.Error
	if cause == nil || errors.As(err, &parse) || errors.As(err, &number) || strings.Contains(cause.Error(), "://") || strings.Contains(cause.Error(), `"`) {
		return errURL // it quotes a part
	}
	return fmt.Errorf("DATABASE_URL cannot be used: %w", cause)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// host names the servers and the database, without user and password.
func (t *target) host() string {
	c := t.config.ConnConfig
	var hosts []string
	add := func(host string, port uint16) {
		if !strings.HasPrefix(host, "/") { // else a folder with a socket
			host = net.JoinHostPort(host, strconv.Itoa(int(port)))
		}
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks {
		add(f.Host, f.Port)
	}
	return strings.Join(hosts, ",") + "/" + c.Database
}

// connect opens a connection, which the caller closes. The change is to its
// settings.
func (t *target) connect(ctx context.Context, change func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c := t.config.ConnConfig.Copy()
	if change != nil {
		change(c)
	}
	return pgx.ConnectConfig(ctx, c)
}

// openPool opens the connections that read.
func (t *target) openPool(ctx context.Context) (*pgxpool.Pool, error) {
	c := t.config.Copy()
	// A read whose time is up is cancelled, and its connection stays.
	c.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	return pgxpool.NewWithConfig(ctx, c)
}

// open opens the first connection, which the caller closes: it waits for a server
// that does not take connections yet, and fails when that is not to be expected
// to change, such as with a wrong password or a server that will not do.
func (t *target) open(ctx context.Context, log *slog.Logger) (*pgx.Conn, error) {
	deadline := time.Now().Add(openTimeout)
	var logged time.Time
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		conn, err := t.openOnce(ctx)
		if err == nil || !mayPass(err) || ctx.Err() != nil || time.Now().After(deadline) {
			return conn, err
		}
		if time.Since(logged) > openLogEvery {
			log.Warn("waiting for the database", "server", t.host(), "error", err.Error())
			logged = time.Now()
		}
		if !sleep(ctx, jitter(pause)) {
			return nil, err
		}
	}
}

// oldestServer is the oldest version that will do: since it everybody may make
// pg_trgm in his own database, and transactions have numbers of 64 bits.
const oldestServer = 130000

func (t *target) openOnce(ctx context.Context) (*pgx.Conn, error) {
	conn, err := t.connect(ctx, func(c *pgx.ConnConfig) {
		// It makes what is missing, which may take its time.
		withParams(c, map[string]string{"statement_timeout": "0", "lock_timeout": "0"})
	})
	if err != nil {
		return nil, err
	}
	var version int
	var encoding string
	err = conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')").Scan(&version, &encoding)
	switch {
	case err != nil:
	case version < oldestServer:
		err = fmt.Errorf("the server is PostgreSQL %d: lyftr needs 13 or newer", version/10000)
	case encoding != "UTF8":
		err = fmt.Errorf("the database has the encoding %s: lyftr needs UTF8, as in CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

// doubt is the key in a connection's own data under which the last warning is
// noted.
const doubt = "doubt"

// noteWarning notes a warning of the server on the connection. A commit that
// comes with one has not been waited for as it should: whoever cancels the
// waiting for a synchronous standby makes the commit succeed with a warning.
func noteWarning(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" || n.SeverityUnlocalized == "" {
		conn.CustomData()[doubt] = n.Code + " " + n.Message
	}
}

// settings are values of the server that decide whether a commit lasts.
type settings struct {
	SynchronousCommit, SynchronousStandbys string
	Fsync, FullPageWrites                  string
}

const settingsSQL = `SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
	current_setting('fsync'), current_setting('full_page_writes')`

// logSettings tells what an acknowledged message can count on.
func (st settings) logSettings(log *slog.Logger) {
	log.Info("database connected", "synchronous_commit", st.SynchronousCommit, "synchronous_standby_names", st.SynchronousStandbys)
	for name, value := range map[string]string{"fsync": st.Fsync, "full_page_writes": st.FullPageWrites} {
		if value != "on" {
			log.Warn("the server does not keep what it acknowledged through a power cut", name, value)
		}
	}
}

// secure sets what a connection that writes needs, and returns the settings.
func secure(ctx context.Context, conn *pgx.Conn) (st settings, err error) {
	read := func() error {
		return conn.QueryRow(ctx, settingsSQL).Scan(&st.SynchronousCommit, &st.SynchronousStandbys, &st.Fsync, &st.FullPageWrites)
	}
	if err := read(); err != nil {
		return st, err
	}
	switch st.SynchronousCommit {
	case "off", "local", "remote_write": // a commit may be lost in the crash of one machine
		if _, err := conn.Exec(ctx, "SET synchronous_commit = on"); err != nil {
			return st, err
		}
		err = read()
	}
	return st, err
}

// withParams sets run-time parameters of the server for a connection.
func withParams(c *pgx.ConnConfig, params map[string]string) {
	maps.Copy(c.RuntimeParams, params)
}
