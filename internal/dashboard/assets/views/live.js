// Messages as they arrive, the newest on top.

import { detail } from "./detail.js";
import { h, number, show } from "../dom.js";
import { follower } from "../feed.js";
import { matcher } from "../match.js";
import { rowOf, tableOf } from "./row.js";
import { filters } from "../state.js";
import { isLocal } from "../time.js";

// kept is how many messages are remembered, of those that match and those that do
// not: other filters choose among them anew. most is how many have a row.
const kept = 2000;
const most = 500;

// gentle is how many rows are lit up at a time: more than that nobody follows.
const gentle = 20;

// In a flood the page has to answer, and nobody reads: some is how many rows are
// drawn at a time, and rest how much longer nothing is drawn than that took, but no
// longer than longestRest, in milliseconds.
const some = 100;
const rest = 4;
const longestRest = 400;

// spoken is how often the count is read out at most, in milliseconds.
const spoken = 5000;

const words = { connecting: "Connecting…", live: "Live", paused: "Paused", reconnecting: "Reconnecting…", lost: "Stopped" };

export function create() {
  const says = h("span");
  const status = h("p", { id: "live-status", role: "status" }, h("span", { class: "mark", "aria-hidden": "true" }), says);
  const count = h("p", { id: "live-count" });
  const aloud = h("p", { class: "hidden", role: "status" });
  const pause = h("button", { type: "button", id: "pause", "aria-keyshortcuts": "p", onclick: toggle }, "Pause");
  const clear = h("button", { type: "button", id: "clear", onclick: empty }, "Clear");
  const notice = h("p", { class: "notice", id: "live-notice" });
  const gone = h("div", { class: "notice", role: "alert", hidden: true },
    h("p", { class: "fault" }, "The database does not know where this page stopped: it was replaced, or an older backup was put back."),
    h("button", { type: "button", id: "live-again", onclick: again }, "Go on from now"));
  const body = h("tbody");
  const table = tableOf("Messages that have arrived, the newest first", body);
  const end = h("p", { class: "end" });
  const one = detail();
  const element = h("section", { class: "live", "aria-label": "Live" },
    h("div", { class: "bar" }, status, count, h("div", { class: "buttons" }, pause, clear)), aloud, gone, notice, table, end, one.element);
  body.addEventListener("animationend", (e) => e.target.classList.remove("new"));

  const feed = follower(arrived, changed);
  let shown = false;
  let paused = false;

  let asked = null; // the filters of what is shown
  let local = isLocal();
  let matches = matcher({});

  let last = []; // the messages that are remembered, in the order of their arrival
  let fresh = []; // those of them that match and have no row yet
  let all = 0; // how many have arrived
  let examined = 0; // how many of them the filters have seen
  let matched = 0;

  function arrived(messages) {
    all += messages.length;
    examined += messages.length;
    for (const m of messages) {
      delete m.raw; // it may be large, and the detail asks for it
      last.push(m);
      if (!matches(m)) continue;
      matched++;
      fresh.push(m);
    }
    last = last.slice(-kept);
    fresh = fresh.slice(-most);
    schedule();
  }

  let frame = 0;
  let ready = 0; // when rows may be drawn again
  function schedule() {
    if (!frame && shown) frame = requestAnimationFrame(draw);
  }

  function draw(now) {
    frame = 0;
    if (now < ready) {
      schedule();
      return;
    }
    const rows = fresh.splice(0, body.rows.length === 0 ? most : some).reverse().map((m) => rowOf(m));
    if (rows.length + body.getElementsByClassName("new").length <= gentle) for (const row of rows) row.classList.add("new");
    while (body.rows.length + rows.length > most && body.rows.length > 0) body.lastElementChild.remove();
    body.prepend(...rows);
    say();
    ready = Infinity; // until the browser has done its part
    requestAnimationFrame((then) => { ready = then + Math.min(rest * (then - now), longestRest); });
    if (fresh.length > 0) schedule();
  }

  // choose applies the filters to what is remembered.
  function choose() {
    show(body);
    fresh = last.filter(matches);
    examined = last.length;
    matched = fresh.length;
    fresh = fresh.slice(-most);
    schedule();
  }

  function empty() {
    last = [];
    all = 0;
    choose();
  }

  function say() {
    const filtered = Object.keys(asked).length > 0;
    count.textContent = number(all) + " arrived" +
      (!filtered ? "" : examined === all ? ", " + number(matched) + " match" : ", " + number(matched) + " of the last " + number(examined) + " match");
    notice.textContent = all === 0 ? "Messages appear here as they arrive. Send one: lyftr send --text hello" : "None of what has arrived matches these filters.";
    table.hidden = matched === 0;
    notice.hidden = !table.hidden || !gone.hidden;
    end.textContent = "Only the newest " + number(most) + " are shown.";
    end.hidden = matched <= most;
    speak();
  }

  // speak tells a screen reader the count, now and then: it is no live region
  // itself, nor is the table.
  let speaking = 0;
  function speak() {
    if (speaking || aloud.textContent === count.textContent) return;
    speaking = setTimeout(() => {
      speaking = 0;
      if (shown) aloud.textContent = count.textContent;
    }, spoken);
  }

  function changed(state, why) {
    if (state === "closed") state = "paused";
    status.dataset.state = state;
    const text = words[state] + (why && state === "reconnecting" ? " " + why : "");
    if (says.textContent !== text) says.textContent = text;
    gone.hidden = state !== "lost";
    pause.disabled = state === "lost";
    pause.textContent = state === "paused" ? "Resume" : "Pause";
    pause.title = pause.textContent + " (key p)";
    if (asked) say();
  }

  function toggle() {
    if (pause.disabled) return;
    paused = !paused;
    if (paused) feed.close();
    else feed.open();
  }

  function again() {
    feed.forget();
    feed.open();
    pause.focus();
  }

  addEventListener("keydown", (event) => {
    if (!shown || event.repeat || event.key !== "p" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, dialog, [contenteditable]")) return;
    toggle();
  });

  // A page that is put away, from where the browser may take it back, must not hold
  // a connection.
  addEventListener("pagehide", () => feed.close());
  addEventListener("pageshow", (event) => {
    if (event.persisted && shown && !paused) feed.open();
  });

  return {
    title: "Live",
    filters: ["q", "from", "to", "source"],
    element,
    show(state) {
      const next = filters(state, ["since", "until"]);
      const other = asked === null || JSON.stringify(next) !== JSON.stringify(asked) || local !== isLocal();
      shown = true;
      asked = next;
      local = isLocal();
      if (other) {
        matches = matcher(asked);
        choose();
        say();
      } else {
        schedule();
      }
      if (!paused && gone.hidden) feed.open();
      one.show(state);
    },
    // Whoever comes back finds what has arrived meanwhile.
    hide() {
      shown = false;
      feed.close();
      for (const row of body.querySelectorAll(".new")) row.classList.remove("new");
      one.hide();
    },
  };
}
