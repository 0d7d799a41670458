// The deliveries that were refused last, and why.

import { Fault, get } from "../api.js";
import { bytes, h, number, show } from "../dom.js";
import { stamp, zoneName } from "../time.js";

const limit = 50;

export function refused() {
  const content = h("div");
  const element = h("section", { class: "card", id: "refused", "aria-labelledby": "refused-title" },
    h("h2", { id: "refused-title" }, "Refused deliveries"),
    h("p", { class: "note" }, "Why does something not arrive? On the server ", h("code", {}, "lyftr doctor"), " checks settings, database and these refusals, and says what to mend."),
    content);
  let list = null;
  let shown = "";

  function fill() {
    const key = zoneName() + JSON.stringify(list);
    if (key === shown) return; // so that a selection in it stays
    shown = key;
    element.dataset.state = list.length === 0 ? "empty" : "ready";
    if (list.length === 0) {
      show(content, h("p", { class: "note" }, "None is remembered."));
      return;
    }
    show(content,
      list.length === limit && h("p", { class: "note" }, "The last " + limit + "; ", h("a", { href: "/rejected" }, "all that are remembered"), " are in the API."),
      h("table", { class: "plain refusals" },
        h("caption", { class: "hidden" }, "Refused deliveries, the last one first"),
        h("thead", {}, h("tr", {}, ["When", "Source", "Status", "Result", "Reason", "Size", "Times", "Request"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, list.map(row))));
  }

  return {
    element,
    async load(signal) {
      try {
        list = (await get("/rejected?limit=" + limit, signal)).data;
        fill();
      } catch (e) {
        if (e.name === "AbortError") return;
        if (!(e instanceof Fault)) throw e;
        shown = "";
        element.dataset.state = "fault";
        show(content, h("p", { class: "fault" }, e.message));
      }
    },
    again() {
      if (list && shown) fill();
    },
  };
}

function row(r) {
  const cell = (name, ...value) => h("td", { class: "r-" + name.toLowerCase(), "data-name": name }, value);
  return h("tr", {},
    cell("When", h("time", { datetime: r.when, title: r.when }, stamp(new Date(r.when)))),
    cell("Source", r.source || "not known"),
    cell("Status", r.status),
    cell("Result", h("code", {}, r.result)),
    cell("Reason", h("bdi", {}, r.reason)),
    cell("Size", bytes(r.size)),
    cell("Times", number(r.times)),
    cell("Request", h("code", {}, h("bdi", {}, r.request_id))));
}
