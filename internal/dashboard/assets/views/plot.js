// A picture by uPlot that fits its place: as wide as it is, in the colours of the
// page, sharp on each screen.

const dark = matchMedia("(prefers-color-scheme: dark)");

// load brings uPlot and its style, once, and only when a picture is wanted.
let loading = null;
function load() {
  loading ??= Promise.all([import("../vendor/uplot/uPlot.esm.js"), style()]).then(([m]) => m.default);
  loading.catch(() => { loading = null; });
  return loading;
}

function style() {
  return new Promise((done, failed) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL("../vendor/uplot/uPlot.min.css", import.meta.url);
    link.onload = done;
    link.onerror = failed;
    document.head.append(link);
  });
}

// plot returns a picture in an element: draw(options, data, kind) shows data, clear
// takes it away, chart is uPlot's own object or null. options is a function of
// uPlot, of the width, and of one that turns the name of a colour in the style
// sheet into one for a canvas. While kind is the same, only the data change.
export function plot(place, height) {
  let chart = null;
  let last = null; // what is shown
  let scheme = false; // whether it is drawn for a dark page
  load().catch(() => {}); // while the data are asked for; draw says it

  function build(uPlot) {
    const size = { width: place.clientWidth, height };
    const made = new uPlot({ ...size, legend: { show: false }, ...last.options(uPlot, colour, size.width) }, last.data, place);
    if (chart) chart.destroy();
    chart = made;
    scheme = dark.matches;
    dragByTouch(made.over);
  }

  function colour(name) {
    place.style.setProperty("color", "var(--" + name + ")");
    const value = getComputedStyle(place).color;
    place.style.removeProperty("color");
    return value;
  }

  async function redraw() {
    if (chart && last && place.clientWidth > 0) build(await load());
  }
  dark.addEventListener("change", redraw);
  new ResizeObserver(() => {
    if (chart && place.clientWidth > 0 && place.clientWidth !== chart.width) redraw();
  }).observe(place);

  return {
    get chart() { return chart; },
    async draw(options, data, kind) {
      const same = chart && kind !== undefined && last?.kind === kind && chart.width === place.clientWidth && scheme === dark.matches;
      const wanted = { options, data, kind };
      last = wanted;
      if (same) {
        chart.setData(data);
        return;
      }
      const uPlot = await load();
      if (last === wanted && place.clientWidth > 0) build(uPlot);
    },
    clear() {
      last = null;
      chart?.destroy();
      chart = null;
    },
  };
}

// dragByTouch makes a finger do what a mouse does, of which alone uPlot knows.
// Up and down it moves the page, as everywhere.
function dragByTouch(over) {
  let drawn = false;
  const pass = (kind, to, e) => to.dispatchEvent(new MouseEvent(kind, {
    bubbles: true, button: 0, clientX: e.clientX, clientY: e.clientY, movementX: e.movementX || 1,
  }));
  over.addEventListener("pointerdown", (e) => {
    drawn = e.pointerType !== "mouse" && e.isPrimary;
    if (!drawn) return;
    pass("mouseenter", over, e);
    pass("mousedown", over, e);
  });
  over.addEventListener("pointermove", (e) => { if (drawn) pass("mousemove", over, e); });
  for (const end of ["pointerup", "pointercancel"]) {
    over.addEventListener(end, (e) => {
      if (!drawn) return;
      drawn = false;
      pass("mouseup", document, e);
    });
  }
}

// tip returns a plugin of uPlot: what text says of the point under the pointer,
// beside it.
export function tip(text) {
  let box;
  return {
    hooks: {
      init(u) {
        box = document.createElement("div");
        box.className = "tip";
        box.hidden = true;
        u.over.append(box);
      },
      setCursor(u) {
        const { left, idx } = u.cursor;
        const words = left >= 0 && idx !== null && idx !== undefined ? text(u, idx) : "";
        box.hidden = !words;
        if (!words) return;
        box.textContent = words;
        const room = u.over.clientWidth - box.offsetWidth;
        box.style.left = Math.max(0, Math.min(room, left - box.offsetWidth / 2)) + "px";
      },
    },
  };
}

// axis returns what all axes have in common.
export function axis(colour, more) {
  const line = { stroke: colour("line"), width: 1 };
  return { stroke: colour("quiet"), font: "12px system-ui, sans-serif", grid: line, ticks: { ...line, size: 6 }, ...more };
}

// wholes are the steps of an axis of counts.
export const wholes = Array.from({ length: 10 }, (_, i) => [1, 2, 5].map((n) => n * 10 ** i)).flat();
