package e2e

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"lyftr/internal/signature"
)

// screenshotsVariable names the folder that TestScreenshots writes to. Without it
// the pictures are only looked at.
const screenshotsVariable = "LYFTR_E2E_SCREENSHOTS"

const (
	// maxPicture is how large a picture of the documents may be, in bytes: the
	// repository keeps each.
	maxPicture = 200 << 10
	// minColours is fewer than a picture of anything has.
	minColours = 40
)

// TestScreenshots makes the pictures of the documents, from a database that is
// filled with the same messages each time, the last of which has just come.
func TestScreenshots(t *testing.T) {
	t.Parallel()
	wanted := os.Getenv(screenshotsVariable)
	folder, err := filepath.Abs(wanted)
	if wanted == "" {
		folder = t.TempDir()
	}
	if err != nil {
		t.Fatal(err)
	}
	const old = "the-secret-of-before"
	database := filepath.Join(t.TempDir(), "app.db")
	runFill(t, database, "--mixed", "--count=6000", "--senders=400", "--seed=7", "--span=672h")
	p := start(t, database, "WHATSAPP_APP_SECRET="+appSecret, "WEBHOOK_SECRET_PREVIOUS="+old, "APP_NAME=Parcel desk")
	client := newClient(t, 1)
	const picked = "wamid.HBgLNDkxNTExMjM0NTY3OBUCABIYFDNB"
	if status, answer := postWhatsApp(client, p.url("/webhook"), whatsAppDelivery(picked, "4915112345678", "Jonas", "Hallo! Ist mein Paket schon unterwegs? 📦", time.Now().Add(-40*time.Second))); status != 200 {
		t.Fatalf("WhatsApp is answered %d %s", status, answer)
	}
	refuse(t, p, client)

	b := startBrowser(t)
	health := b.open(t, p.url(""), "/?view=health") // asks again and again meanwhile
	live := b.open(t, p.url(""), "/?view=live")
	live.run(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}, // new rows do not light up
	}))
	live.live("live")
	w := b.open(t, p.url(""), "")
	shoot := func(name, path string) {
		t.Helper()
		w.goTo(path)
		w.await(whole[path])
		w.picture(folder, name)
	}
	w.size(1300, 800)
	shoot("messages", "/")
	w.scheme("dark")
	w.goTo("/?q=parcel")
	w.await(whole["/"])
	w.picture(folder, "dark")
	w.scheme("light")
	w.goTo("/?message_source=whatsapp&message=" + url.QueryEscape(picked))
	w.await(whole["/?message=m1"])
	w.await(whole["/"])
	w.run(script("document.activeElement.blur()"))
	w.picture(folder, "detail")

	arrive(t, p, client, "live", []byte(secret), len(arriving))
	live.size(1300, 800)
	live.await(fmt.Sprintf(`document.querySelectorAll(".live tbody tr").length === %d`, len(arriving)))
	live.picture(folder, "live")
	shoot("charts", "/?view=charts")
	w.run(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	shoot("phone", "/")

	health.size(1300, 800)
	arrive(t, p, client, "old", []byte(old), 1)
	health.await(whole["/?view=health"] + ` && document.querySelector("#secrets .warn")`)
	if wanted != "" { // some more answers make lines of the points, which takes its time
		for i := range 8 {
			arrive(t, p, client, fmt.Sprint("rate", i), []byte(secret), 3+5*i%11)
			health.asked()
		}
	}
	health.picture(folder, "health")
}

// asked waits until the page has asked for the health once more.
func (w *tab) asked() {
	w.tb.Helper()
	const line = `document.querySelector("#process").textContent`
	before := eval[string](w, line)
	w.await(line + " !== " + quote(before))
}

