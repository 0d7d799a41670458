package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	cdppage "github.com/chromedp/cdproto/page"
)

// databaseVariable names a filled database for benchmarks, as a path or a URL.
const databaseVariable = "LYFTR_E2E_DATABASE"

// rowsAppear notes when the first messages can be seen: in the frame after they
// were put into the page.
const rowsAppear = `new MutationObserver((_, observer) => {
	if (!document.querySelector(".messages tbody tr")) return;
	observer.disconnect();
	requestAnimationFrame(() => setTimeout(() => { window.rowsAt = performance.now(); }));
}).observe(document, { childList: true, subtree: true });`

// BenchmarkFirstPaint opens the dashboard in a browser that has nothing of it, and
// says after how many milliseconds something is painted and the messages are
// there, counted from when it was gone to.
func BenchmarkFirstPaint(b *testing.B) {
	database := os.Getenv(databaseVariable)
	if database == "" {
		database = filepath.Join(b.TempDir(), "app.db")
		fillDatabase(b, database, 5000)
	}
	p := start(b, database)
	chromium := startBrowser(b)
	var painted, rows []float64
	for b.Loop() {
		w := chromium.open(b, p.url(""), "")
		w.run(call(cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: rowsAppear}))
		w.goTo("/")
		w.await("window.rowsAt")
		painted = append(painted, eval[float64](w, `performance.getEntriesByName("first-contentful-paint")[0].startTime`))
		rows = append(rows, eval[float64](w, "window.rowsAt"))
		w.close()
	}
	for name, list := range map[string][]float64{"paint": painted, "messages": rows} {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], name+"-ms-p50")
		b.ReportMetric(list[len(list)-1], name+"-ms-max")
	}
	b.ReportMetric(0, "ns/op")
}
