// Lyftr is a webhook inbox: it receives signed webhooks that carry messages,
// stores each message exactly once, and lets people find them again.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"lyftr/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := cli.Run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
