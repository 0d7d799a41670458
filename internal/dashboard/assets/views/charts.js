// The charts: messages over time, who sends most, and how late messages arrive.

import { Fault, get, query } from "../api.js";
import { bars, tiles } from "./bars.js";
import { delay } from "./delay.js";
import { h, number, show } from "../dom.js";
import { address, filters, link, read } from "../state.js";
import { person } from "./row.js";
import { stamp, zoneName } from "../time.js";
import { timeline } from "./timeline.js";

export function create() {
  const facts = h("dl", { class: "tiles", id: "totals" });
  const chart = timeline(() => load(read()));
  const senders = h("section", { class: "card", id: "senders", "aria-labelledby": "senders-title" });
  const late = delay();
  const element = h("section", { "aria-label": "Charts", class: "stack" },
    facts, chart.element, h("div", { class: "halves" }, senders, late.element));

  let asked = null; // the filters of what is shown
  let zone = "";
  let stats = null;
  let control = null;

  async function load(state) {
    control?.abort();
    control = new AbortController();
    const { signal } = control;
    const answer = get("/stats" + query(filters(state, ["q"])), signal);
    // The timeline throws what this throws, if it waits for it.
    const range = answer.then((s) => s.first_message_ts && { first: Date.parse(s.first_message_ts) / 1000, last: Date.parse(s.last_message_ts) / 1000 });
    range.catch(() => {});
    const drawn = chart.load(state, range, signal);
    try {
      stats = await answer;
      fill();
    } catch (e) {
      if (e.name === "AbortError") return;
      if (!(e instanceof Fault)) throw e;
      stats = null;
      show(facts);
      show(senders, title(), h("p", { class: "fault" }, e.message));
    }
    await drawn;
  }

  function fill() {
    show(facts, tiles([
      ["Messages", number(stats.total_messages), "", "messages"],
      ["Senders", number(stats.senders_count), "", "senders"],
      ["First message", time(stats.first_message_ts), "", "first"],
      ["Last message", time(stats.last_message_ts), "", "last"],
    ]));
    const list = stats.messages_per_sender;
    show(senders, title(), list.length === 0
      ? h("p", { class: "note" }, "None.")
      : bars("Top senders", ["Sender", "Bar", "Messages"], list.map((s) => [who(s.from), s.count])));
  }

  function who(from) {
    if (!from) return person(from);
    return h("a", { href: address({ ...read(), from }), onclick: link({ from }), title: "Only this sender" }, person(from));
  }

  return {
    title: "Charts",
    filters: ["from", "to", "source", "since"],
    element,
    show(state) {
      const next = query({ ...filters(state, ["q"]), bucket: state.bucket });
      chart.show(state);
      if (asked !== next) {
        asked = next;
        load(state);
        late.load();
      } else if (zone !== zoneName()) {
        chart.redraw();
        late.again();
        if (stats) fill();
      }
      zone = zoneName();
    },
    hide() {
      control?.abort();
      late.hide();
      asked = null;
    },
  };
}

function title() {
  return h("h2", { id: "senders-title" }, "Top senders");
}

function time(ts) {
  return ts ? h("time", { datetime: ts, title: ts }, stamp(new Date(ts))) : "none";
}
