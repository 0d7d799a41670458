package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/netutil"

	"lyftr/internal/dashboard"
	"lyftr/internal/httpapi"
	"lyftr/internal/message"
	"lyftr/internal/provider"
	"lyftr/internal/store"
	"lyftr/internal/telemetry"
)

// serveCommand is lyftr serve, with all the settings of the server.
type serveCommand struct {
	providerSettings
	databaseSetting
	accessSettings
	tracingSettings
	LogLevel  string `setting:"LOG_LEVEL" default:"INFO" placeholder:"LEVEL" values:"DEBUG,INFO,WARNING,ERROR" help:"Least level that is logged: DEBUG, INFO, WARNING or ERROR."`
	AppName   string `setting:"APP_NAME" default:"Lyftr Webhook API" placeholder:"NAME" help:"Name of this service, as people see it."`
	Host      string `setting:"HOST" default:"0.0.0.0" placeholder:"ADDRESS" help:"Address to listen on."`
	Port      int    `setting:"PORT" default:"8000" placeholder:"PORT" help:"Port to listen on; 0 takes a free one."`
	Retention string `setting:"RETENTION" placeholder:"TIME" help:"How long messages are kept, such as 90d; at least 8d. Without it for ever."`

	TLSCertFile string `name:"tls-cert-file" setting:"TLS_CERT_FILE" placeholder:"FILE" help:"Certificate with its chain, PEM: serve HTTPS alone. Read again when it changes."`
	TLSKeyFile  string `name:"tls-key-file" setting:"TLS_KEY_FILE" placeholder:"FILE" help:"Key of that certificate, PEM."`

	MaxBodyBytes      int64         `setting:"MAX_BODY_BYTES" default:"1048576" placeholder:"BYTES" help:"Longest body of a webhook."`
	MaxInflightBytes  int64         `setting:"MAX_INFLIGHT_BYTES" default:"67108864" placeholder:"BYTES" help:"Bodies held at one time; more are answered 503."`
	MaxConnections    int           `setting:"MAX_CONNECTIONS" default:"16384" placeholder:"N" help:"Connections open at one time; more wait to be accepted."`
	QueueSize         int           `setting:"QUEUE_SIZE" default:"4096" placeholder:"N" help:"Webhooks that may wait for the database; more are answered 503."`
	SaveTimeout       time.Duration `setting:"SAVE_TIMEOUT" default:"5s" placeholder:"TIME" help:"How long a webhook waits for its commit before it is answered 503."`
	QueryTimeout      time.Duration `setting:"QUERY_TIMEOUT" default:"5s" placeholder:"TIME" help:"How long a question to the database may take."`
	ReadHeaderTimeout time.Duration `setting:"READ_HEADER_TIMEOUT" default:"5s" placeholder:"TIME" help:"How long a request's header may take to arrive."`
	ReadTimeout       time.Duration `setting:"READ_TIMEOUT" default:"15s" placeholder:"TIME" help:"How long a whole request may take to arrive."`
	WriteTimeout      time.Duration `setting:"WRITE_TIMEOUT" default:"30s" placeholder:"TIME" help:"How long an answer may take, from the end of the request's header; each piece of an export."`
	IdleTimeout       time.Duration `setting:"IDLE_TIMEOUT" default:"60s" placeholder:"TIME" help:"How long a connection may wait for its next request."`
	DrainDelay        time.Duration `setting:"DRAIN_DELAY" default:"0s" placeholder:"TIME" help:"How long to go on after SIGTERM with /health/ready at 503, for a load balancer to notice."`
	ShutdownTimeout   time.Duration `setting:"SHUTDOWN_TIMEOUT" default:"10s" placeholder:"TIME" help:"How long requests may take to end after that."`
}

// Help implements kong.HelpProvider.
func (c *serveCommand) Help() string {
	return `Needs a secret to accept webhooks; without one, messages can only be read. SIGTERM ends it in good order: what was accepted
is stored. A changed secret, token or certificate is taken without a restart, on SIGHUP or by itself.

  WEBHOOK_SECRET_FILE=/run/secrets/webhook lyftr serve
  lyftr serve --database-url sqlite:////var/lib/lyftr/app.db --host 127.0.0.1 --port 8080`
}

