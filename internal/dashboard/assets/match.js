// The filters, for messages that are here already.

// matcher returns a function that says whether a message matches filters, as
// GET /messages does. A message without a text matches no search.
export function matcher({ q, from, to, source, since, until }) {
  // With both flags letters are compared by Unicode simple case folding, which is
  // how the server does it.
  const text = q && new RegExp(q.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "iu");
  const first = new Date(since || NaN);
  const end = new Date(until || NaN);
  return (m) => {
    if (from && m.from !== from || to && m.to !== to || source && m.source !== source) return false;
    if (text && (typeof m.text !== "string" || !text.test(m.text))) return false;
    if (!since && !until) return true;
    const at = new Date(m.ts);
    return !(at < first) && !(at >= end);
  };
}
