package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"lyftr/internal/sample"
)

// benchWriteCommand is lyftr bench write.
type benchWriteCommand struct {
	URL         []string      `default:"http://127.0.0.1:8000" placeholder:"URL" help:"The server, whose database should be one of its own; several replicas share the connections."`
	Secret      string        `setting:"WEBHOOK_SECRET" secret:"" placeholder:"SECRET" help:"Secret to sign the messages with."`
	Connections int           `default:"64" placeholder:"N" help:"Connections, each with one message under way at a time."`
	Duration    time.Duration `placeholder:"TIME" help:"How long messages are sent; 10s if neither this nor --count is given."`
	Count       int64         `placeholder:"N" help:"How many messages are sent, repeats included."`
	Rate        int           `default:"0" placeholder:"N" help:"Messages that are due each second, whether or not those before are answered; 0 sends as fast as answers come."`
	Repeat      int           `default:"5" placeholder:"PERCENT" help:"How many of a hundred are one of the last thousand sent again, byte for byte."`
	Senders     int           `default:"100000" placeholder:"N" help:"How many people write."`
	Seed        uint64        `default:"0" placeholder:"N" help:"Chooses the messages but for their timestamps; 0 for others in each run."`
	Allow503    bool          `name:"allow-503" help:"Answers of 503 are no failure: to see what a server does that gets too much."`
	PID         int           `name:"pid" placeholder:"PID" help:"Process of the server, whose memory is printed at the end."`
	JSON        bool          `name:"json" help:"Print one JSON object."`
}

// Help implements kong.HelpProvider.
func (c *benchWriteCommand) Help() string {
	return `Without --rate each connection sends the next message when it has its answer, and times count from sending: a server that stalls is sent
less meanwhile, which flatters it. With --rate each message has its time, and what it waits from then on counts, for a free connection
too; what was due and not sent at the end counts with the time that it waited. No more messages are under way than connections: give
--connections enough of them to see a server with too much to do.

The exit code is 0 if each answer was 200. A message whose connection was lost before its answer is not sent again: it may be stored
or not. By http or https, HTTP/1.1. 100000 messages are made before the clock starts; if more are needed they are made meanwhile with
--rate, and without it while the clock and the sending stop.

  lyftr bench write --duration 10s
  lyftr bench write --rate 5000 --duration 30s --connections 256 --json
  lyftr bench write --url http://127.0.0.1:8001,http://127.0.0.1:8002 --count 100000`
}

const (
	// loadMostRate is the highest rate of webhooks a second.
	loadMostRate = 1_000_000
	// loadMostConnections is more than one address has ports for.
	loadMostConnections = 50_000
	// writeDuration is how long messages are sent if nothing is said of it.
	writeDuration = 10 * time.Second
)

// written is what bench write prints.
type written struct {
	Connections       int     `json:"connections"`
	Rate              int     `json:"rate"`
	Seconds           float64 `json:"seconds"`
	MessagesPerSecond float64 `json:"messages_per_second"` // acknowledged
	Acknowledged      int64   `json:"acknowledged"`
	// Created are messages that were acknowledged, Repeats how often one of them
	// was again.
	Created int64 `json:"created"`
	Repeats int64 `json:"repeats"`
	// Unavailable are answers of 503, Failed all others but 200.
	Unavailable int64         `json:"unavailable"`
	Failed      int64         `json:"failed"`
	Statuses    map[int]int64 `json:"statuses"`
	NoAnswer    int64         `json:"no_answer"`
	Unsent      int64         `json:"unsent"`
	Lost        int64         `json:"lost_connections"`
	latencies
	// Refused are the times of the answers of 503.
	Refused latencies `json:"refused"`
	RSS     int64     `json:"rss_bytes,omitempty"`
	PeakRSS int64     `json:"peak_rss_bytes,omitempty"`
}

