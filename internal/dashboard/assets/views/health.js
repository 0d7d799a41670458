import { h } from "../dom.js";

export function create() {
  return { title: "Health", filters: [], element: h("section", {}, h("p", { class: "notice" }, "…")), show() {}, hide() {} };
}
