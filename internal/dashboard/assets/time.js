// Times as people see them: in UTC, as everything else of lyftr has them, or in
// the zone of whoever looks. The browser remembers which.

const key = "lyftr.zone";
let local = false;
try {
  local = localStorage.getItem(key) === "local";
} catch {
  // It may not remember.
}
let listeners = [];

// isLocal says whether times are shown in the zone of whoever looks.
export function isLocal() {
  return local;
}

// setLocal chooses the zone.
export function setLocal(value) {
  local = value;
  try {
    localStorage.setItem(key, value ? "local" : "utc");
  } catch {
    // As above.
  }
  for (const f of listeners) f();
}

// onZone calls f when the zone changes.
export function onZone(f) {
  listeners.push(f);
}

// zoneName names the zone that times are shown in.
export function zoneName() {
  return local ? Intl.DateTimeFormat().resolvedOptions().timeZone || "Local time" : "UTC";
}

const two = (n) => String(n).padStart(2, "0");

// parts returns year, month, day, hour, minute and second in the zone.
function parts(date) {
  return local
    ? [date.getFullYear(), date.getMonth() + 1, date.getDate(), date.getHours(), date.getMinutes(), date.getSeconds()]
    : [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()];
}

// day writes a date, such as 2025-01-15.
export function day(date) {
  const [y, m, d] = parts(date);
  return String(y).padStart(4, "0") + "-" + two(m) + "-" + two(d);
}

// clock writes a time of day, such as 10:00:00.
export function clock(date) {
  const [, , , h, m, s] = parts(date);
  return two(h) + ":" + two(m) + ":" + two(s);
}

// stamp writes both.
export function stamp(date) {
  return day(date) + " " + clock(date);
}

// toField writes an instant as the value of an input of the type datetime-local.
export function toField(instant) {
  const date = new Date(instant);
  return isNaN(date) ? "" : day(date) + "T" + clock(date);
}

// fromField reads such a value, and returns an instant as the API takes it, or an
// empty text.
export function fromField(value) {
  if (!value) return "";
  const date = new Date(local ? value : value + "Z");
  return isNaN(date) ? "" : instant(date);
}

// instant writes a date as the API takes it, in whole seconds.
export function instant(date) {
  return date.toISOString().replace(/\.\d+Z$/, "Z");
}
