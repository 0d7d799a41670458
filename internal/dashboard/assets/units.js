// Numbers in words and units of people.

const units = [["s", 1], ["min", 60], ["h", 3600], ["days", 86400]];

// duration writes a time that is given in seconds, with at most three digits.
export function duration(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return digits(seconds * 1e6) + " µs";
  if (seconds < 1) return digits(seconds * 1e3) + " ms";
  let [name, size] = units[0];
  for (const [n, s] of units) if (seconds >= s) [name, size] = [n, s];
  const text = digits(seconds / size);
  return text + " " + (name === "days" && text === "1" ? "day" : name);
}

// digits writes a number with at most three digits.
export function digits(n) {
  return n >= 100 ? n.toFixed(0) : String(Number(n.toPrecision(n >= 10 ? 3 : 2)));
}

const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

// compact writes a number for an axis, such as 1.5K.
export function compact(n) {
  return short.format(n);
}
