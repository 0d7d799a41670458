// Messages in a list.

import { h } from "../dom.js";
import { address, link, read } from "../state.js";
import { clock, day } from "../time.js";

// tableOf returns the table of a list, whose rows are in body.
export function tableOf(caption, body) {
  return h("table", { class: "messages" },
    h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, ["Time", "Source", "From", "To", "Text"].map((name) => h("th", { scope: "col" }, name)))),
    body);
}

// rowOf returns the row of a message as the API gives it with all fields. Its
// link opens the detail, as does a click anywhere else on it.
export function rowOf(m) {
  const changes = { message: m.message_id, message_source: m.source ?? "" };
  const at = new Date(m.ts);
  const open = h("a", { href: address({ ...read(), ...changes }), onclick: link(changes) },
    h("time", { datetime: m.ts, title: m.ts }, h("span", { class: "day" }, day(at)), " ", clock(at)));
  return h("tr", { "data-id": m.message_id, "data-source": m.source, onclick: (e) => { if (!e.target.closest("a") && !String(getSelection())) open.click(); } },
    h("td", { class: "at" }, open),
    h("td", {}, badge(m.source)),
    h("td", { class: "who from" }, person(m.from)),
    h("td", { class: "who to" }, person(m.to)),
    h("td", { class: "text" }, textOf(m.text)));
}

// badge shows where a message came from.
export function badge(source) {
  return h("span", { class: "badge " + (["whatsapp", "twilio", "standard"].includes(source) ? source : "native") }, source ?? "");
}

// person shows a sender or a recipient; a direction of writing in it must not
// turn around what stands beside.
export function person(name) {
  return h("bdi", {}, name || "unknown");
}

// textOf shows the text of a message.
export function textOf(text) {
  if (text === null || text === undefined) return h("i", { class: "none" }, "no text");
  if (text === "") return h("i", { class: "none" }, "empty text");
  return h("bdi", {}, text);
}
