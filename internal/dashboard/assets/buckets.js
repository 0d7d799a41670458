// Buckets of time, and which one suits a span. Times are in seconds of Unix.
// Nothing here touches the page.

// sizes are the buckets that there are, the finest first, in seconds.
export const sizes = { minute: 60, hour: 3600, day: 86400 };

// most is how many buckets the API gives at a time.
export const most = 10000;

const names = Object.keys(sizes);

// floor returns the begin of the bucket that a time is in, ceil that of the next
// one if it is not the begin of one.
export function floor(bucket, time) {
  return Math.floor(time / sizes[bucket]) * sizes[bucket];
}
export function ceil(bucket, time) {
  return Math.ceil(time / sizes[bucket]) * sizes[bucket];
}

// count returns how many buckets there are from since to before until.
export function count(bucket, since, until) {
  return Math.max(1, (ceil(bucket, until) - floor(bucket, since)) / sizes[bucket]);
}

// suits returns the bucket that shows a span best: with 60 to 400 of them, or else
// the one that is least away from it.
export function suits(since, until) {
  const away = (bucket) => {
    const n = count(bucket, since, until);
    return Math.max(60 / n, n / 400, 1);
  };
  return names.reduce((best, bucket) => (away(bucket) < away(best) ? bucket : best));
}

// fit returns the bucket to take for the one that is wanted, which may be empty:
// a wider one if there would be too many, and a later since if even days would be.
export function fit(wanted, since, until) {
  let bucket = names.includes(wanted) ? wanted : suits(since, until);
  while (count(bucket, since, until) > most && bucket !== "day") bucket = names[names.indexOf(bucket) + 1];
  const cut = count(bucket, since, until) > most;
  return { bucket, since: cut ? ceil(bucket, until) - most * sizes[bucket] : since, cut };
}
