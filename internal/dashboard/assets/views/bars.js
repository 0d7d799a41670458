// Bars made of HTML: a table whose numbers are also lengths.

import { h, number } from "../dom.js";

// bars returns a table of rows [name, count]; a name is a text or an element. The
// longest bar is as long as there is room.
export function bars(caption, columns, rows) {
  const longest = Math.max(1, ...rows.map(([, n]) => n));
  return h("table", { class: "bars" },
    h("caption", { class: "hidden" }, caption),
    h("thead", { class: "hidden" }, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map(([name, n, more]) => h("tr", {},
      h("th", { scope: "row" }, name),
      h("td", { class: "length" }, n > 0 && length(n / longest)),
      h("td", { class: "n" }, number(n), more && h("span", { class: "share" }, " ", more))))));
}

function length(part) {
  const bar = h("div", { class: "length-bar", "aria-hidden": "true" });
  bar.style.width = 100 * part + "%";
  return bar;
}

// tiles returns a list of figures: rows are [name, value, more, key], more being a
// line below.
export function tiles(rows) {
  return rows.map(([name, value, more, key]) => h("div", { class: "tile", "data-key": key },
    h("dt", {}, name), h("dd", {}, value), more && h("dd", { class: "more-of" }, more)));
}
