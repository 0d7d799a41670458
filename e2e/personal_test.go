package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"lyftr/internal/signature"
)

// TestNothingPersonal sends texts, names and numbers in every way there is, right
// and wrong, and looks for them in everything that lyftr says to whoever is not
// shown messages: the log, the metrics, the refused deliveries, what doctor
// prints.
func TestNothingPersonal(t *testing.T) { onEach(t, testNothingPersonal) }

func testNothingPersonal(t *testing.T, database string) {
	const (
		text, name, number, token = "zqtext", "Zqname", "919877700001", "zqtoken-of-the-readers"
		standard                  = "zqstandard-secret-of-32-bytes-xx"
		twilio                    = "zqtwilio-token"
	)
	public := "https://hooks.example.com"
	settings := []string{
		"WHATSAPP_APP_SECRET=" + appSecret, "WHATSAPP_VERIFY_TOKEN=zqverify", "TWILIO_AUTH_TOKEN=" + twilio, "PUBLIC_URL=" + public,
		"STANDARD_WEBHOOKS_SECRET=whsec_" + base64.StdEncoding.EncodeToString([]byte(standard)), "API_TOKEN=" + token,
	}
	p := start(t, database, append(settings, "LOG_LEVEL=DEBUG")...)
	client := newClient(t, 4)
	send := func(want int, method, target, contentType, body string, headers ...string) {
		t.Helper()
		r, err := http.NewRequestWithContext(context.Background(), method, p.url(target), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		if status, answer := do(client, r); status != want {
			t.Errorf("%s %.60s: %d %s, want %d", method, target, status, answer, want)
		}
	}
	hub := func(body string) string { return "sha256=" + signature.SignHex([]byte(appSecret), []byte(body)) }
	whatsapp := fmt.Sprintf(`{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{"contacts":[{"profile":{"name":%q},"wa_id":%q}],
		"messages":[{"from":%q,"id":"wamid.1","timestamp":"1749416383","type":"text","text":{"body":%q}}],
		"statuses":[{"id":"wamid.2","status":"failed","timestamp":"1749416383","recipient_id":%q,"errors":[{"title":%q}]}]}}]}]}`, name, number, number, text, number, text)
	send(200, "POST", "/webhook/whatsapp", "", whatsapp, "X-Hub-Signature-256", hub(whatsapp))
	send(401, "POST", "/webhook/whatsapp", "", whatsapp, "X-Hub-Signature-256", hub("other"))
	send(422, "POST", "/webhook/whatsapp", "", whatsapp[1:], "X-Hub-Signature-256", hub(whatsapp[1:]))
	send(401, "POST", "/webhook", "", whatsapp, "X-Hub-Signature-256", hub(whatsapp))
	send(404, "POST", "/webhook/wa/"+number+"?name="+name, "", whatsapp, "X-Hub-Signature-256", hub(whatsapp))
	send(404, "POST", "/webhook/+"+number, "", whatsapp, "X-Hub-Signature-256", hub(whatsapp))
	send(403, "GET", "/webhook/whatsapp?hub.mode=subscribe&hub.verify_token=zqwrong&hub.challenge="+text, "", "")

	form := url.Values{"MessageSid": {"SM1"}, "From": {"whatsapp:+" + number}, "To": {"whatsapp:+14155238886"}, "Body": {text}, "ProfileName": {name}, "NumMedia": {"0"}}
	twilioMAC := func(url string) string {
		mac := hmac.New(sha1.New, []byte(twilio))
		mac.Write([]byte(url))
		for _, name := range slices.Sorted(maps.Keys(form)) {
			mac.Write([]byte(name + form.Get(name)))
		}
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	const formType = "application/x-www-form-urlencoded"
	send(200, "POST", "/webhook/twilio", formType, form.Encode(), "X-Twilio-Signature", twilioMAC(public+"/webhook/twilio"))
	send(401, "POST", "/webhook/twilio", formType, form.Encode(), "X-Twilio-Signature", twilioMAC("http://hooks.example.com/webhook/twilio"))
	send(401, "POST", "/webhook/twilio?From="+number+"&n="+name, formType, form.Encode(), "X-Twilio-Signature", twilioMAC("other"))

	native := fmt.Sprintf(`{"message_id":"m1","from":"+%s","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":%q}`, number, text)
	stamp := fmt.Sprint(time.Now().Unix())
	v1 := func(id, body string) string {
		mac := signature.Sign(sha256.New, []byte(standard), []byte(id+"."+stamp+"."+body))
		return "v1," + base64.StdEncoding.EncodeToString(mac)
	}
	send(200, "POST", "/webhook/standard", "", native, "Webhook-Id", "msg_1", "Webhook-Timestamp", stamp, "Webhook-Signature", v1("msg_1", native))
	send(401, "POST", "/webhook/standard", "", native, "Webhook-Id", "msg_"+number, "Webhook-Timestamp", stamp, "Webhook-Signature", v1("msg_2", native))
	send(401, "POST", "/webhook/standard", "", native, "Webhook-Id", "msg_1", "Webhook-Timestamp", number, "Webhook-Signature", v1("msg_1", native))

	send(200, "POST", "/webhook", "", native, "X-Signature", signature.SignHex([]byte(secret), []byte(native)))
	wrong := strings.Replace(native, `"ts"`, `"`+name+`"`, 1)
	send(422, "POST", "/webhook", "", wrong, "X-Signature", signature.SignHex([]byte(secret), []byte(wrong)))
	send(401, "POST", "/webhook", "", native, "X-Signature", text)
	send(401, "GET", "/messages?q="+text+"&from=%2B"+number, "", "")
	send(401, "GET", "/messages", "", "", "Authorization", "Bearer zqtoken-that-is-wrong")
	send(401, "POST", "/sign-in", formType, "token="+text, "Origin", "http://"+p.address)
	send(200, "GET", "/messages?q="+text, "", "", "Authorization", "Bearer "+token)
	send(200, "DELETE", "/messages?from=%2B"+number, "", "", "Authorization", "Bearer "+token)

	_, metrics := get(t, p.url("/metrics"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url("/rejected"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	_, rejected := do(client, r)
	var refusals struct {
		Data []struct{ Reason string }
	}
	if err := json.Unmarshal([]byte(rejected), &refusals); err != nil || len(refusals.Data) != 12 {
		t.Errorf("%d refusals, %v: %s", len(refusals.Data), err, rejected)
	}
	doctor := exec.Command(binary, "doctor", "--url", p.url(""))
	doctor.Dir, doctor.Env = t.TempDir(), p.cmd.Env
	advice, err := doctor.CombinedOutput()
	if err != nil {
		t.Errorf("doctor: %v\n%s", err, advice)
	}
	if code, _ := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for what, said := range map[string]string{
		"the log": strings.Join(p.log(), "\n"), "standard error": p.stderr.String(), "the metrics": string(metrics), "the refusals": rejected, "doctor": string(advice),
	} {
		for _, personal := range []string{"zq", "Zq", number, number[2:], appSecret, "hooks.example.com/webhook/twilio?From=9"} {
			if i := strings.Index(said, personal); i >= 0 {
				t.Errorf("%s has %q: …%s…", what, personal, said[max(0, i-200):min(len(said), i+100)])
			}
		}
	}
}
