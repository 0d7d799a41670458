// How the server is: asked every few seconds while somebody looks.

import { Fault, text } from "../api.js";
import { tiles } from "./bars.js";
import { bytes, h, number, show } from "../dom.js";
import { parse, samples, total, value } from "../metrics.js";
import { refused } from "./refused.js";
import { history, reading } from "../samples.js";
import { clock, stamp, zoneName } from "../time.js";
import { trends } from "./trends.js";
import { duration } from "../units.js";

// pause is the time between two questions, and patience how long an answer may
// take, in milliseconds.
const pause = 3000;
const patience = 10000;

// often is after how many questions the refusals are asked for, though no figure
// says that there are new ones: those of other replicas.
const often = 10;

// backlog is how many messages the index may be behind before questions feel it.
const backlog = 20000;

export function create() {
  const state = h("p", { class: "state", id: "ready", role: "status" }, "Asking…");
  const checks = h("ul", { class: "checks", hidden: true });
  const about = h("p", { class: "note", id: "process" });
  const turns = h("p", { class: "note warn", id: "processes", hidden: true });
  const figures = h("dl", { class: "tiles", id: "figures" });
  const faults = h("dl", { class: "tiles", id: "faults" });
  const secrets = h("div");
  const lines = trends();
  const refusals = refused();
  const element = h("section", { "aria-label": "Health", class: "stack", id: "health" },
    h("div", { class: "card" }, state, checks, about, turns),
    figures, h("div", { class: "thirds" }, lines.elements), faults,
    h("section", { class: "card", id: "secrets", "aria-labelledby": "secrets-title" }, h("h2", { id: "secrets-title" }, "Secrets in use"), secrets),
    refusals.element);

  const past = history();
  let metrics = null;
  let refusedBefore = -1;
  let asked = 0;
  let timer = 0;
  let control = null; // ends what is being asked; null while nobody looks

  async function poll() {
    clearTimeout(timer);
    const mine = control;
    if (!mine || document.hidden) return;
    const signal = AbortSignal.any([mine.signal, AbortSignal.timeout(patience)]);
    try {
      const [now, ready] = await Promise.all([text("/metrics", signal), readiness(signal)]);
      if (control !== mine) return;
      metrics = parse(now);
      past.add(Date.now() / 1000, reading(metrics));
      fill(ready);
      await refusalsIfNew(signal);
    } catch (e) {
      if (control !== mine) return;
      lost(e);
      if (!(e instanceof Fault)) throw e;
    } finally {
      if (control === mine) {
        clearTimeout(timer);
        timer = setTimeout(poll, pause);
      }
    }
  }

  async function refusalsIfNew(signal) {
    const n = total(metrics, "webhook_requests_total") - total(metrics, "webhook_requests_total", (l) => ["created", "duplicate", "ignored"].includes(l.result)) +
      total(metrics, "http_requests_total", (l) => l.path === "unmatched" || l.status === "405");
    if (n === refusedBefore && ++asked % often !== 0) return;
    refusedBefore = n;
    await refusals.load(signal);
  }

  // lost says that nothing is known. What was known stays, as what it was.
  function lost(e) {
    element.dataset.state = "lost";
    say("✗ " + (e instanceof Fault ? e.message : "This page has a fault. Load it again."), "fault");
    checks.hidden = true;
    refusedBefore = -1;
  }

  function fill({ ready, reasons }) {
    element.dataset.state = ready ? "ready" : "not-ready";
    say(ready ? "✓ Ready: messages are stored" : "✗ Not ready: no message can be stored", ready ? "good" : "fault");
    checks.hidden = ready || reasons.length === 0;
    show(checks, reasons.map(([name, what]) => h("li", {}, h("b", {}, name), ": ", h("bdi", {}, what))));
    figuresNow();
    lines.draw(past);
  }

  function figuresNow() {
    const get = (name) => value(metrics, name);
    const figure = (name, write = number) => (get(name) === undefined ? "not known" : write(get(name)));
    const version = samples(metrics, "lyftr_build_info")[0]?.labels.version ?? "not known";
    const since = get("process_start_time_seconds");
    show(about, "lyftr ", version, ", up since ", stamp(new Date(1000 * since)), " ", zoneName(), " (" + duration(Math.max(1, Date.now() / 1000 - since)) + "). Asked at ", clock(new Date()), ".");
    const n = past.processes();
    turns.hidden = n < 2;
    turns.textContent = "⚠ Answers come from " + n + " processes; figures are of one at a time.";
    const room = get("lyftr_queue_capacity");
    show(figures, tiles([
      ["Messages stored", figure("lyftr_stored_messages"), "", "stored"],
      ["Database", figure("lyftr_database_size_bytes", bytes), "", "database"],
      ["Its log", figure("lyftr_database_log_size_bytes", bytes), "of that", "log"],
      free(get("lyftr_disk_free_bytes")),
      ["Waiting to be stored", figure("lyftr_queue_depth"), room && "of at most " + number(room), "queue"],
      ["Not yet in the search index", figure("lyftr_unindexed_messages"), get("lyftr_unindexed_messages") > backlog && "searches and charts are slow until it is done", "unindexed"],
      ["Readers of the feed", figure("lyftr_feed_readers"), "", "readers"],
    ].filter(Boolean)));
    show(faults, [
      ["Repeats with other content", "lyftr_mismatches_total", "mismatches"],
      ["Requests that ended in a panic", "lyftr_panics_total", "panics"],
      ["Log lines that were lost", "lyftr_log_write_failures_total", "lost"],
    ].map(([name, metric, key]) => troubles(name, get(metric), key)));
    show(secrets, secretsOf(samples(metrics, "lyftr_secret_uses_total")));
  }

  function say(words, kind) {
    state.className = "state " + kind;
    if (state.textContent !== words) state.textContent = words; // it is read out
  }

  function start() {
    if (control) return;
    control = new AbortController();
    poll();
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });

  let zone = zoneName();
  return {
    title: "Health",
    filters: [],
    element,
    show() {
      start();
      if (zone === zoneName()) return;
      zone = zoneName();
      if (metrics) {
        figuresNow();
        lines.draw(past);
      }
      refusals.again();
    },
    hide() {
      control?.abort();
      control = null;
      clearTimeout(timer);
    },
  };
}

