// The messages, newest first, and the detail of one.

import { Fault, get, query } from "../api.js";
import { detail } from "./detail.js";
import { h, number, show } from "../dom.js";
import { newsOf } from "../news.js";
import { filters } from "../state.js";
import { rowOf, tableOf } from "./row.js";
import { isLocal } from "../time.js";

// pageSize is how many messages are asked for at a time, and most how many are
// shown: whoever goes on narrows the filters.
const pageSize = 50;
const most = 2000;

export function create() {
  const count = h("p", { class: "count", role: "status" });
  const exports = h("div", { class: "exports" });
  const body = h("tbody");
  const table = tableOf("Messages, the newest first", body);
  const notice = h("p", { class: "notice", role: "status", hidden: true });
  const more = h("button", { type: "button", class: "more", hidden: true, onclick: () => load(false) }, "Show older messages");
  const one = detail();
  const news = newsOf(() => fill().then(() => body.querySelector("a")?.focus()));
  const element = h("section", { "aria-label": "Messages" },
    h("div", { class: "bar" }, count, exports), news.element, notice, table, h("div", { class: "end" }, more), one.element);

  let asked = null; // the filters of what is shown
  let local = false; // in which zone its times are
  let cursor = null;
  let control = null; // ends what is being asked

  // load asks for the first page, or for the next one.
  async function load(first) {
    control?.abort();
    control = new AbortController();
    const { signal } = control;
    more.disabled = true;
    table.setAttribute("aria-busy", "true");
    try {
      const page = await get("/messages" + query({
        ...asked, order: "desc", limit: pageSize, fields: "all", total: "none", cursor: first ? "" : cursor,
      }), signal);
      if (first) show(body);
      const begin = body.rows.length;
      body.append(...page.data.map((m) => rowOf(m)));
      cursor = page.next_cursor;
      const full = body.rows.length >= most;
      more.hidden = !cursor || full;
      say(body.rows.length === 0 ? nothing() : full && cursor ? "Only the newest " + number(most) + " are shown. Narrow the filters, or export all." : "");
      if (!first) body.rows[begin]?.querySelector("a")?.focus({ preventScroll: true });
    } catch (e) {
      if (e.name === "AbortError") return;
      if (!(e instanceof Fault)) throw e;
      if (first) {
        show(body);
        more.hidden = true;
      }
      say(e.message, true);
    } finally {
      if (!signal.aborted) {
        more.disabled = false;
        table.removeAttribute("aria-busy");
      }
    }
  }

  // tally asks how many there are. It is apart from the list, which it would hold
  // up when very many match.
  async function tally(signal) {
    count.textContent = "Counting…";
    try {
      const { total } = await get("/messages" + query({ ...asked, limit: 1 }), signal);
      count.textContent = number(total) + (total === 1 ? " message" : " messages");
    } catch (e) {
      if (e.name === "AbortError") return;
      if (!(e instanceof Fault)) throw e;
      count.textContent = e.status === 503 ? "Too many to be counted in time" : "";
    }
  }

  function nothing() {
    return Object.keys(asked).length === 0
      ? "No message has arrived yet. Send one: lyftr send --text hello"
      : "No message matches these filters.";
  }

  function say(text, alert) {
    notice.textContent = text;
    notice.hidden = !text;
    notice.classList.toggle("fault", Boolean(alert));
    table.hidden = body.rows.length === 0;
  }

  // fill asks for everything anew.
  let counting = null;
  function fill() {
    counting?.abort();
    counting = new AbortController();
    news.start(asked);
    tally(counting.signal);
    return load(true);
  }

  return {
    title: "Messages",
    filters: ["q", "from", "to", "source", "since"],
    element,
    show(state) {
      const next = filters(state);
      if (asked === null || query(next) !== query(asked) || local !== isLocal()) {
        asked = next;
        local = isLocal();
        fill();
        show(exports, "Export ", ["csv", "ndjson"].map((format) =>
          h("a", { href: "/export" + query({ format, ...asked }), download: "messages." + format }, format.toUpperCase())));
      }
      one.show(state);
    },
    // Whoever comes back wants to see what has arrived meanwhile.
    hide() {
      control?.abort();
      counting?.abort();
      news.stop();
      asked = null;
      one.hide();
    },
  };
}
