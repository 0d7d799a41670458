package cli

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent lets the heap grow to three times of what lives before it is
// collected, so that under load the collector runs half as often as by default.
// Some tens of megabytes live while large segments are merged.
const gcPercent = 200

// tuneRuntime sets up Go's runtime for a server whose writer spends most of its
// time in system calls. GOGC, GOMAXPROCS and GOMEMLIMIT in the environment go
// before it.
func tuneRuntime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// While the writer waits for the disk, its processor should not wait
		// with it until the runtime notices.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		limitMemory()
	}
}

// limitMemory tells the garbage collector of the memory limit of the container,
// so that it collects earlier instead of being killed.
func limitMemory() {
	// Version 2 of control groups; see Documentation/admin-guide/cgroup-v2.rst
	// of the Linux kernel. The file says "max" if there is no limit.
	b, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || limit <= 0 {
		return
	}
	debug.SetMemoryLimit(limit / 10 * 9) // the rest is for what Go does not count
}

// ownDescriptors is what lyftr opens besides connections and readers of the
// database: the log, the database and its write-ahead log, what is opened for a
// moment, and some to spare.
const ownDescriptors = 24

// connectionsFor is how many connections there may be at one time: as many as are
// allowed, but none that takes the file descriptor of one that reads the database,
// each of which has two. If there are hardly any, a quarter are for connections.
func connectionsFor(most, descriptors, readers int) int {
	own := ownDescriptors + 2*readers
	switch {
	case most <= descriptors-own:
		return most
	case descriptors < own+own/3:
		return max(1, descriptors/4)
	}
	return descriptors - own
}
