// The detail of one message: all that is known of it, the statuses that were
// reported, and the raw data of its provider.

import { Fault, get, query } from "../api.js";
import { h, show } from "../dom.js";
import { go, link } from "../state.js";
import { badge, person, textOf } from "./row.js";
import { stamp } from "../time.js";

export function detail() {
  const content = h("div", { class: "content" });
  const close = h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  const dialog = h("dialog", { class: "detail", "aria-labelledby": "detail-title" },
    h("div", { class: "head" }, h("h2", { id: "detail-title" }, "Message"), close), content);
  // Esc, the button and a click beside it close it; the state follows.
  // The event comes later: meanwhile another message may have been opened.
  dialog.addEventListener("close", () => { if (shown && !dialog.open) go({ message: "", message_source: "" }); });
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });

  let shown = ""; // which message
  let control = null;

  async function load(id, source) {
    control = new AbortController();
    const { signal } = control;
    show(content, h("p", { class: "notice" }, "Loading…"));
    try {
      fill(await get("/messages/" + encodeURIComponent(id) + query({ source }), signal));
    } catch (e) {
      if (e.name === "AbortError") return;
      if (!(e instanceof Fault)) throw e;
      show(content, h("p", { class: "notice fault", role: "alert" }, e.status === 404 ? "There is no such message; it may have been removed." : e.message));
    }
  }

  function fill(m) {
    const facts = [
      ["Text", h("div", { class: "full" }, textOf(m.text))],
      ["From", [person(m.from), " ", m.from && h("a", { href: "/" + query({ from: m.from }), onclick: link({ from: m.from, message: "", message_source: "" }) }, "All from this sender")]],
      ["To", [person(m.to), " ", m.to && h("a", { href: "/" + query({ to: m.to }), onclick: link({ to: m.to, message: "", message_source: "" }) }, "All to this recipient")]],
      ["Sent", timeOf(m.ts)],
      ["Received", m.received_at ? timeOf(m.received_at) : "not known"],
      ["Source", badge(m.source)],
      ["Id", h("code", { class: "id" }, m.message_id)],
    ];
    if (m.status) facts.push(["Status", m.status]);
    show(content, h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      m.statuses?.length > 0 && statusesOf(m.statuses),
      m.raw && h("section", {}, h("h3", {}, "Raw data"), h("pre", { tabindex: 0, "aria-label": "Raw data" }, JSON.stringify(m.raw, null, 2))));
  }

  return {
    element: dialog,
    show(state) {
      const wanted = state.message && JSON.stringify([state.message, state.message_source]);
      if (wanted === shown) return;
      control?.abort();
      shown = wanted;
      if (!wanted) {
        if (dialog.open) dialog.close();
        return;
      }
      load(state.message, state.message_source);
      if (!dialog.open) dialog.showModal();
    },
    hide() {
      control?.abort();
      shown = "";
      if (dialog.open) dialog.close();
    },
  };
}

function statusesOf(statuses) {
  return h("section", {}, h("h3", {}, "Statuses"),
    h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, ["Status", "When", "Recipient"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, statuses.map((s) => h("tr", {},
        h("td", {}, s.status), h("td", {}, s.ts ? timeOf(s.ts) : "not known"), h("td", {}, s.recipient ? person(s.recipient) : ""))))));
}

function timeOf(ts) {
  return h("time", { datetime: ts, title: ts }, stamp(new Date(ts)));
}
