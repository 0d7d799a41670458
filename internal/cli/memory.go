package cli

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory tells the garbage collector of the memory limit of the container,
// so that it collects earlier instead of being killed. A GOMEMLIMIT in the
// environment goes before it.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
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
