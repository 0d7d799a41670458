// Following the feed: a stream of events that is opened again whenever it is lost,
// behind the last message that came.
//
// It reads the stream with fetch, and not with EventSource, which hides what is
// needed here: why it was refused, where it begins, and that it is still alive.

import { ask, Fault } from "./api.js";

// silence is after how long without a sign of life a connection is given up, in
// milliseconds: the server says something every 15 seconds.
const silence = 40000;

// stretch is how long events are taken before the page may do something else, in
// milliseconds, while very many come at once.
const stretch = 20;

// The first wait before the stream is opened again, and the longest. Each is twice
// the one before, less up to a half, so that not all who were cut off come at once.
const firstWait = 500;
const longestWait = 5000;

// follower returns what follows the feed from its end on: open, close and forget.
// While it is closed it keeps its place, and open goes on there, so that every
// message is given to arrived once, in the order in which they were stored; forget
// makes the next open begin at the end again.
//
// changed is told the state, and in words why: "connecting", "live",
// "reconnecting", "lost" when the place is not known to the database any more,
// after which it is closed, and "closed".
export function follower(arrived, changed) {
  let position = "latest";
  let control = null; // ends what runs; null while closed

  async function run(signal) {
    changed("connecting", "");
    for (let failures = 0; !signal.aborted; failures++) {
      let why = "";
      try {
        await listen(signal, () => {
          failures = 0;
          changed("live", "");
        });
      } catch (e) {
        if (signal.aborted) return;
        if (!(e instanceof Fault)) throw e;
        if (e.status === 401) return; // the page is about to be left
        if (e.status === 422) {
          control = null;
          changed("lost", e.message);
          return;
        }
        why = e.status === 503 ? "The server cannot read its database now." : e.message;
      }
      if (signal.aborted) return;
      changed("reconnecting", why);
      await pause(Math.min(firstWait * 2 ** failures, longestWait) * (1 - Math.random() / 2), signal);
    }
  }

  // listen reads one stream until it ends. It calls begun once its place is known.
  async function listen(signal, begun) {
    const silent = new AbortController();
    let timer = 0;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), silence);
    };
    heard();
    // A page that was frozen may not be given what came meanwhile.
    document.addEventListener("resume", () => silent.abort(), { signal: silent.signal });
    try {
      const answer = await ask("/feed?after=" + encodeURIComponent(position), AbortSignal.any([signal, silent.signal]), "text/event-stream");
      if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) {
        await answer.body?.cancel();
        throw new Fault(answer.status, "Something other than the server has answered.");
      }
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      let rest = "";
      let begin = performance.now();
      for (let blocks = 0; ;) {
        const { value, done } = await reader.read().catch(lost);
        if (done || signal.aborted) return;
        heard();
        rest += decoder.decode(value, { stream: true });
        const end = rest.lastIndexOf("\n\n");
        if (end < 0) continue; // a part of an event is none: it comes again
        take(rest.slice(0, end));
        rest = rest.slice(end + 2);
        if (blocks++ === 0) begun();
        // Nobody sees a hidden page, whose timers are slow.
        if (!document.hidden && performance.now() - begin > stretch) {
          await new Promise((resolve) => setTimeout(resolve));
          begin = performance.now();
        }
      }
    } catch (e) {
      if (e.name === "AbortError" && !signal.aborted) throw new Fault(0, "Nothing was heard from the server.");
      throw e;
    } finally {
      clearTimeout(timer);
      silent.abort();
    }
  }

  // take gives on the messages of some whole events, and moves the place behind
  // them.
  function take(events) {
    const messages = [];
    let last = position;
    for (const line of events.split("\n")) {
      if (line.startsWith("data: ")) messages.push(JSON.parse(line.slice(6)));
      else if (line.startsWith("id: ")) last = line.slice(4);
    }
    position = last;
    if (messages.length > 0) arrived(messages);
  }

  return {
    open() {
      if (control) return;
      control = new AbortController();
      run(control.signal);
    },
    close() {
      control?.abort();
      control = null;
      changed("closed", "");
    },
    forget() {
      position = "latest";
    },
  };
}

function lost(e) {
  if (e.name === "AbortError") throw e;
  throw new Fault(0, "The connection was lost.");
}

// pause waits. It ends early when there is a network again, when the page comes to
// the front, whose timers may have been held up, and with signal.
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const over = new AbortController();
    const end = () => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { signal: over.signal });
    addEventListener("online", end, { signal: over.signal });
    document.addEventListener("visibilitychange", end, { signal: over.signal });
  });
}
