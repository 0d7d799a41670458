package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserTests are the tests of the pages. They share one browser, in which each
// has a window, cookies and a memory of its own.
var browserTests = map[string]func(t *testing.T, b *browser){
	"search":          testSearch,
	"deep links":      testDeepLinks,
	"detail":          testDetail,
	"sources":         testSources,
	"older":           testOlder,
	"news":            testNews,
	"live":            testLive,
	"live restart":    testLiveRestart,
	"charts":          testCharts,
	"zone":            testZone,
	"docs":            testDocs,
	"docs, axe":       testDocsAccessibility,
	"phone":           testPhone,
	"keyboard":        testKeyboard,
	"health":          testHealth,
	"sign in":         testSignInPage,
	"hostile texts":   testHostileTexts,
	"hostile senders": testHostileSenders,
	"accessibility":   testAccessibility,
}

func TestBrowser(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	for name, test := range browserTests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, b)
		})
	}
}

// browser is a running chromium.
type browser struct {
	ctx context.Context
}

// startBrowser runs a chromium until the test ends. It cannot reach any other
// host.
func startBrowser(tb testing.TB) *browser {
	tb.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath("chromium"),
		chromedp.UserDataDir(tb.TempDir()),
		chromedp.DisableGPU,
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeWindow := chromedp.NewContext(allocated)
	tb.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the process; it may have ended
		closeWindow()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatal(err)
	}
	return &browser{ctx}
}

// patience bounds what is waited for in a page.
const patience = 20 * time.Second

// tab is a window of the browser on one server's pages.
type tab struct {
	tb   testing.TB
	ctx  context.Context
	base string // the server's address
	// close closes it before the test ends.
	close func()

	mu      sync.Mutex
	faults  []string
	allowed []string // parts of faults that the test provokes
}

// open opens a window of its own on a path of the server and waits until it is
// loaded; without a path the window is empty. Whatever goes wrong in it until the test ends fails the test: an error
// or a warning on its console, a script that fails, a dialog, a request to
// another host.
func (b *browser) open(tb testing.TB, base, path string) *tab {
	tb.Helper()
	ctx, closeTab := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	w := &tab{tb: tb, ctx: ctx, close: closeTab, base: strings.TrimSuffix(base, "/")}
	tb.Cleanup(func() {
		closeTab()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, f := range w.faults {
			if !slices.ContainsFunc(w.allowed, func(part string) bool { return strings.Contains(f, part) }) {
				tb.Error(f)
			}
		}
	})
	if err := chromedp.Listen(ctx, w.watch); err != nil {
		tb.Fatal(err)
	}
	w.run(call(network.Enable, network.EnableParams{}), call(log.Enable, cdp.Empty{}), call(cdppage.Enable, cdppage.EnableParams{}),
		// Each window is in front, whatever the others do.
		call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}))
	w.size(1300, 900)
	if path != "" {
		w.goTo(path)
	}
	return w
}

// allow names faults that the test provokes, by a part of their text.
func (w *tab) allow(parts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.allowed = append(w.allowed, parts...)
}

func (w *tab) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// watch notes what goes wrong in the window.
func (w *tab) watch(event any) {
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			var text []string
			for _, a := range e.Args {
				text = append(text, string(a.Value)+a.Description)
			}
			w.fault("console: %s: %s", e.Type, strings.Join(text, " "))
		}
	case *runtime.EventExceptionThrown:
		w.fault("script: %s", (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			w.fault("log: %s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *cdppage.EventJavascriptDialogOpening:
		w.fault("a dialog opened: %s", e.Message)
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Scheme != "data" && u.Scheme != "blob" && u.Scheme+"://"+u.Host != w.base {
			w.fault("a request to %s", e.Request.URL)
		}
	}
}

// action is something done in a window.
type action = chromedp.Action[chromedp.Void]

// call is a command of the DevTools protocol.
func call[P, R any](command cdp.Command[P, R], parameters P) action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, command, parameters)
		return chromedp.Void{}, err
	}
}

// run carries out actions in the window.
func (w *tab) run(actions ...action) {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.tb.Fatalf("%v\n%s", err, w.describe())
	}
}

// goTo loads a path of the server.
func (w *tab) goTo(path string) {
	w.tb.Helper()
	w.run(chromedp.Navigate(w.base + path))
}

