// The frame around the views: which one is shown, the filters above it, and the
// buttons of the header.
//
// A view is a module with a function create, which returns
//   { title, filters, element, show(state), hide() }
// title names it, filters are the names of those that it obeys, show is called
// when it is gone to and whenever the state changes while it is shown, hide when
// it is left.

import { filterBar } from "./filters.js";
import { h, show } from "./dom.js";
import { address, link, onChange, read } from "./state.js";
import { isLocal, onZone, setLocal, zoneName } from "./time.js";

const modules = {
  messages: () => import("./views/messages.js"),
  live: () => import("./views/live.js"),
  charts: () => import("./views/charts.js"),
  health: () => import("./views/health.js"),
};

const app = document.body.dataset.app;
const main = document.getElementById("main");
const place = h("div", { class: "view" });
const bar = filterBar(document.body.dataset.sources.split(" "));
main.append(bar.element, place);

const made = {}; // views by name, once they have been gone to
let current = null;
let wanted = "";

async function render(state) {
  wanted = state.view;
  markLinks(state);
  bar.show(state);
  if (!made[state.view]) {
    try {
      made[state.view] = (await modules[state.view]()).create();
    } catch {
      show(place, h("p", { class: "notice", role: "alert" }, "This view cannot be loaded. Is the server running? Load the page again."));
      return;
    }
  }
  if (wanted !== state.view) return; // meanwhile somebody went elsewhere
  const view = made[state.view];
  if (current !== view) {
    if (current) current.hide();
    show(place, view.element);
    current = view;
    document.title = view.title + " – " + app;
    bar.offer(view.filters);
  }
  view.show(read());
}

// markLinks says where we are, and takes the filters along to the other views.
function markLinks(state) {
  for (const a of document.querySelectorAll("#views a")) {
    const view = viewOf(a);
    a.href = address({ ...state, view, message: "", message_source: "" });
    if (view === state.view) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
}

function viewOf(a) {
  return new URL(a.href).searchParams.get("view") || "messages";
}

for (const a of document.querySelectorAll("#views a")) {
  a.addEventListener("click", link(() => ({ view: viewOf(a), message: "", message_source: "" })));
}

const zone = document.getElementById("zone");
zone.addEventListener("click", () => setLocal(!isLocal()));
function nameZone() {
  zone.textContent = zoneName();
  zone.setAttribute("aria-label", "Times are shown in " + zoneName() + ". Show " + (isLocal() ? "UTC" : "local time"));
}
onZone(nameZone);
onZone(() => render(read()));
nameZone();

// "/" goes to the search, as in many programs.
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog, [contenteditable]")) return;
  if (bar.focus()) event.preventDefault();
});

onChange(render);
render(read());
