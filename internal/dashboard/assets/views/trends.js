// The last minutes as lines: deliveries a second, and how long commits and answers
// took.

import { h, show } from "../dom.js";
import { quantile } from "../metrics.js";
import { axis, plot, tip } from "./plot.js";
import { kept } from "../samples.js";
import { ticks } from "./timeline.js";
import { clock, isLocal, zoneName } from "../time.js";
import { digits, duration } from "../units.js";

// looks tell lines apart by colour and by dashes: as many as there are lines.
const looks = [["series", []], ["good", [8, 4]], ["fault", [2, 3]], ["warn", [10, 3, 2, 3]], ["quiet", [16, 4]], ["text", [1, 5]]];

// trend returns a picture with a legend. lines are given to draw: [name, values];
// write turns a value into words.
function trend(id, name, write) {
  const place = h("div", { class: "plot small", role: "img" });
  const legend = h("ul", { class: "legend" });
  const summary = h("p", { class: "note" });
  const element = h("section", { class: "card", id, "aria-labelledby": id + "-title" },
    h("h2", { id: id + "-title" }, name), summary, place, legend);
  const picture = plot(place, 150);

  function options(uPlot, colour, lines) {
    return {
      padding: [10, 24, 0, 0],
      tzDate: (t) => (isLocal() ? new Date(1000 * t) : uPlot.tzDate(new Date(1000 * t), "Etc/UTC")),
      scales: { x: { range: (u) => lately(u.data[0]) }, y: { range: (u, low, high) => [0, (high || 1) * 1.1] } },
      axes: [
        axis(colour, { space: 70, size: 32, values: (u, splits, i, space, incr) => ticks(splits, incr, !isLocal()).map((t) => t.split("\n")[0]) }),
        axis(colour, { size: 60, space: 34, values: (u, splits) => splits.map(write) }),
      ],
      series: [{}, ...looks.slice(0, lines.length).map(([name, dash]) => ({
        stroke: colour(name), dash, width: 2,
        // A point alone has no line.
        points: { show: true, size: 4, fill: colour(name) },
      }))],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      plugins: [tip((u, i) => clock(new Date(1000 * u.data[0][i])))],
      hooks: { setCursor: [(u) => tell(u.cursor.left >= 0 ? u.cursor.idx : null)] },
    };
  }

  const words = (v) => (v === null || v === undefined ? "–" : write(v));

  // tell writes the values at a point into the legend, those of now if there is none.
  let columns = [];
  function tell(i) {
    columns.forEach(({ box, values }) => { box.textContent = words(values[i ?? values.length - 1]); });
  }

  return {
    element,
    // draw shows lines [name, values] over times; said is what stands above them.
    draw(times, lines, said) {
      summary.textContent = said;
      place.setAttribute("aria-label", name + " since " + clock(new Date(1000 * times[0])) + ". " + said +
        " Now: " + lines.map(([line, values]) => line + " " + words(values[values.length - 1])).join(", ") + ".");
      columns = lines.map(([, values]) => ({ values, box: h("b") }));
      show(legend, lines.map(([line], i) => h("li", {}, sample(i), line, " ", columns[i].box)));
      tell(null);
      return picture.draw((uPlot, colour) => options(uPlot, colour, lines), [times, ...lines.map(([, values]) => values)],
        zoneName() + lines.map(([line]) => line).join());
    },
  };
}

// lately is the time that an axis shows: what is kept, and a minute at least.
function lately(times) {
  const now = Math.max(Date.now() / 1000, times[times.length - 1]);
  return [Math.max(now - kept, Math.min(times[0], now - 60)), now];
}

// sample shows how a line looks.
function sample(i) {
  const ns = "http://www.w3.org/2000/svg";
  const [name, dash] = looks[i];
  const line = document.createElementNS(ns, "line");
  for (const [key, value] of Object.entries({ x1: 0, y1: 4, x2: 36, y2: 4, "stroke-width": 2, "stroke-dasharray": dash.join(" ") || "none", class: "look " + name })) {
    line.setAttribute(key, value);
  }
  const picture = document.createElementNS(ns, "svg");
  for (const [key, value] of Object.entries({ width: 36, height: 8, "aria-hidden": "true" })) picture.setAttribute(key, value);
  picture.append(line);
  return picture;
}

// trends returns the pictures, and draw(history), which shows what it keeps.
export function trends() {
  const rate = trend("rate", "Deliveries a second", digits);
  const commits = trend("commits", "Time of commits", duration);
  const answers = trend("answers", "Time of answers", duration);

  function quantiles(to, history, name, unit, what, none) {
    const { points } = history;
    const of = (q, h) => { const v = h && quantile(q, h); return v === null || v === undefined ? null : v * unit; };
    const all = history.sum(name);
    const said = of(0.5, all) === null ? none : "Half within " + duration(of(0.5, all)) + ", 99 % within " + duration(of(0.99, all)) + what;
    to.draw(points.map((p) => p.at), [["p50", points.map((p) => of(0.5, p[name]))], ["p99", points.map((p) => of(0.99, p[name]))]], said);
  }

  return {
    elements: [rate.element, commits.element, answers.element],
    draw(history) {
      const { points } = history;
      const lines = byResult(points);
      rate.draw(points.map((p) => p.at), lines.length > 0 ? lines : [["created", points.map((p) => p.rates?.created ?? null)]],
        lines.length > 0 ? "By what became of them." : "No delivery in the last minutes.");
      quantiles(commits, history, "commits", 1, ", until it was on disk.", "No commit in the last minutes.");
      quantiles(answers, history, "answers", 0.001, ", of all requests, this page's own too.", "No answer in the last minutes.");
    },
  };
}

// byResult returns the lines of the results that there were, in the order of the
// server. Those beyond the looks are one.
function byResult(points) {
  const names = Object.keys(points[points.length - 1].reading.results).filter((r) => points.some((p) => p.rates?.[r] > 0));
  const own = names.length > looks.length ? names.splice(0, looks.length - 1) : names.splice(0);
  const lines = own.map((r) => [r, points.map((p) => p.rates?.[r] ?? null)]);
  if (names.length > 0) lines.push(["others", points.map((p) => p.rates && names.reduce((sum, r) => sum + (p.rates[r] ?? 0), 0))]);
  return lines;
}
