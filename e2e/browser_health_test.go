package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lyftr/internal/signature"
)

func testHealth(t *testing.T, b *browser) {
	const old = "the-secret-of-before"
	p := face(t, "WEBHOOK_SECRET_PREVIOUS="+old)
	threeMessages(t, p)
	w := b.open(t, p.url(""), "/?view=health")
	w.awaitText("#ready", "✓ Ready: messages are stored")
	w.figure("stored", 3)
	w.figure("queue", 0)
	w.figure("panics", 0)
	w.await(`/^[0-9.]+ [KM]B$/.test(document.querySelector("[data-key=database] dd").textContent)`)
	w.await(`document.querySelector("#refused").dataset.state === "empty"`)
	w.await(`document.querySelectorAll("#secrets tbody tr").length === 1 && !document.querySelector("#secrets .warn")`)
	for _, id := range []string{"rate", "commits", "answers"} {
		w.await(fmt.Sprintf(`document.querySelector("#%s canvas") && %s[0] > 200`, id, pixels("#"+id+" canvas", "#000000")))
	}

	// What happens now is there when the page asks the next time.
	client := newClient(t, 1)
	text := "signed as before"
	message := body("m4", "+919876543210", "2025-01-18T10:00:00Z", &text)
	if status, answer := postSigned(client, p.url("/webhook"), message, strings.Repeat("0", 64)); status != 401 {
		t.Fatalf("a wrong signature is answered %d %s", status, answer)
	}
	if status, answer := postSigned(client, p.url("/webhook"), message, signature.SignHex([]byte(old), message)); status != 200 {
		t.Fatalf("the old secret is answered %d %s", status, answer)
	}
	w.await(`document.querySelectorAll("#refused tbody tr").length === 1`)
	row := w.texts("#refused tbody td")
	for i, want := range []string{1: "native", 2: "401", 3: "invalid_signature", 4: "the signature fits no secret"} {
		if i >= len(row) || !strings.HasPrefix(row[i], want) {
			t.Errorf("the refusal is shown as %q, want %q", row, want)
			break
		}
	}
	w.figure("stored", 4)
	w.await(`document.querySelector("#secrets .warn")?.textContent.startsWith("⚠ The old secret is still used: native.")`)
	if got, want := w.texts("#secrets tbody tr:last-child td"), []string{"native", "previous", "1"}; !slices.Equal(got, want) {
		t.Errorf("the old secret is shown as %q", got)
	}

	w.allow("net::ERR_CONNECTION_REFUSED", "net::ERR_CONNECTION_RESET", "net::ERR_EMPTY_RESPONSE")
	p.kill()
	w.await(`document.querySelector("#health").dataset.state === "lost"`)
	w.awaitText("#ready", "✗ The server cannot be reached.")
}
