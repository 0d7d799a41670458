// Messages over time: a bar for each bucket. Dragging over some shows those alone,
// in finer buckets; the address follows.

import { Fault, get, query } from "../api.js";
import { ceil, count, fit, floor, most, sizes } from "../buckets.js";
import { h, number, show } from "../dom.js";
import { filters, go, read } from "../state.js";
import { axis, plot, tip, wholes } from "./plot.js";
import { clock, day, instant, isLocal, zoneName } from "../time.js";
import { compact } from "../units.js";

// rowsShown is how many buckets the table lists.
const rowsShown = 300;

// fewest is for how many bars there is room at least: a single one would look like
// very many.
const fewest = 24;

// timeline returns the chart; again is called when somebody wants what failed to be
// asked again.
export function timeline(again) {
  const pick = h("select", { id: "bucket", onchange: () => go({ bucket: pick.value }) },
    h("option", { value: "" }, "Automatic"), Object.keys(sizes).map((name) => h("option", { value: name }, "By " + name)));
  const out = h("button", { type: "button", id: "zoom-out", onclick: zoomOut }, "Zoom out");
  const note = h("p", { class: "note", id: "timeline-note" });
  const place = h("div", { class: "plot", role: "img" });
  const notice = h("p", { class: "notice", role: "status", hidden: true });
  const rows = h("div", { tabindex: 0, role: "region", "aria-label": "Messages over time as a table" });
  const table = h("details", { id: "timeline-table", ontoggle: list }, h("summary", {}, "The numbers as a table"), rows);
  const element = h("section", { class: "card", id: "timeline", "aria-labelledby": "timeline-title" },
    h("div", { class: "bar" }, h("h2", { id: "timeline-title" }, "Messages over time"),
      h("div", { class: "controls" }, h("label", { for: "bucket" }, "Bars "), pick, out)),
    note, place, notice, table);
  const picture = plot(place, 260);

  let shown = null; // { bucket, data, begin, end } of what is seen
  const zooms = []; // where zooming has come from: { from, to }, states of time

  // load asks for the buckets. range is a promise of what GET /stats says of the
  // first and the last message: { first, last } in seconds, null if there is none.
  async function load(state, range, signal) {
    element.setAttribute("aria-busy", "true");
    try {
      const next = await ask(state, range, signal);
      if (next) await draw(next);
      else say(filtered(state) ? "No message matches these filters." : "No message has arrived yet.", "empty");
    } catch (e) {
      if (e.name === "AbortError") return;
      say(e instanceof Fault ? e.message : "The chart cannot be drawn. Load the page again.", "fault");
      if (!(e instanceof Fault)) throw e;
    } finally {
      if (!signal.aborted) element.removeAttribute("aria-busy");
    }
  }

  async function ask(state, range, signal) {
    const since = state.since && Date.parse(state.since) / 1000;
    const until = state.until && Date.parse(state.until) / 1000;
    const known = since !== "" && until !== "" ? {} : await range;
    if (!known) return null; // there is none that matches
    const begin = since !== "" ? since : known.first;
    // Who looks at the last hour sees it whole, also if nothing has come lately.
    const end = until !== "" ? until : Math.max(Math.floor(known.last) + 1, since !== "" ? Date.now() / 1000 : 0);
    const { bucket, since: from, cut } = fit(state.bucket, begin, end);
    const { data } = await get("/stats/timeline" + query({
      ...filters(state, ["q"]), bucket, ...(cut && { since: instant(new Date(1000 * from)) }),
    }), signal);
    if (!data.some((d) => d.count > 0)) return null;
    const side = since === "" && until === "" ? Math.max(0, (fewest - count(bucket, from, end)) / 2) * sizes[bucket] : 0;
    return { bucket, data, begin: floor(bucket, from) - side, end: ceil(bucket, end) + side, note: noteOf(state.bucket, bucket, cut) };
  }

  function noteOf(wanted, bucket, cut) {
    if (cut) return "Only the last " + number(most) + " days are shown. Choose a time to see others.";
    if (wanted && wanted !== bucket) return "By " + wanted + " there would be more than " + number(most) + " bars: these are by " + bucket + ".";
    return "";
  }

  async function draw(next) {
    place.hidden = false; // its width is needed
    await picture.draw((uPlot, colour, width) => options(uPlot, colour, width, next), points(next));
    shown = next;
    notice.hidden = true;
    table.hidden = false;
    element.dataset.state = "ready";
    element.dataset.bucket = next.bucket;
    place.setAttribute("aria-label", inWords(next));
    show(note, "By " + next.bucket + ", " + (next.bucket === "day" ? "days of UTC" : zoneName()) + ". " + (next.note || "Drag over the bars to zoom in."));
    note.classList.toggle("warn", Boolean(next.note));
    list();
  }

  function say(text, kind) {
    shown = null;
    picture.clear();
    place.hidden = table.hidden = true;
    notice.hidden = false;
    show(notice, text, kind === "fault" && h("button", { type: "button", class: "quiet", onclick: again }, "Try again"));
    notice.classList.toggle("fault", kind === "fault");
    note.textContent = "";
    element.dataset.state = kind;
  }

  function options(uPlot, colour, width, { bucket, data, begin, end }) {
    const utc = bucket === "day" || !isLocal();
    const step = sizes[bucket];
    return {
      padding: [12, 28, 0, 0],
      tzDate: (t) => (utc ? uPlot.tzDate(new Date(1000 * t), "Etc/UTC") : new Date(1000 * t)),
      scales: { x: { range: () => [begin, end] }, y: { range: (u, low, high) => [0, Math.max(1, high) * 1.05] } },
      axes: [
        axis(colour, { space: 64, values: (u, splits, i, space, incr) => ticks(splits, incr, utc) }),
        axis(colour, { size: 52, incrs: wholes, values: (u, splits) => splits.map(compact) }),
      ],
      series: [{}, {
        stroke: colour("series"), fill: colour("series"), width: 0, points: { show: false },
        // Few bars stand apart, many make one shape.
        paths: uPlot.paths.bars({ align: 1, size: [1, Infinity, 1], gap: (end - begin) / step < width / 5 ? 1 : 0 }),
      }],
      cursor: {
        y: false, points: { show: false }, drag: { x: true, y: false, dist: 4, setScale: false },
        // A bar begins at its time.
        dataIdx: (u, series, near, x) => Math.floor((x - data0(data)) / step),
        bind: { dblclick: () => () => zoomOut() },
      },
      hooks: {
        setSelect: [(u) => {
          const { left, width: wide } = u.select;
          if (wide < 4) return;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          zoomTo(floor(bucket, u.posToVal(left, "x")), ceil(bucket, u.posToVal(left + wide, "x")));
        }],
      },
      plugins: [tip((u, i) => data[i] && period(data[i].ts, bucket) + ": " + messages(data[i].count))],
    };
  }

  function zoomTo(since, until) {
    const { since: s, until: u, bucket } = read();
    const to = { since: instant(new Date(1000 * since)), until: instant(new Date(1000 * until)), bucket: "" };
    zooms.push({ from: { since: s, until: u, bucket }, to });
    go(to);
  }

  // zoomOut goes to where the zoom has come from, and for an address that somebody
  // was given to all times.
  function zoomOut() {
    const { since, until } = read();
    if (!since && !until) return;
    const i = zooms.findLastIndex(({ to }) => to.since === since && to.until === until);
    const back = i < 0 ? { since: "", until: "" } : zooms[i].from;
    zooms.length = Math.max(0, i);
    go(back);
  }

  // list writes the table, once it is open.
  function list() {
    if (!table.open || !shown) return;
    const { bucket, data } = shown;
    const some = data.filter((d) => d.count > 0);
    show(rows, some.length > rowsShown && h("p", { class: "note" }, "The last " + rowsShown + " of " + number(some.length) + " " + bucket + "s with messages."),
      h("table", { class: "plain" }, h("caption", { class: "hidden" }, "Messages by " + bucket),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, bucket[0].toUpperCase() + bucket.slice(1)), h("th", { scope: "col" }, "Messages"))),
        h("tbody", {}, some.slice(-rowsShown).map((d) => h("tr", {}, h("td", {}, zoomLink(d.ts, bucket)), h("td", { class: "n" }, number(d.count)))))));
  }

  function zoomLink(ts, bucket) {
    const at = Date.parse(ts) / 1000;
    if (bucket === "minute") return period(ts, bucket);
    return h("button", { type: "button", class: "quiet link", title: "Zoom in", onclick: () => { zoomTo(at, at + sizes[bucket]); out.focus(); } }, period(ts, bucket));
  }

  return {
    element,
    load,
    // show follows the state before anything is asked.
    show(state) {
      pick.value = state.bucket;
      if (pick.selectedIndex < 0) pick.value = "";
      out.disabled = !state.since && !state.until;
    },
    // redraw draws what is shown in another zone.
    redraw() {
      if (shown) draw(shown);
    },
  };
}

