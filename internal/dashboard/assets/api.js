// Asking the HTTP API. Nothing here knows what is shown.

// Fault is an answer that is an error, in words for people.
export class Fault extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

// ask asks, and returns an answer that is no error. It throws a Fault for one that
// is, and what fetch throws if signal ends it.
export async function ask(path, signal, accept) {
  let answer;
  try {
    answer = await fetch(path, { signal, headers: { Accept: accept } });
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Fault(0, "The server cannot be reached.");
  }
  if (answer.ok) return answer;
  throw await faultOf(answer);
}

// get asks for JSON, and text for text, as ask does.
export function get(path, signal) {
  return whole(path, signal, "application/json", (answer) => answer.json());
}
export function text(path, signal) {
  return whole(path, signal, "text/plain", (answer) => answer.text());
}

async function whole(path, signal, accept, take) {
  const answer = await ask(path, signal, accept);
  try {
    return await take(answer);
  } catch (e) {
    if (e.name === "AbortError") throw e;
    throw new Fault(0, "The answer did not arrive whole.");
  }
}

// faultOf reads an error. Who is no longer signed in is sent to the form, and
// comes back to where he is.
export async function faultOf(answer) {
  if (answer.status === 401) {
    location.assign("/sign-in?next=" + encodeURIComponent(location.pathname + location.search));
    return new Fault(401, "You have to sign in.");
  }
  let detail = "";
  try {
    detail = (await answer.json()).detail;
  } catch {
    // Something between here and lyftr has answered.
  }
  if (Array.isArray(detail)) {
    detail = detail.map((d) => d.loc[d.loc.length - 1] + ": " + d.msg.replace(/^Value error, /, "")).join("; ");
  }
  if (answer.status === 503) detail = "The database cannot answer in time. Narrow the question, or try again.";
  return new Fault(answer.status, detail || "The server answered " + answer.status + ".");
}

// query writes parameters, those that are empty left out.
export function query(parameters) {
  const p = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== "" && value !== null && value !== undefined) p.set(name, value);
  }
  const text = p.toString();
  return text && "?" + text;
}
