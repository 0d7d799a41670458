// How late messages arrive: the time from when one was sent to when it was stored.

import { Fault, text } from "../api.js";
import { bars, tiles } from "./bars.js";
import { h, show } from "../dom.js";
import { countOf, histogram, parse, quantile, value } from "../metrics.js";
import { stamp, zoneName } from "../time.js";
import { digits, duration } from "../units.js";

export function delay() {
  const content = h("div");
  const element = h("section", { class: "card", id: "delay", "aria-labelledby": "delay-title" }, h("h2", { id: "delay-title" }, "Arrival delay"), content);
  let metrics = null;
  let control = null;

  function fill() {
    const all = histogram(metrics, "lyftr_arrival_delay_seconds");
    const begin = stamp(new Date(1000 * value(metrics, "process_start_time_seconds"))) + " " + zoneName();
    if (!all || countOf(all) === 0) {
      show(content, h("p", { class: "note" }, "No message has been stored since the server started at " + begin + "."));
      return;
    }
    show(content,
      h("p", { class: "note" }, "From a message's own time to when it was stored, of all messages since the server started at " + begin + ". The filters above do not narrow it. The three figures are estimates."),
      h("dl", { class: "tiles" }, tiles([["Half within", estimate(0.5, all), "p50", "p50"], ["90 % within", estimate(0.9, all), "p90", "p90"], ["99 % within", estimate(0.99, all), "p99", "p99"]])),
      bars("Arrival delay", ["Delay", "Bar", "Messages"], rowsOf(all)));
  }

  return {
    element,
    async load() {
      control?.abort();
      control = new AbortController();
      try {
        metrics = parse(await text("/metrics", control.signal));
        fill();
      } catch (e) {
        if (e.name === "AbortError") return;
        if (!(e instanceof Fault)) throw e;
        metrics = null;
        show(content, h("p", { class: "fault" }, e.message));
      }
    },
    again() {
      if (metrics) fill();
    },
    hide() {
      control?.abort();
    },
  };
}

// estimate writes a quantile. Of those beyond the last bound no more is known.
export function estimate(q, h) {
  const seconds = quantile(q, h);
  if (seconds === null) return "–";
  return (seconds >= h.bounds[h.bounds.length - 2] ? "≥ " : "") + duration(seconds);
}

function rowsOf({ bounds, counts }) {
  const all = counts[counts.length - 1];
  return bounds.map((bound, i) => {
    const n = counts[i] - (i === 0 ? 0 : counts[i - 1]);
    return [bound === Infinity ? "> " + duration(bounds[i - 1]) : "≤ " + duration(bound), n, share(n / all)];
  });
}

function share(part) {
  return part > 0 && part < 0.001 ? "< 0.1 %" : digits(100 * part) + " %";
}
