// Reading what GET /metrics says, in the text format of Prometheus, and working
// out figures from it. Nothing here touches the page.

// parse returns the samples by name: for each a list of { labels, value }. Lines
// that are none are left out.
export function parse(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    const parts = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)/.exec(line);
    if (!parts) continue;
    const [, name, labels = "", value] = parts;
    if (!metrics.has(name)) metrics.set(name, []);
    metrics.get(name).push({ labels: labelsOf(labels), value: numberOf(value) });
  }
  return metrics;
}

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
  }
  return labels;
}

function numberOf(text) {
  if (text === "+Inf" || text === "-Inf") return text === "+Inf" ? Infinity : -Infinity;
  return Number(text);
}

// samples returns those of a name, none if there is none.
export function samples(metrics, name) {
  return metrics.get(name) ?? [];
}

// value returns the one of a name without labels, undefined if it is not there.
export function value(metrics, name) {
  return samples(metrics, name)[0]?.value;
}

// total adds up those of a name that pass.
export function total(metrics, name, pass = () => true) {
  return samples(metrics, name).filter((s) => pass(s.labels)).reduce((sum, s) => sum + s.value, 0);
}

// histogram returns { bounds, counts }: the upper bounds, the last of which is
// Infinity, and how many were at most as large. It is null if there is none.
export function histogram(metrics, name) {
  const buckets = samples(metrics, name + "_bucket").map((s) => [numberOf(s.labels.le), s.value]).sort((a, b) => a[0] - b[0]);
  return buckets.length === 0 ? null : { bounds: buckets.map((b) => b[0]), counts: buckets.map((b) => b[1]) };
}

// less returns what came to a histogram between two readings; null if they do not
// belong together, as when a count went down.
export function less(later, earlier) {
  if (!later || !earlier || later.bounds.join() !== earlier.bounds.join()) return null;
  const counts = later.counts.map((n, i) => n - earlier.counts[i]);
  return counts.some((n) => n < 0) ? null : { bounds: later.bounds, counts };
}

// plus adds two histograms of the same bounds; null stands for an empty one.
export function plus(a, b) {
  if (!a || !b) return a ?? b;
  return { bounds: a.bounds, counts: a.counts.map((n, i) => n + b.counts[i]) };
}

// countOf returns how many a histogram has counted.
export function countOf(h) {
  return h ? h.counts[h.counts.length - 1] : 0;
}

// quantile estimates one as histogram_quantile of Prometheus does: within a bucket
// as if its values were spread evenly, and the highest bound there is for those
// beyond it. It is null if nothing was counted.
export function quantile(q, h) {
  const all = countOf(h);
  if (all === 0) return null;
  const rank = q * all;
  const i = h.counts.findIndex((n) => n >= rank);
  if (h.bounds[i] === Infinity) return i === 0 ? null : h.bounds[i - 1];
  const [from, below] = i === 0 ? [Math.min(0, h.bounds[0]), 0] : [h.bounds[i - 1], h.counts[i - 1]];
  const inside = h.counts[i] - below;
  return inside === 0 ? h.bounds[i] : from + (h.bounds[i] - from) * ((rank - below) / inside);
}