// arriving are texts that arrive while the pictures are made, each with how long it
// was on its way, and by which way.
var arriving = []struct {
	from, text string
	late       time.Duration
	whatsApp   bool
}{
	{"+4915112345678", "Moin, mein Paket liegt seit gestern im Depot. Kommt es heute noch?", 300 * time.Millisecond, false},
	{"+919876543210", "नमस्ते, मेरा पार्सल कब आएगा?", 2 * time.Second, true},
	{"+14155550142", "Please leave it with the neighbours at number 12 🙏", 700 * time.Millisecond, false},
	{"+33612345678", "Bonjour, le code de la porte est 4711B.", 4 * time.Second, true},
	{"+819012345678", "明日の午前中にお願いします。", 900 * time.Millisecond, false},
	{"+14155550142", "Thank you! ⭐⭐⭐⭐⭐", time.Second, false},
	{"+971501234567", "هل يمكن تغيير عنوان التسليم؟", 8 * time.Second, true},
	{"+5511987654321", "O entregador já saiu? Estou em casa até as 18h.", 3 * time.Second, false},
	{"+447700900123", "Where is order 20417? The tracking page has said \"out for delivery\" since Monday.", 20 * time.Minute, false},
	{"+8613812345678", "请放在门口，谢谢", 1500 * time.Millisecond, true},
	{"+2348012345678", "Abeg make una call me before una come", 12 * time.Second, false},
	{"+919876543210", "OK 👍", time.Second, true},
	{"+447700900123", "Found it, it was behind the bins.", 45 * time.Second, false},
}

// arrive sends the first of them, those of lyftr's own format signed with a secret.
// Their ids begin with a name.
func arrive(t *testing.T, p *process, client *http.Client, name string, key []byte, n int) {
	t.Helper()
	for i, m := range arriving[:n] {
		id, at := fmt.Sprint(name, "-", i), time.Now().UTC().Add(-m.late)
		var status int
		if m.whatsApp {
			status, _ = postWhatsApp(client, p.url("/webhook"), whatsAppDelivery(id, m.from[1:], "Someone", m.text, at))
		} else {
			b := body(id, m.from, at.Format("2006-01-02T15:04:05.000Z"), &m.text)
			status, _ = postSigned(client, p.url("/webhook"), b, signature.SignHex(key, b))
		}
		if status != http.StatusOK {
			t.Fatalf("%s is answered %d", id, status)
		}
	}
}

// refuse sends what is refused.
func refuse(t *testing.T, p *process, client *http.Client) {
	t.Helper()
	hello, unsigned := []byte(`{"message_id":"m1","from":"+14155550142","to":"+14155550100","ts":"yesterday","text":"hello"}`), strings.Repeat("0", 64)
	for _, status := range []int{
		first(postSigned(client, p.url("/webhook"), hello, unsigned)),
		first(post(client, p.url("/webhook"), hello)),
		first(postWhatsApp(client, p.url("/webhooks"), hello)),
		first(post(client, p.url("/webhook/whatsapp"), hello)),
	} {
		if status < 400 || status >= 500 {
			t.Fatalf("what is to be refused is answered %d", status)
		}
	}
}

func first(status int, _ string) int { return status }

// picture writes what the window shows to a file of the folder: for the documents
// as it is, else small, which is enough to see that there is something.
func (w *tab) picture(folder, name string) {
	w.tb.Helper()
	small := os.Getenv(screenshotsVariable) == ""
	size := eval[[]float64](w, "[innerWidth, innerHeight]")
	clip := cdppage.Viewport{Width: size[0], Height: size[1], Scale: 1}
	if small {
		clip.Scale = 0.25
	}
	shot, err := chromedp.Call(w.ctx, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{Clip: &clip})
	if err != nil {
		w.tb.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(shot.Data))
	if err != nil {
		w.tb.Fatalf("%s: %v", name, err)
	}
	colours := map[color.Color]bool{}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y += 3 {
		for x := bounds.Min.X; x < bounds.Max.X; x += 3 {
			colours[picture.At(x, y)] = true
		}
	}
	if !small && len(shot.Data) > maxPicture || len(colours) < minColours {
		w.tb.Errorf("%s has %d bytes and %d colours", name, len(shot.Data), len(colours))
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), shot.Data, 0o600); err != nil {
		w.tb.Fatal(err)
	}
}
