import { h } from "../dom.js";

export function create() {
  return { title: "Charts", filters: [], element: h("section", {}, h("p", { class: "notice" }, "…")), show() {}, hide() {} };
}