function filtered(state) {
  return Object.keys(filters(state, ["q"])).length > 0;
}

function messages(n) {
  return number(n) + (n === 1 ? " message" : " messages");
}

const data0 = (data) => Date.parse(data[0].ts) / 1000;

// points returns the columns for uPlot. The one that is added at the end tells it
// how wide a single bar is.
function points({ data, bucket }) {
  const x = data.map((d) => Date.parse(d.ts) / 1000);
  return [[...x, x[x.length - 1] + sizes[bucket]], [...data.map((d) => d.count), null]];
}

// period names a bucket.
export function period(ts, bucket) {
  const at = new Date(ts);
  if (bucket === "day") return at.toISOString().slice(0, 10);
  const begin = day(at) + " " + clock(at).slice(0, 5);
  return bucket === "minute" ? begin : begin + "–" + clock(new Date(at.getTime() + 3600e3)).slice(0, 5);
}

// inWords says what the picture shows.
function inWords({ data, bucket }) {
  const some = data.filter((d) => d.count > 0);
  const peak = some.reduce((a, b) => (b.count > a.count ? b : a));
  return "Messages by " + bucket + ": " + messages(some.reduce((sum, d) => sum + d.count, 0)) +
    ", the first in " + period(some[0].ts, bucket) + ", the last in " + period(some[some.length - 1].ts, bucket) +
    ", the most in " + period(peak.ts, bucket) + ": " + number(peak.count) + ".";
}

// ticks writes the times below an axis: what is the same as before it is left out.
export function ticks(splits, incr, utc) {
  let before = "";
  return splits.map((t) => {
    const at = new Date(1000 * t);
    const text = utc ? at.toISOString().slice(0, 19).replace("T", " ") : day(at) + " " + clock(at);
    const [date, time] = [text.slice(0, 10), text.slice(11, incr < 60 ? 19 : 16)];
    const same = before;
    before = date;
    if (incr >= 360 * 86400) return date.slice(0, 4);
    if (incr >= 86400) return date.slice(0, 4) === same.slice(0, 4) ? date.slice(5) : date.slice(5) + "\n" + date.slice(0, 4);
    return date === same ? time : time + "\n" + date;
  });
}
