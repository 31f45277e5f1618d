/**
 * What becomes of a query that a pod has sent to one of its name servers.
 *
 * A name under a connection's domain: cache, else all servers of that domain. Any other: to the very server that was
 * asked, bytes unchanged, and its answer back; only when that says "there is no such name", and the pod's resolver would
 * search for such a name, it is looked for under the connections' domains.
 */

import { again, aliased, failure, fit, queryFor, withId } from "./answers.js";
import { ask, type Place, type Transport } from "./ask.js";
import { createCache, keyOf, longestLife } from "./cache.js";
import { fanOut } from "./fan-out.js";
import {
  headerBytes,
  isResponse,
  isTruncated,
  type Message,
  opcodeOf,
  optOf,
  type Question,
  rcode,
  rcodeOf,
  readMessage,
  readQuestion,
} from "./message.js";
import type { Zones } from "./zones.js";

export interface Resolver {
  /** Undefined: no answer is the answer. Never rejects. */
  resolve(query: Buffer, server: string, transport: Transport): Promise<Buffer | undefined>;
  /** Names are for others from now on; what was known of them is forgotten. */
  setZones(zones: Zones): void;
  readonly counts: Readonly<Counts>;
}

interface Counts {
  /** Queries of the pod. */
  queries: number;
  /** Answered out of the cache. */
  cached: number;
  /** Asked of servers of connections. */
  own: number;
  /** Handed on to the pod's server. */
  passed: number;
  /** Given up for newer ones: too much at once. */
  refused: number;
}

/** Of a query: the pod's server it was sent to, how, and until when it is of interest. */
interface Way {
  readonly server: string;
  readonly transport: Transport;
  readonly signal: AbortSignal;
}

/** Questions of one pod that wait for an answer. */
const maxWaiting = 512;
/** As long as the slowest resolvers wait. */
const passTimeoutMs = 10_000;
/** How long the pod's server may think about a name that has been found elsewhere. */
const silenceMs = 1_000;
/** For EDNS of our own questions: no fragments on the way (RFC 9715). */
const safeUdpBytes = 1_232;