// maxHeaderBytes bounds a request's header; net/http adds 4 KiB.
const maxHeaderBytes = 16 << 10

// check finds what is wrong with the settings and returns the log level.
func (c *serveCommand) check() (slog.Level, error) {
	level, err := telemetry.ParseLevel(c.LogLevel)
	if err != nil {
		return 0, usagef("LOG_LEVEL: %w", err)
	}
	if err := c.databaseSetting.check(); err != nil {
		return 0, err
	}
	if err := c.prepare(); err != nil {
		return 0, err
	}
	if err := c.accessSettings.check(); err != nil {
		return 0, err
	}
	if err := c.tracingSettings.check(); err != nil {
		return 0, err
	}
	if _, err := parseRetention(c.Retention); err != nil {
		return 0, err
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return 0, usagef("TLS_CERT_FILE and TLS_KEY_FILE belong together: set both or neither")
	}
	if c.Port < 0 || c.Port > 65535 {
		return 0, usagef("PORT: %d is not a port: use 0 to 65535", c.Port)
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"MAX_BODY_BYTES", c.MaxBodyBytes}, {"MAX_INFLIGHT_BYTES", c.MaxInflightBytes},
		{"MAX_CONNECTIONS", int64(c.MaxConnections)}, {"QUEUE_SIZE", int64(c.QueueSize)},
		{"SAVE_TIMEOUT", int64(c.SaveTimeout)}, {"QUERY_TIMEOUT", int64(c.QueryTimeout)},
		{"READ_HEADER_TIMEOUT", int64(c.ReadHeaderTimeout)}, {"READ_TIMEOUT", int64(c.ReadTimeout)},
		{"WRITE_TIMEOUT", int64(c.WriteTimeout)}, {"IDLE_TIMEOUT", int64(c.IdleTimeout)},
		{"SHUTDOWN_TIMEOUT", int64(c.ShutdownTimeout)},
	} {
		if n.value <= 0 {
			return 0, usagef("%s: must be more than 0", n.name)
		}
	}
	if c.DrainDelay < 0 {
		return 0, usagef("DRAIN_DELAY: must be 0 or more")
	}
	if c.MaxInflightBytes < c.MaxBodyBytes {
		return 0, usagef("MAX_INFLIGHT_BYTES: must be at least MAX_BODY_BYTES, or no body could be read")
	}
	if on := c.on(); c.MaxInflightBytes < provider.MaxBodyBytes && (len(on) > 1 || len(on) == 1 && on[0].Source() != message.SourceNative) {
		return 0, usagef("MAX_INFLIGHT_BYTES: must be at least %d, the longest body of a provider", provider.MaxBodyBytes)
	}
	return level, nil
}

