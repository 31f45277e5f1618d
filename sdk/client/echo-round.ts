/** One look at a connection: an echo between every pair of addresses, repeated until each has been answered. */
import type { EchoPlace, EchoSockets } from "../linux/echo-sockets.js";
import type { AddressPair } from "./address-pairs.js";

export interface EchoRoundOptions {
  readonly netnsUrl: string | undefined;
  readonly interfaceName?: string | undefined;
  /** Pause between two echoes to one that has not answered. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** The same objects for the same pairs: the sockets know them again. */
const known = new WeakMap<readonly AddressPair[], readonly EchoPlace[]>();

/**
 * True when every pair has answered, one lost packet or two do not matter; false when the time is over.
 * @throws as `sockets.send`; the reason of `signal`
 */
export function echoRound(pairs: readonly AddressPair[], sockets: EchoSockets, options: EchoRoundOptions): Promise<boolean> {
  const { intervalMs, timeoutMs, signal } = options;
  const unanswered = new Set(placesOf(pairs, options));
  const forget: (() => void)[] = [];
  return new Promise<boolean>((resolve, reject) => {
    signal.throwIfAborted();
    let over = false;
    let repeat: NodeJS.Timeout | undefined;
    let late: NodeJS.Timeout | undefined;
    const end = (settle: () => void): void => {
      if (over) return;
      over = true;
      for (const one of forget) one();
      if (late !== undefined) {
        clearInterval(repeat);
        clearTimeout(late);
        signal.removeEventListener("abort", abort);
      }
      settle();
    };
    const abort = (): void => end(() => reject(signal.reason));
    const answered = (place: EchoPlace): void => {
      unanswered.delete(place);
      if (unanswered.size === 0) end(() => resolve(true));
    };
    const send = (): void => {
      try {
        for (const place of unanswered) forget.push(sockets.send(place, () => answered(place)));
      } catch (error) {
        end(() => reject(error));
      }
    };
    const timeIsOver = (): void => {
      // The last word is that of the echoes: after a lag of this process their answers may be there, unread.
      sockets.read();
      end(() => resolve(false));
    };
    const waitForMore = (): void => {
      if (over) return;
      if (signal.aborted) {
        abort();
        return;
      }
      repeat = setInterval(send, intervalMs);
      late = setTimeout(timeIsOver, timeoutMs);
      signal.addEventListener("abort", abort);
    };
    if (unanswered.size === 0) {
      resolve(true);
      return;
    }
    send();
    // After the first answers have been read: within a node they are there at once, and nothing has to be waited for.
    process.nextTick(waitForMore);
  });
}

function placesOf(pairs: readonly AddressPair[], { netnsUrl, interfaceName }: EchoRoundOptions): readonly EchoPlace[] {
  const before = known.get(pairs);
  const [first] = before ?? [];
  if (before !== undefined && first?.netnsUrl === netnsUrl && first?.interfaceName === interfaceName) return before;
  const places = pairs.map((pair) => ({ ...pair, netnsUrl, interfaceName }));
  known.set(pairs, places);
  return places;
}
