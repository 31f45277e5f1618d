/** Answers of the connections' servers, for as long as they say and at most half a minute: who heals gets other addresses. */
import { lifeOf } from "./answers.js";
import { type Message, rcode, rcodeOf, wantsOf } from "./message.js";

export interface Cached {
  readonly answer: Message;
  readonly ageSeconds: number;
}

export interface Cache {
  get(query: Message): Cached | undefined;
  put(query: Message, answer: Message): void;
  clear(): void;
}

/** Seconds: TTLs are shortened to this as well. NSM's endpoints say an hour for addresses that change at any time. */
export const longestLife = 30;
const longestNo = 5;
const maxEntries = 1_000;
const maxEntryBytes = 8 * 1024;

/** @param nowMs  a clock that does not jump */
export function createCache(nowMs: () => number = () => performance.now()): Cache {
  const entries = new Map<string, { answer: Message; atMs: number; lifeMs: number }>();
  return {
    get(query) {
      const key = keyOf(query);
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      const ageMs = nowMs() - entry.atMs;
      if (ageMs < entry.lifeMs) return { answer: entry.answer, ageSeconds: ageMs / 1_000 };
      entries.delete(key);
      return undefined;
    },
    put(query, answer) {
      const code = rcodeOf(answer.bytes);
      if ((code !== rcode.noError && code !== rcode.nameError) || answer.bytes.length > maxEntryBytes) return;
      const positive = answer.records.some(({ section }) => section === 0);
      const life = Math.min(lifeOf(answer) ?? 0, positive ? longestLife : longestNo);
      if (life <= 0) return;
      const key = keyOf(query);
      entries.delete(key);
      if (entries.size >= maxEntries)
        for (const [oldest] of entries) {
          entries.delete(oldest);
          break;
        }
      // not a part of the larger piece of memory that it was received in
      entries.set(key, { answer: { ...answer, bytes: Buffer.from(answer.bytes) }, atMs: nowMs(), lifeMs: life * 1_000 });
    },
    clear: () => entries.clear(),
  };
}

/** Equal keys: equal answers. */
export function keyOf(query: Message): string {
  const { name, type, class: klass } = query.question;
  return `${name} ${type} ${klass} ${wantsOf(query)}`;
}
