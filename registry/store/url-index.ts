/**
 * Finds values by a part of their url. A query that has a scheme ("tcp://10.0.0.1:5001") does not look at all urls:
 * the text after each "://" of a url stands in a sorted list, and what can match is a run of it.
 */

export interface UrlIndex<V> {
  add(url: string, value: V): void;
  remove(url: string, value: V): void;
  /** The values under each url that contains `part`. */
  find(part: string): Iterable<ReadonlySet<V>>;
}

const separator = "://";
const chunkLength = 512;

export function createUrlIndex<V>(): UrlIndex<V> {
  const byUrl = new Map<string, Set<V>>();
  const byRest = createSortedKeys();

  return {
    add(url, value) {
      const known = byUrl.get(url);
      if (known !== undefined) {
        known.add(value);
        return;
      }
      byUrl.set(url, new Set([value]));
      for (const rest of restsOf(url)) byRest.add(keyOf(rest, url));
    },
    remove(url, value) {
      const known = byUrl.get(url);
      if (known === undefined || !known.delete(value) || known.size > 0) return;
      byUrl.delete(url);
      for (const rest of restsOf(url)) byRest.remove(keyOf(rest, url));
    },
    *find(part) {
      const at = part.indexOf(separator);
      if (at < 0) {
        for (const [url, values] of byUrl) if (url.includes(part)) yield values;
        return;
      }
      const seen = new Set<string>();
      for (const key of byRest.startingWith(part.slice(at + separator.length))) {
        const url = key.slice(key.lastIndexOf(keyEnd) + 1);
        const values = url.includes(part) && !seen.has(url) ? byUrl.get(url) : undefined;
        if (values === undefined) continue;
        seen.add(url);
        yield values;
      }
    },
  };
}

// A url holds no blank (the chain refuses it), so the last blank of a key is the one put in here.
const keyEnd = " ";
const keyOf = (rest: string, url: string): string => `${rest}${keyEnd}${url}`;

function* restsOf(url: string): Iterable<string> {
  for (let at = url.indexOf(separator); at >= 0; at = url.indexOf(separator, at + 1)) yield url.slice(at + separator.length);
}

interface SortedKeys {
  add(key: string): void;
  remove(key: string): void;
  startingWith(prefix: string): Iterable<string>;
}

/** Distinct texts in order, in chunks, so that an insertion moves few of them. */
function createSortedKeys(): SortedKeys {
  const chunks: string[][] = [[]];

  /** The chunk that holds `key` or is the place for it. */
  function chunkFor(key: string): number {
    let low = 0;
    let high = chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((chunks[middle]?.[0] ?? "") <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  return {
    add(key) {
      const index = chunkFor(key);
      const chunk = chunks[index] as string[];
      const at = lowerBound(chunk, key);
      if (chunk[at] === key) return;
      chunk.splice(at, 0, key);
      if (chunk.length > chunkLength) chunks.splice(index + 1, 0, chunk.splice(chunkLength / 2));
    },
    remove(key) {
      const index = chunkFor(key);
      const chunk = chunks[index] as string[];
      const at = lowerBound(chunk, key);
      if (chunk[at] !== key) return;
      chunk.splice(at, 1);
      if (chunk.length === 0 && chunks.length > 1) chunks.splice(index, 1);
    },
    *startingWith(prefix) {
      let index = chunkFor(prefix);
      let at = lowerBound(chunks[index] as string[], prefix);
      for (let chunk = chunks[index]; chunk !== undefined; chunk = chunks[++index]) {
        for (; at < chunk.length; at++) {
          const key = chunk[at] as string;
          if (!key.startsWith(prefix)) return;
          yield key;
        }
        at = 0;
      }
    },
  };
}

/** Index of the first text that is not before `key`. */
function lowerBound(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