// Run posts messages until there are enough, the time is over or the context
// ends, and prints what came of them.
func (c *benchWriteCommand) Run(e *environment) error {
	if err := c.check(); err != nil {
		return err
	}
	o := loadOptions{
		URLs: c.URL, Secret: c.Secret, Connections: c.Connections, Rate: c.Rate, Count: c.Count, Duration: c.Duration,
		Repeat: c.Repeat, Seed: c.Seed,
	}
	if o.Count == 0 && o.Duration == 0 {
		o.Duration = writeDuration
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	l, err := newLoad(e.ctx, o, sample.New(sample.Options{Seed: o.Seed, Senders: c.Senders, Received: true}))
	if err != nil {
		return fmt.Errorf("bench write: %w", err)
	}
	defer l.close()
	stopShowing := showProgress(e.stderr, func() (done, total int64) {
		return l.tally.created.Load() + l.tally.repeats.Load(), o.Count
	})
	err = l.run(e.ctx)
	stopShowing()
	if err != nil {
		return fmt.Errorf("bench write: %w", err)
	}
	w := l.written()
	if c.PID != 0 {
		memory := processMemory(strconv.Itoa(c.PID))
		w.RSS, w.PeakRSS = memory["VmRSS"], memory["VmHWM"]
	}
	if c.JSON {
		err = json.NewEncoder(e.stdout).Encode(w)
	} else {
		err = w.print(e.stdout)
	}
	if err != nil {
		return fmt.Errorf("bench write: %w", err)
	}
	bad := w.Failed + w.NoAnswer
	if !c.Allow503 {
		bad += w.Unavailable
	}
	if bad > 0 {
		return fmt.Errorf("bench write: %d messages were not acknowledged, the first failure: %w", bad, l.tally.first)
	}
	return nil
}

// check finds what is wrong with the flags.
func (c *benchWriteCommand) check() error {
	switch {
	case c.Secret == "":
		return usagef("no secret to sign webhooks with: set WEBHOOK_SECRET or give --secret")
	case c.Connections < 1 || c.Connections > loadMostConnections:
		return usagef("--connections must be from 1 to %d", loadMostConnections)
	case c.Duration < 0 || c.Count < 0:
		return usagef("--duration and --count must be more than 0")
	case c.Rate < 0 || c.Rate > loadMostRate:
		return usagef("--rate must be from 0 to %d", loadMostRate)
	case c.Repeat < 0 || c.Repeat > 100:
		return usagef("--repeat must be from 0 to 100")
	case c.Senders < 1 || c.Senders > sample.MaxSenders:
		return usagef("--senders must be from 1 to %d", sample.MaxSenders)
	}
	return checkPID(c.PID)
}

// written sums up a load that has ended.
func (l *load) written() written {
	t := &l.tally
	w := written{
		Connections: l.o.Connections,
		Rate:        l.o.Rate,
		Seconds:     l.took.Seconds(),
		Created:     t.created.Load(),
		Repeats:     t.repeats.Load(),
		Unavailable: t.statuses[http.StatusServiceUnavailable],
		Statuses:    maps.Clone(t.statuses),
		NoAnswer:    t.noAnswer.Load(),
		Unsent:      t.unsent.Load(),
		Lost:        t.lost.Load(),
		latencies:   t.acknowledged.latencies(),
		Refused:     t.refused.latencies(),
	}
	for _, n := range t.statuses {
		w.Failed += n
	}
	w.Failed -= w.Unavailable
	if w.Acknowledged = w.Created + w.Repeats; w.Acknowledged > 0 {
		w.Statuses[http.StatusOK] = w.Acknowledged
		w.MessagesPerSecond = float64(w.Acknowledged) / w.Seconds
	}
	return w
}

// print writes it for people.
func (w written) print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f messages/s acknowledged: %d in %.1f s, %d new and %d repeats, over %d connections\n",
		w.MessagesPerSecond, w.Acknowledged, w.Seconds, w.Created, w.Repeats, w.Connections)
	b.WriteString("answers:")
	for _, status := range slices.Sorted(maps.Keys(w.Statuses)) {
		fmt.Fprintf(&b, " %d %d times,", status, w.Statuses[status])
	}
	fmt.Fprintf(&b, " none %d times; %d connections lost and opened again\n", w.NoAnswer, w.Lost)
	since := "sending"
	if w.Rate > 0 {
		since = fmt.Sprintf("when it was due, %d a second; %d unsent at the end", w.Rate, w.Unsent)
	}
	fmt.Fprintf(&b, "acknowledged after: %s (since %s)\n", w.latencies, since)
	if w.Unavailable > 0 {
		fmt.Fprintf(&b, "503 after: %s\n", w.Refused)
	}
	if w.PeakRSS > 0 {
		fmt.Fprintf(&b, "memory of the server: %d MiB, at most %d MiB\n", w.RSS>>20, w.PeakRSS>>20)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// String implements fmt.Stringer.
func (l latencies) String() string {
	return fmt.Sprintf("p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, at most %.2f ms", l.P50, l.P90, l.P99, l.P999, l.Max)
}
