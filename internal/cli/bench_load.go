package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"lyftr/internal/provider"
	"lyftr/internal/sample"
	"lyftr/internal/signature"
)

// loadConnections is how many webhooks may be under way. When all are, the next
// one is sent late, and its lateness counts as part of its time.
const loadConnections = 64

// mostRate is the highest rate of webhooks a second.
const mostRate = 1_000_000

// webhookLoad posts messages at fixed times, whether or not those before are
// answered: the time of each is counted from when it was due, so a server that
// stalls is seen by all that should have come meanwhile.
type webhookLoad struct {
	url      string
	secret   []byte
	client   *http.Client
	interval time.Duration
	begin    time.Time

	mu        sync.Mutex
	generator *sample.Generator
	started   int64

	results [loadConnections]measured
	end     time.Time
}

func newWebhookLoad(c *benchReadCommand) *webhookLoad {
	return &webhookLoad{
		url:    strings.TrimSuffix(c.URL, "/") + "/webhook",
		secret: []byte(c.Secret),
		client: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: loadConnections},
			Timeout:   readTimeout,
		},
		interval: time.Second / time.Duration(c.RateWebhooks),
		// Another run posts other messages.
		generator: sample.New(sample.Options{Seed: uint64(time.Now().UnixNano()), Senders: c.Senders}),
	}
}

// run posts until ctx ends, and returns when the last one is answered.
func (l *webhookLoad) run(ctx context.Context) {
	defer l.client.CloseIdleConnections()
	l.begin = time.Now()
	var posting sync.WaitGroup
	for i := range l.results {
		posting.Go(func() {
			for l.next(ctx, &l.results[i]) {
			}
		})
	}
	<-ctx.Done()
	l.end = time.Now()
	posting.Wait()
}

// next waits until the next message is due and posts it. It returns false when
// ctx has ended.
func (l *webhookLoad) next(ctx context.Context, m *measured) bool {
	l.mu.Lock()
	due := l.begin.Add(time.Duration(l.started) * l.interval)
	l.started++
	message := l.generator.Next()
	l.mu.Unlock()

	wait := time.NewTimer(time.Until(due))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		if due.Before(time.Now()) {
			m.unsent++
		}
		return false
	}
	if ctx.Err() != nil {
		m.unsent++
		return false
	}
	message.TS = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	err := l.post(context.WithoutCancel(ctx), newBody(message))
	m.took = append(m.took, time.Since(due))
	if err != nil {
		m.fail(fmt.Errorf("webhook: %w", err))
	} else {
		m.rows++
	}
	return true
}

func (l *webhookLoad) post(ctx context.Context, message webhookBody) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set(provider.HeaderSignature, signature.SignHex(l.secret, body))
	response, err := l.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s: %.200s", response.Status, answer)
	}
	return nil
}

// result is what came of all webhooks; its rows are those that were acknowledged.
func (l *webhookLoad) result() measured {
	all := measured{name: "webhooks meanwhile"}
	for i := range l.results {
		all.add(&l.results[i])
	}
	// Those that were due in time and that no connection came to.
	if due := int64(l.end.Sub(l.begin)/l.interval) + 1; due > l.started {
		all.unsent += due - l.started
	}
	return all
}
