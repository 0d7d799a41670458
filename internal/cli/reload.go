package cli

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"lyftr/internal/httpapi"
)

// reloadEvery is how often the files of settings are looked at.
const reloadEvery = time.Second

// reloader takes new secrets, tokens and certificates while the server runs: on
// SIGHUP, and when a file that they were read from changes. Whatever is wrong
// with them leaves those in force that are.
type reloader struct {
	command *serveCommand // with the settings in force
	files   files         // as they were when they were last read
	parse   func() (*parsed, error)
	allow   func(httpapi.Access)
	cert    *certificate
	log     *slog.Logger
}

// start watches until the context ends or stop is called, which waits.
func (r *reloader) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.watch(ctx, hangup)
	}()
	return func() {
		signal.Stop(hangup)
		cancel()
		<-done
	}
}

func (r *reloader) watch(ctx context.Context, hangup <-chan os.Signal) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	seen := r.files
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			r.reload("SIGHUP")
			seen = r.files
		case <-tick.C:
			now := r.files.now()
			// What still changes is waited for: two files that belong together, or
			// one that is not written to its end.
			if !maps.Equal(now, r.files) && maps.Equal(now, seen) {
				r.reload("a file changed")
				now = r.files
			}
			seen = now
		}
	}
}

// reload puts into force what the settings are now.
func (r *reloader) reload(why string) {
	before := r.files.now()
	p, err := r.parse()
	if err == nil {
		_, err = p.commands.Serve.check()
	}
	if err == nil && r.cert != nil {
		err = r.cert.load(p.files)
	}
	if err != nil {
		// Not tried again before something changes.
		r.files = before
		r.log.Error("settings were not read again: those before stay in force", "reason", why, "error", oneLine(err.Error()))
		return
	}
	next := &p.commands.Serve
	if !reflect.DeepEqual(r.command.lasting(), next.lasting()) {
		r.log.Warn("a setting has changed that needs a new start: secrets, tokens and certificates are all that is read again")
	}
	r.allow(next.access())
	r.command.providerSettings, r.command.APIToken, r.files = next.providerSettings, next.APIToken, p.files
	r.log.Info("secrets and tokens were read again", "reason", why)
	next.warn(r.log)
}

// lasting are the settings that are read at the start alone.
func (c *serveCommand) lasting() serveCommand {
	lasting := *c
	lasting.providerSettings, lasting.APIToken = providerSettings{}, ""
	return lasting
}