// Run serves until the context ends or the store fails.
func (c *serveCommand) Run(e *environment) (err error) {
	level, err := c.check()
	if err != nil {
		return err
	}
	// A reader of the log that goes away must not take the service with it.
	signal.Ignore(syscall.SIGPIPE)
	tuneRuntime()

	lines := telemetry.NewLineWriter(e.stdout)
	defer func() { err = errors.Join(err, lines.Close()) }()
	log := telemetry.NewLogger(lines, level)
	defer func() {
		if err != nil {
			log.Error("stopped", "error", err.Error())
		}
	}()
	log.Info("starting", "app", c.AppName, "version", Version())
	c.warn(log)
	cert, err := c.certificate(e.files)
	if err != nil {
		return err
	}

	// The metrics watch the store, and the store reports to the metrics.
	var db message.Store
	metrics := telemetry.NewMetrics(telemetry.Options{
		Version: Version(),
		Routes:  httpapi.Routes(),
		Sources: c.sources(),
		Store:   func() message.StoreStatus { return db.Status() },
		Lost:    lines.Lost,
	})
	tracing, flush := c.startTracing(log, metrics)
	defer func() { err = errors.Join(err, flush()) }() // when the database is closed: spans can wait
	db, err = store.Open(e.ctx, c.DatabaseURL, store.Options{
		Logger:      log,
		ReadTimeout: c.QueryTimeout,
		QueueSize:   c.QueueSize,
		OnCommit:    metrics.Committed,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	if age, _ := parseRetention(c.Retention); age > 0 { // check has seen it
		expiring := &retention{store: db, age: age, log: log, metrics: metrics}
		stop := expiring.start(e.ctx)
		defer stop()
	}

	pages := dashboard.New(dashboard.Options{AppName: c.AppName, Version: Version(), Sources: c.sources(), SessionCookie: httpapi.SessionCookie})
	api := httpapi.New(httpapi.Options{
		Store:            db,
		Metrics:          metrics,
		Tracing:          tracing,
		Lines:            lines,
		Level:            level,
		Logger:           log,
		Access:           c.access(),
		MaxBodyBytes:     c.MaxBodyBytes,
		MaxInflightBytes: c.MaxInflightBytes,
		SaveTimeout:      c.SaveTimeout,
		WriteTimeout:     c.WriteTimeout,
		AppName:          c.AppName,
		Version:          Version(),
		Pages:            pages.Serve,
		TrustedProxies:   c.proxies(),
		FailureLimit:     c.FailureLimit,
	})
	defer api.Close()
	reload := &reloader{command: c, files: e.files, parse: e.parseAgain, allow: api.Allow, cert: cert, log: log}
	stop := reload.start(e.ctx)
	defer stop()
	return c.serve(e.ctx, log, api, cert, db.Failed())
}

// access is who may do what.
func (c *serveCommand) access() httpapi.Access {
	return httpapi.Access{Providers: c.list(), Tokens: c.tokens()}
}

func (c *serveCommand) warn(log *slog.Logger) {
	if len(c.on()) == 0 {
		log.Warn("no secret is set, neither WEBHOOK_SECRET nor that of a provider: every webhook is answered 503")
	}
	for _, w := range c.warnings() {
		log.Warn("a setting is allowed and not wise", "warning", w)
	}
	c.warnAccess(log)
}

// connections is how many there may be at one time.
func (c *serveCommand) connections(log *slog.Logger) int {
	descriptors := maxDescriptors()
	n := connectionsFor(c.MaxConnections, descriptors, max(4, 2*runtime.GOMAXPROCS(0)))
	if n < c.MaxConnections {
		log.Warn("there are too few file descriptors for MAX_CONNECTIONS", "descriptors", descriptors, "connections", n)
	}
	return n
}

// serve listens and answers until ctx ends or failed is closed, then stops in
// good order: readiness first, then no new connections, then the end of what
// was accepted.
func (c *serveCommand) serve(ctx context.Context, log *slog.Logger, api *httpapi.Server, cert *certificate, failed <-chan struct{}) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:                      api,
		ReadHeaderTimeout:            c.ReadHeaderTimeout,
		ReadTimeout:                  c.ReadTimeout,
		WriteTimeout:                 c.WriteTimeout,
		IdleTimeout:                  c.IdleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(newRareLines(log.Handler()), slog.LevelWarn),
	}
	address := listener.Addr().String()
	listener = netutil.LimitListener(listener, c.connections(log))
	if cert != nil {
		listener = tls.NewListener(listener, cert.config())
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("listening", "address", address, "tls", cert != nil)

	var cause error
	select {
	case <-ctx.Done():
		log.Info("stopping", "reason", "signal")
	case <-failed:
		cause = errors.New("the store failed and may not go on: start again")
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	}
	api.Drain()
	if cause == nil && c.DrainDelay > 0 {
		select {
		case <-time.After(c.DrainDelay):
		case <-failed:
		}
	}
	api.End()
	stop, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		// Who is still sending gets a cut connection, and sends again.
		log.Warn("some requests did not end in time", "error", err.Error())
		if err := server.Close(); err != nil {
			return errors.Join(cause, err)
		}
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(cause, err)
	}
	if cause == nil {
		log.Info("stopped")
	}
	return cause
}
