// The filters above a view. What is typed goes into the state, and the state into
// the fields.

import { h } from "./dom.js";
import { go } from "./state.js";
import { fromField, instant, onZone, toField } from "./time.js";

// typing is how long after a keystroke the state follows, in milliseconds.
const typing = 250;

// ranges are the times that can be chosen at once, in seconds before now.
const ranges = [
  ["Any time", ""],
  ["Last hour", 3600],
  ["Last 24 hours", 86400],
  ["Last 7 days", 7 * 86400],
  ["Last 30 days", 30 * 86400],
  ["From … until …", "own"],
];

// filterBar returns the bar: its element, show(state), offer(names) which hides
// the filters that a view does not obey, and focus. sources are those to choose from.
export function filterBar(sources) {
  const fields = {
    q: field("search", { type: "search", placeholder: "Search the texts", autocomplete: "off", spellcheck: "false", enterkeyhint: "search" }),
    from: field("from", { type: "search", placeholder: "+919876543210", autocomplete: "off", inputmode: "tel" }),
    to: field("to", { type: "search", placeholder: "+14155550100", autocomplete: "off", inputmode: "tel" }),
    since: field("since", { type: "datetime-local", step: 1 }),
    until: field("until", { type: "datetime-local", step: 1 }),
  };
  const source = h("select", { id: "f-source", onchange: () => go({ source: source.value }) },
    h("option", { value: "" }, "All"), sources.map((s) => h("option", { value: s }, s)));
  const range = h("select", { id: "f-range", onchange: choose }, ranges.map(([name, value]) => h("option", { value }, name)));
  const clear = h("button", { type: "button", class: "quiet", onclick: () => { pending = {}; ownRange = false; go({ q: "", from: "", to: "", source: "", since: "", until: "" }); } }, "Clear filters");

  const own = h("div", { class: "own" }, label("since", "From", fields.since), label("until", "Until", fields.until));
  const parts = {
    q: label("search", "Search", fields.q, "grow"),
    from: label("from", "Sender", fields.from),
    to: label("to", "Recipient", fields.to),
    source: label("source", "Source", source),
    since: h("div", { class: "times" }, label("range", "Time", range), own),
  };
  // On a phone all but the search are behind a button, so that there is room for
  // messages.
  const others = h("div", { class: "others", id: "filters" }, parts.from, parts.to, parts.source, parts.since);
  const toggle = h("button", { type: "button", class: "toggle", "aria-controls": "filters", onclick: () => unfold(!others.classList.contains("open")) }, "Filters");
  function unfold(open) {
    others.classList.toggle("open", open);
    toggle.setAttribute("aria-expanded", String(open));
  }
  unfold(false);
  const element = h("form", { class: "filters", role: "search", "aria-label": "Filters", onsubmit: (e) => { e.preventDefault(); flush(); } },
    parts.q, toggle, others, clear);

  // What has been typed and is not yet in the state.
  let pending = {};
  let timer = 0;
  function flush() {
    clearTimeout(timer);
    const changes = pending;
    pending = {};
    if (Object.keys(changes).length > 0) go(changes, { replace: true });
  }
  for (const name of ["q", "from", "to"]) {
    fields[name].addEventListener("input", () => {
      pending[name] = name === "q" ? fields[name].value : fields[name].value.trim();
      clearTimeout(timer);
      timer = setTimeout(flush, typing);
    });
    fields[name].addEventListener("change", flush);
  }
  for (const name of ["since", "until"]) {
    fields[name].addEventListener("change", () => go({ [name]: fromField(fields[name].value) }));
  }

  let ownRange = false;
  function choose() {
    ownRange = range.value === "own";
    own.hidden = !ownRange;
    if (ownRange) {
      fields.since.focus();
      return;
    }
    go({ since: range.value && instant(new Date(Date.now() - 1000 * range.value)), until: "" });
  }

  let last = {};
  function showState(state) {
    // Somebody may have folded them since they were set.
    if (["from", "to", "source", "since", "until"].some((name) => state[name] && state[name] !== last[name])) unfold(true);
    last = state;
    for (const name of ["q", "from", "to"]) {
      if (!(name in pending) && fields[name].value !== state[name]) fields[name].value = state[name];
    }
    for (const name of ["since", "until"]) fields[name].value = state[name] && toField(state[name]);
    if (state.source && !sources.includes(state.source)) source.append(h("option", {}, state.source));
    source.value = state.source;
    if (!state.since && !state.until) {
      if (!ownRange) range.value = "";
    } else if (range.value === "" || state.until) {
      range.value = "own"; // from an address, or from a chart
    }
    own.hidden = range.value !== "own";
    clear.hidden = !["q", "from", "to", "source", "since", "until"].some((name) => state[name]);
    if (clear.hidden && !ownRange) range.value = "";
  }
  onZone(() => showState(last));

  return {
    element,
    show: showState,
    offer(names) {
      for (const [name, part] of Object.entries(parts)) part.hidden = !names.includes(name);
      element.hidden = names.length === 0;
    },
    focus() {
      if (element.hidden || parts.q.hidden) return false;
      fields.q.focus();
      fields.q.select();
      return true;
    },
  };
}

function field(name, attributes) {
  return h("input", { id: "f-" + name, ...attributes });
}

function label(name, text, input, kind) {
  return h("div", { class: "field " + (kind || "") }, h("label", { for: "f-" + name }, text), input);
}