export function createResolver(place: Place): Resolver {
  const cache = createCache();
  const waiting = new Map<string, Promise<Message | undefined>>();
  const counts: Counts = { queries: 0, cached: 0, own: 0, passed: 0, refused: 0 };
  let zones: Zones | undefined;
  /** Queries that wait for an answer, the oldest first. */
  const pending = new Set<AbortController>();

  /** The same question twice at once is asked once. */
  function known(query: Message, servers: readonly string[]): Promise<Message | undefined> {
    const cached = cache.get(query);
    if (cached !== undefined) {
      counts.cached++;
      const bytes = again(cached.answer, query, longestLife, cached.ageSeconds);
      return Promise.resolve({ ...cached.answer, bytes, question: query.question });
    }
    const key = keyOf(query);
    const before = zones;
    const underWay = waiting.get(key);
    if (underWay === undefined && waiting.size >= maxWaiting) return Promise.resolve(undefined);
    const asked = underWay ?? fanOut(asOwn(query), servers, place);
    waiting.set(key, asked);
    counts.own++;
    return asked.then((answer) => {
      if (waiting.get(key) === asked) waiting.delete(key);
      if (answer === undefined) return undefined;
      if (zones === before && !isTruncated(answer.bytes)) cache.put(query, answer);
      return { ...answer, bytes: again(answer, query, longestLife, 0), question: query.question };
    });
  }

  async function search(query: Message, name: string): Promise<Buffer | undefined> {
    const found = (zones?.searchFor(name) ?? []).map(async (candidate) => {
      const other = candidate.name === name ? query.bytes : queryFor(query, candidate.name);
      const message = other === undefined ? undefined : readMessage(other);
      const answer = message === undefined ? undefined : await known(message, candidate.servers);
      // a name that is there without such a record is there: who asks for A and AAAA must hear the same of both (musl)
      if (answer === undefined || rcodeOf(answer.bytes) !== rcode.noError) return undefined;
      return candidate.name === name ? answer.bytes : aliased(query, candidate.name, answer);
    });
    // in their order, whichever comes first
    for (const each of found) {
      const bytes = await each;
      if (bytes !== undefined) return withId(bytes, query.bytes.readUInt16BE(0));
    }
    return undefined;
  }

  async function pass(query: Buffer, question: Question | undefined, { server, transport, signal }: Way): Promise<Buffer> {
    counts.passed++;
    const limit = AbortSignal.any([place.signal, signal]);
    const answer = ask(query, { ...place, server, transport, timeoutMs: passTimeoutMs, signal: limit });
    const name = question?.name;
    const message = name === undefined ? undefined : readMessage(query);
    if (name === undefined || message === undefined) return answer;
    // a name of one label is hardly ever known out there: both at once
    const early = name.includes(".") ? undefined : search(message, name);
    const said = await (early === undefined ? answer : orFound(answer, early));
    // clusters without a way out refuse what is not theirs, or fail at it, instead of saying that it does not exist
    if (said !== undefined && rcodeOf(said) === rcode.noError) return said;
    const found = await (early ?? search(message, name));
    if (found === undefined) return said ?? answer;
    return transport === "udp" ? fit(message, found) : found;
  }

  async function decide(query: Buffer, way: Way): Promise<Buffer> {
    const question = opcodeOf(query) === 0 ? readQuestion(query) : undefined;
    const servers = question?.name === undefined ? undefined : zones?.serversOf(question.name);
    if (servers === undefined) return pass(query, question, way);
    const message = readMessage(query);
    if (message === undefined) return failure(query, question, rcode.formatError);
    const answer = await known(message, servers);
    if (answer === undefined) return failure(query, question, rcode.serverFailure);
    return way.transport === "udp" ? fit(message, answer.bytes) : answer.bytes;
  }

  /** A turn for a query. Where too many wait the oldest gives way: its answer is the least likely to come still. */
  function enter(): AbortController {
    const turn = new AbortController();
    pending.add(turn);
    if (pending.size > maxWaiting) {
      const [oldest] = pending;
      counts.refused++;
      if (oldest !== undefined) pending.delete(oldest);
      oldest?.abort();
    }
    return turn;
  }

  return {
    counts,
    setZones(next) {
      zones = next;
      cache.clear();
      waiting.clear();
    },
    async resolve(query, server, transport) {
      if (query.length < headerBytes || isResponse(query)) return undefined;
      counts.queries++;
      const turn = enter();
      const { signal } = turn;
      try {
        const answer = await decide(query, { server, transport, signal });
        return signal.aborted ? undefined : answer;
      } catch {
        // it gave way, as a datagram that is lost: resolvers ask again, and take "server failure" for the last word
        if (signal.aborted) return undefined;
        // the server cannot be reached: resolvers go on to the next one at once
        return failure(query, readQuestion(query), rcode.serverFailure);
      } finally {
        pending.delete(turn);
      }
    },
  };
}

/** The server's answer; undefined: it gives none, or not soon, and something has been found. */
async function orFound(answer: Promise<Buffer>, search: Promise<Buffer | undefined>): Promise<Buffer | undefined> {
  const none = answer.catch(() => undefined);
  let timer: NodeJS.Timeout | undefined;
  const late = search.then((found) => {
    if (found === undefined) return none;
    return new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), silenceMs);
    });
  });
  const said = await Promise.race([none, late]);
  clearTimeout(timer);
  return said;
}

/** As we ask: in lower case, because servers of NSM tell cases apart, and for answers that need no fragments. */
function asOwn(query: Message): Buffer {
  const name = query.question.name ?? "";
  const copy = queryFor(query, name) ?? Buffer.from(query.bytes);
  const opt = optOf(query);
  if (opt !== undefined && opt.class > safeUdpBytes) copy.writeUInt16BE(safeUdpBytes, opt.ttlAt - 2);
  return copy;
}
