package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"lyftr/internal/signature"
)

const appSecret = "the-app-secret-of-whatsapp"

// Of a large delivery.
const (
	deliveryMessages = 600
	deliveryStatuses = 400
	deliveryBytes    = 3 << 20
)

// largeDelivery is as much as WhatsApp sends at one time: 1000 updates, spread
// over two entries of which one has changes of both kinds, in 3 MB. Its messages
// have ids that begin with the name.
func largeDelivery(name string) []byte {
	type object = map[string]any
	text := strings.Repeat("é", deliveryBytes/deliveryMessages/2-90)
	var messages, statuses []any
	for i := range deliveryMessages {
		m := object{"from": fmt.Sprintf("9198%08d", i%50), "id": fmt.Sprintf("%s.m%d", name, i), "timestamp": fmt.Sprint(1749416383 + i), "type": "text", "text": object{"body": text}}
		switch i % 3 {
		case 1:
			m = object{"from_user_id": fmt.Sprintf("US.%d", i%50), "id": m["id"], "timestamp": m["timestamp"], "type": "image", "image": object{"id": "1", "caption": text}}
		case 2:
			m["type"] = "a type of tomorrow"
		}
		messages = append(messages, m)
	}
	for i := range deliveryStatuses {
		statuses = append(statuses, object{"id": fmt.Sprintf("%s.s%d", name, i/2), "status": []string{"sent", "delivered"}[i%2], "timestamp": "1749416399", "recipient_id": "919812345678"})
	}
	value := func(messages, statuses []any) object {
		return object{"field": "messages", "value": object{
			"messaging_product": "whatsapp", "metadata": object{"display_phone_number": "15550783881", "phone_number_id": "1"},
			"messages": messages, "statuses": statuses,
		}}
	}
	b, err := json.Marshal(object{"object": "whatsapp_business_account", "entry": []any{
		object{"id": "1", "changes": []any{value(messages[:10], nil), value(messages[10:400], statuses[:100]), object{"field": "account_update", "value": object{}}}},
		object{"id": "2", "changes": []any{value(messages[400:], statuses[100:])}},
	}})
	if err != nil {
		panic(err)
	}
	return b
}

// postWhatsApp posts a body as WhatsApp does.
func postWhatsApp(client *http.Client, url string, body []byte) (status int, answer string) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url+"/whatsapp", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Hub-Signature-256", "sha256="+signature.SignHex([]byte(appSecret), body))
	return do(client, r)
}

// TestLargeDelivery kills the server at any moment while it takes deliveries of
// a thousand updates: each is there as a whole or not at all, and as a whole if
// it was acknowledged.
func TestLargeDelivery(t *testing.T) { onEach(t, testLargeDelivery) }

func testLargeDelivery(t *testing.T, database string) {
	const rounds, senders = 5, 2
	random := rand.New(rand.NewPCG(3, 4))
	var mu sync.Mutex
	acknowledged, whole, absent := map[string]bool{"first": true}, 0, 0
	// How long one takes here, so that kills come while some are on their way.
	p := start(t, database, "WHATSAPP_APP_SECRET="+appSecret)
	begun := time.Now()
	if status, answer := postWhatsApp(newClient(t, 1), p.url("/webhook"), largeDelivery("first")); status != http.StatusOK {
		t.Fatalf("at the begin: %d %s", status, answer)
	}
	took := time.Since(begun)
	p.kill()
	for round := range rounds {
		p := start(t, database, "WHATSAPP_APP_SECRET="+appSecret)
		ctx, stop := context.WithCancel(t.Context())
		kill := time.AfterFunc(100*time.Millisecond+time.Duration(random.Float64()*4*float64(took)), func() {
			p.kill()
			stop()
		})
		var wg sync.WaitGroup
		for sender := range senders {
			client := newClient(t, 1)
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					name := fmt.Sprintf("r%d-%d-%d", round, sender, i)
					b := largeDelivery(name)
					status, _ := postWhatsApp(client, p.url("/webhook"), b)
					mu.Lock()
					acknowledged[name] = status == http.StatusOK
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		kill.Stop()
		stop()
	}
	p = start(t, database, "WHATSAPP_APP_SECRET="+appSecret)
	for range 2 { // the second is a repeat
		begun := time.Now()
		if status, answer := postWhatsApp(newClient(t, 1), p.url("/webhook"), largeDelivery("last")); status != http.StatusOK {
			t.Errorf("at the end: %d %s", status, answer)
		}
		t.Logf("one took %v", time.Since(begun))
	}
	acknowledged["last"] = true
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	counts := map[string][2]int{}
	db := open(t, database)
	defer db.Close()
	for kind, query := range []string{"SELECT message_id FROM messages WHERE source = 'whatsapp'", "SELECT message_id FROM statuses WHERE source = 'whatsapp'"} {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(id, ".")
			n := counts[name]
			n[kind]++
			counts[name] = n
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for name, ok := range acknowledged {
		switch n := counts[name]; {
		case n == [2]int{deliveryMessages, deliveryStatuses}:
			whole++
		case n != [2]int{}:
			t.Errorf("of %s there are %d messages and %d statuses", name, n[0], n[1])
		case ok:
			t.Errorf("%s was acknowledged and is lost", name)
		default:
			absent++
		}
	}
	if whole < 3 || absent == 0 { // the first and the last one are there
		t.Errorf("%d deliveries are there and %d are not: nothing was killed on its way", whole, absent)
	}
	t.Logf("%d deliveries of %d updates in %d bytes: %d whole, %d absent", len(acknowledged), deliveryMessages+deliveryStatuses, len(largeDelivery("x")), whole, absent)
}
