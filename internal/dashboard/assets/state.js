// What is shown stands in the address bar, and nowhere else: whoever copies the
// address shows the same, and the browser's buttons go back and forth.

// The names in the address, and which of them are filters of messages.
const filterNames = ["q", "from", "to", "source", "since", "until"];
const names = ["view", ...filterNames, "bucket", "message", "message_source"];

const views = ["messages", "live", "charts", "health"];

let listeners = [];

// read returns the state: an empty text for each name that is not set.
export function read() {
  const p = new URLSearchParams(location.search);
  const state = {};
  for (const name of names) state[name] = p.get(name) ?? "";
  // A + as it is in an address arrives as a space.
  for (const name of ["from", "to"]) state[name] = state[name].replace(/^ /, "+");
  if (!views.includes(state.view)) state.view = "messages";
  return state;
}

// address returns the address of a state.
export function address(state) {
  const p = new URLSearchParams();
  for (const name of names) {
    if (state[name] && !(name === "view" && state[name] === "messages")) p.set(name, state[name]);
  }
  const text = p.toString();
  return "/" + (text && "?" + text);
}

// go shows another state: the one at hand with changes. With replace the browser's
// back button does not come back to it, as while somebody types.
export function go(changes, { replace = false } = {}) {
  const to = address({ ...read(), ...changes });
  if (to !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", to);
  for (const f of listeners) f(read());
}

// onChange calls f with each new state.
export function onChange(f) {
  listeners.push(f);
}

addEventListener("popstate", () => listeners.forEach((f) => f(read())));

// filters returns the filters of a state, as parameters of the API.
export function filters(state, without = []) {
  const some = {};
  for (const name of filterNames) if (state[name] && !without.includes(name)) some[name] = state[name];
  return some;
}

// link returns the listener of a link within the page: it goes to a changed state
// without loading the page anew. Other buttons and keys do what they do elsewhere.
export function link(changes) {
  return (event) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(typeof changes === "function" ? changes() : changes);
  };
}