// size makes the window so large, in CSS pixels.
func (w *tab) size(width, height int64) {
	w.tb.Helper()
	w.run(chromedp.EmulateViewport(width, height))
}

// scheme chooses light or dark.
func (w *tab) scheme(name string) {
	w.tb.Helper()
	w.run(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	}))
}

// eval returns the value of an expression, which may be a promise, in the page.
func eval[T any](w *tab, expression string) T {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		w.tb.Fatalf("%s: %v\n%s", expression, err, w.describe())
	}
	return value
}

// await waits until an expression in the page is true.
func (w *tab) await(expression string) {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	// The condition is tried again if the page is loaded anew meanwhile.
	for {
		holds, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && holds {
			return
		}
		select {
		case <-ctx.Done():
			w.tb.Fatalf("%s does not come true: %v\n%s", expression, err, w.describe())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// awaitText waits until the first element that a selector names has this text.
func (w *tab) awaitText(selector, text string) {
	w.tb.Helper()
	w.await(fmt.Sprintf("document.querySelector(%s)?.textContent.trim() === %s", quote(selector), quote(text)))
}

// texts returns the text of each element that a selector names.
func (w *tab) texts(selector string) []string {
	w.tb.Helper()
	return eval[[]string](w, fmt.Sprintf("[...document.querySelectorAll(%s)].map(e => e.textContent)", quote(selector)))
}

// address is what stands in the address bar, less the server's own part.
func (w *tab) address() string {
	w.tb.Helper()
	return eval[string](w, "location.pathname + location.search")
}

// write types a text in place of what a field holds.
func (w *tab) write(selector, text string) {
	w.tb.Helper()
	w.run(focus(selector), script(fmt.Sprintf("document.querySelector(%s).select()", quote(selector))))
	if text == "" {
		w.press("Backspace")
		return
	}
	w.insert(text)
}

// insert types a text where the focus is.
func (w *tab) insert(text string) {
	w.tb.Helper()
	w.run(call(input.InsertText, input.InsertTextParams{Text: text}))
}

// keys are what browsers are told of a key besides its name: what it types, and
// its code of old.
var keys = map[string]struct {
	text string
	code int64
}{"Enter": {"\r", 13}, "Escape": {"", 27}, "Tab": {"", 9}, "Backspace": {"", 8}, "/": {"/", 191}, "p": {"p", 80}}

// press presses a key and lets it go.
func (w *tab) press(name string) {
	w.tb.Helper()
	k := keys[name]
	down := input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: name, Code: name, Text: k.text, WindowsVirtualKeyCode: k.code}
	up := down
	up.Type, up.Text = input.DispatchKeyEventTypeKeyUp, ""
	w.run(call(input.DispatchKeyEvent, down), call(input.DispatchKeyEvent, up))
}

// click clicks the first element that a selector names, and if it is replaced
// meanwhile the one that came in its place.
func (w *tab) click(selector string) {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector)))
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "Could not find node") {
			w.tb.Fatalf("click on %s: %v\n%s", selector, err, w.describe())
		}
	}
}

// choose chooses an option of a select.
func (w *tab) choose(selector, value string) {
	w.tb.Helper()
	w.run(script(fmt.Sprintf(`{ const s = document.querySelector(%s); s.value = %s; s.dispatchEvent(new Event("change", { bubbles: true })); }`,
		quote(selector), quote(value))))
}

// describe tells what the window shows, for whoever reads that a test failed.
func (w *tab) describe() string {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 2000)`))
	if err != nil {
		return err.Error()
	}
	return text
}

// quote writes a text as JavaScript does.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// quoteAll writes a list of them.
func quoteAll(texts []string) string {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// face is a server with a database of its own, for a test of its pages.
func face(t *testing.T, env ...string) *process {
	t.Helper()
	return start(t, filepath.Join(t.TempDir(), "app.db"), env...)
}

// script runs JavaScript in the page.
func script(text string) action {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Evaluate[any](text)(ctx, t)
		if errors.Is(err, chromedp.ErrJSUndefined) || errors.Is(err, chromedp.ErrJSNull) {
			err = nil
		}
		return chromedp.Void{}, err
	}
}

// The browser's own buttons.
var (
	back    = script("history.back()")
	forward = script("history.forward()")
)

// focus puts the keyboard's focus on an element.
func focus(selector string) action { return chromedp.Focus(chromedp.CSS(selector)) }
