/**
 * One question to all servers of a domain at once; the first good answer wins. What is cut off comes again by TCP. A
 * "no" waits a moment for the others: one of several servers may know only a part of the names.
 */
import { ask, type Place } from "./ask.js";
import { isTruncated, type Message, rcode, rcodeOf, readMessage } from "./message.js";

const timeoutMs = 4_000; // less than the five seconds after which resolvers ask again
const repeatsMs = [400, 1_200, 2_500];
const othersMs = 200;

/** Higher is better. */
function worth(answer: Message): number {
  const code = rcodeOf(answer.bytes);
  if (code === rcode.noError) return answer.records.some(({ section }) => section === 0) ? 4 : 3;
  return code === rcode.nameError ? 2 : 1;
}

/** Undefined: no server gave anything that can be read. Never rejects. */
export async function fanOut(query: Buffer, servers: readonly string[], place: Place): Promise<Message | undefined> {
  const enough = new AbortController();
  let best: Message | undefined;
  let timer: NodeJS.Timeout | undefined;
  let left = servers.length;
  return new Promise((resolve) => {
    const finish = (): void => {
      clearTimeout(timer);
      resolve(best);
      enough.abort();
    };
    const consider = (answer: Message | undefined): void => {
      left--;
      if (answer !== undefined && (best === undefined || worth(answer) > worth(best))) best = answer;
      if (left === 0 || (best !== undefined && worth(best) === 4)) finish();
      else if (best !== undefined && worth(best) > 1) timer ??= setTimeout(finish, othersMs);
    };
    if (left === 0) return finish();
    for (const server of servers)
      void askOne(query, server, place, AbortSignal.any([enough.signal, place.signal])).then(consider);
  });
}

async function askOne(query: Buffer, server: string, place: Place, signal: AbortSignal): Promise<Message | undefined> {
  try {
    const answer = await ask(query, { ...place, server, transport: "udp", timeoutMs, repeatsMs, signal });
    if (!isTruncated(answer)) return readMessage(answer);
    try {
      return readMessage(await ask(query, { ...place, server, transport: "tcp", timeoutMs, signal }));
    } catch {
      return readMessage(answer); // better than nothing: the client may have another way
    }
  } catch {
    return undefined;
  }
}
