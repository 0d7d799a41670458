// The hint that messages have arrived since a list was made.

import { Fault, get, query } from "./api.js";
import { h } from "./dom.js";
import { pause } from "./feed.js";
import { matcher } from "./match.js";

// held is how long the server may hold the question, in seconds. pace is how long
// to wait before the next one when what came does not match, and again after an
// error, in milliseconds.
const held = 25;
const pace = 1000;
const again = 10000;

// newsOf returns the hint: its element, start(filters), and stop. It calls reload
// when somebody wants to see what is new, who has to start it anew.
//
// It asks the feed, which costs the server nothing while nothing arrives, and only
// while the page is seen. A message that arrives in the moment in which the list
// is made may go unmentioned until the next one does.
export function newsOf(reload) {
  const button = h("button", { type: "button", id: "news", class: "main", hidden: true, onclick: () => { button.hidden = true; reload(); } }, "Show new messages");
  const element = h("div", { class: "news", role: "status" }, button);

  let matches = null; // null while stopped, and once there is something new
  let position = "latest";
  let control = null;

  async function watch() {
    control?.abort();
    if (!matches) return;
    control = new AbortController();
    const { signal } = control;
    for (let found = false; !found;) {
      if (document.hidden && position !== "latest") return;
      try {
        found = await look(signal);
        if (!found) await pause(pace, signal);
      } catch (e) {
        if (e.name === "AbortError") return;
        if (!(e instanceof Fault)) throw e;
        if (e.status === 401) return; // the page is about to be left
        found = e.status === 422; // another database: all of it is new
        if (!found) await pause(again, signal);
      }
      if (signal.aborted) return;
    }
    matches = null;
    button.hidden = false;
  }

  // look asks once. The first time it learns where the end is.
  async function look(signal) {
    const begins = position === "latest";
    const page = await get("/feed" + query({ after: position, limit: begins ? 1 : 100, wait: begins ? "" : held }), signal);
    if (signal.aborted) return false;
    position = page.next_cursor;
    return page.data.some(matches);
  }

  document.addEventListener("visibilitychange", () => { if (position !== "latest") watch(); });
  return {
    element,
    // start begins at the end of the feed. What has an end in time gets no news.
    start(filters) {
      button.hidden = true;
      position = "latest";
      matches = filters.until ? null : matcher(filters);
      watch();
    },
    stop() {
      matches = null;
      button.hidden = true;
      control?.abort();
    },
  };
}
