//go:build prof

package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func init() {
	name := os.Getenv("PROF")
	if name == "" {
		return
	}
	c := make(chan os.Signal, 4)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		var f *os.File
		for s := range c {
			if s == syscall.SIGUSR1 {
				f, _ = os.Create(name)
				_ = pprof.StartCPUProfile(f)
			} else {
				pprof.StopCPUProfile()
				_ = f.Close()
			}
		}
	}()
}
