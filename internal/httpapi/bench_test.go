package httpapi_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// idleReaders is how many readers BenchmarkIdleReaders connects.
const idleReaders = 2000

// BenchmarkIdleReaders is what a reader costs who waits for an event: the memory
// of the process with many of them less that without, over TCP. The readers' own
// ends of the connections are in the same process and in the figure.
func BenchmarkIdleReaders(b *testing.B) {
	s := start(b)
	s.seed(hello)
	for b.Loop() {
		before, goroutines := memory(), runtime.NumGoroutine()
		readers := make([]net.Conn, idleReaders)
		header := make([]byte, 1<<10)
		for i := range readers {
			readers[i] = s.idleReader(header)
		}
		s.readersAre(idleReaders)
		with := memory()
		b.ReportMetric(float64(with-before)/idleReaders, "B/reader")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/idleReaders, "goroutines/reader")

		// How long one message takes to all of them.
		var wg sync.WaitGroup
		begin := time.Now()
		for _, c := range readers {
			wg.Go(func() {
				if _, err := c.Read(make([]byte, 1<<10)); err != nil {
					b.Error(err)
				}
			})
		}
		s.save(decoded(b, msg(s.newID())))
		wg.Wait()
		b.ReportMetric(float64(time.Since(begin).Milliseconds()), "ms/message-to-all")
		for _, c := range readers {
			c.Close()
		}
		s.readersAre(0)
	}
}

// idleReader opens a stream and takes what it begins with.
func (s *service) idleReader(buf []byte) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /feed?after=latest HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	for n := 0; !strings.Contains(string(buf[:n]), "\nid: ") || !strings.HasSuffix(string(buf[:n]), "\n\n\r\n"); {
		more, err := c.Read(buf[n:])
		if n += more; err != nil {
			s.t.Fatal(fmt.Errorf("%w after %q", err, buf[:n]))
		}
	}
	return c
}

// memory is what the heap and the stacks take, after a collection.
func memory() uint64 {
	debug.FreeOSMemory() // collects
	debug.FreeOSMemory() // and shrinks what stacks the first one found too large
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