// readiness asks whether a message could be stored; what is wrong stands in an
// answer that is an error.
async function readiness(signal) {
  const answer = await fetch("/health/ready", { signal }).catch((e) => {
    throw e.name === "AbortError" ? e : new Fault(0, "The server cannot be reached.");
  });
  let checks = {};
  try {
    checks = (await answer.json()).checks ?? {};
  } catch {
    // Something between here and lyftr has answered.
  }
  return { ready: answer.ok, reasons: Object.entries(checks).filter(([, what]) => what !== "ok") };
}

// free shows the room on the disk, where it is known.
function free(n) {
  return n !== undefined && ["Free on its disk", bytes(n), "", "disk"];
}

function troubles(name, n, key) {
  const some = n > 0;
  return h("div", { class: "tile" + (some ? " alarm" : ""), "data-key": key, "data-alarm": some },
    h("dt", {}, name), h("dd", {}, some ? "⚠ " + number(n) : number(n ?? 0)),
    h("dd", { class: "more-of" }, some ? "since the start; the log says more" : "none since the start"));
}

function secretsOf(list) {
  const used = list.filter((s) => s.value > 0);
  const old = used.filter((s) => s.labels.key.startsWith("previous"));
  return [
    old.length > 0 && h("p", { class: "warn" }, "⚠ The old secret is still used: ", old.map((s) => s.labels.source).join(", ") + ". Move the sender to the new one before you take the old one away."),
    used.length === 0
      ? h("p", { class: "note" }, "No delivery with a valid signature since the start.")
      : h("table", { class: "plain" }, h("caption", { class: "hidden" }, "Valid signatures since the start, by secret"),
        h("thead", {}, h("tr", {}, ["Source", "Secret", "Valid signatures"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, used.map((s) => h("tr", { "data-key": s.labels.key }, h("td", {}, s.labels.source), h("td", {}, s.labels.key), h("td", {}, number(s.value)))))),
  ];
}
