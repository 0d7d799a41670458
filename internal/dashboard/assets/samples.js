// What was read from /metrics again and again, and what happened in between.
// Nothing here touches the page.

import { histogram, less, plus, samples, value } from "./metrics.js";

// kept is for how long readings are kept, and gap how long two of them may be
// apart, in seconds.
export const kept = 600;
const gap = 60;

// lately is for how long it is remembered that several processes took turns.
const lately = 120;

// reading returns the figures of one answer that are compared with later ones.
export function reading(metrics) {
  return {
    process: value(metrics, "process_start_time_seconds"),
    results: Object.fromEntries(samples(metrics, "webhook_requests_total").map((s) => [s.labels.result, s.value])),
    commits: histogram(metrics, "lyftr_commit_duration_seconds"),
    answers: histogram(metrics, "request_latency_ms"),
  };
}

// history keeps readings, the oldest first.
export function history() {
  const points = [];
  return {
    points,
    // add takes a reading and when it was made, in seconds. A point has at, process,
    // and what happened since the reading before of the same process: rates, of
    // deliveries a second by result, commits and answers; null if that is not known.
    add(at, now) {
      const before = points.findLast((p) => p.process === now.process);
      const known = before && at - before.at <= gap ? before.reading : null;
      points.push({
        at, process: now.process, reading: now,
        rates: known && rates(now.results, known.results, at - before.at),
        commits: known && less(now.commits, known.commits),
        answers: known && less(now.answers, known.answers),
      });
      while (points[0].at < at - kept) points.shift();
    },
    // processes is how many have taken turns in answering lately. Another one that
    // only follows is the same server, started again.
    processes() {
      const list = points.filter((p) => p.at >= points[points.length - 1].at - lately).map((p) => p.process);
      const first = list.findIndex((p, i) => list.slice(i, list.lastIndexOf(p)).some((other) => other !== p));
      return first < 0 ? 1 : new Set(list.slice(first)).size;
    },
    // sum adds up the histograms of a name.
    sum(name) {
      return points.reduce((all, p) => plus(all, p[name]), null);
    },
  };
}

function rates(now, before, seconds) {
  if (seconds <= 0) return null;
  const list = Object.entries(now).map(([result, n]) => [result, (n - (before[result] ?? 0)) / seconds]);
  return list.some(([, n]) => n < 0) ? null : Object.fromEntries(list);
}
