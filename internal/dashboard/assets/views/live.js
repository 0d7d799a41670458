import { h } from "../dom.js";

export function create() {
  return { title: "Live", filters: [], element: h("section", {}, h("p", { class: "notice" }, "…")), show() {}, hide() {} };
}
