/**
 * answer-once — a first Request that comes twice at the same time is worked on once, and both are given the one answer.
 * Needs:  context.ownIdIsGiven (from `enter-path`): a hop names our id, and `serialize` finds its way by it; a client cannot yet
 * Adds:   context.whenUntaken: an answer is untaken when nobody has taken it of all to whom it was given
 * Does:   compares whole messages, with the tokens and times of who asks: one that asks anew is not the same and goes its own way.
 *         When the first one's caller leaves, the next one begins by itself
 * Fails:  as the one that is worked on; with the caller's abort reason when that leaves
 * Why:    a transport may send a call again that it believes lost (gRPC calls it hedging and transparent retry). Each by itself would
 *         get an id, an endpoint and addresses, and the later one would close what the caller has been answered.
 */
import { isDeepStrictEqual } from "node:util";
import type { ConnectionApi } from "../api.js";
import type { CallContext, Element } from "../chain.js";
import type { Connection } from "../gen/connection.js";
import type { NetworkServiceRequest } from "../gen/networkservice.js";
import { previousSegment } from "../path.js";
import type { HasOwnId } from "./enter-path.js";

type HasUntaken = Pick<CallContext, "whenUntaken">;

interface UnderWay {
  readonly request: NetworkServiceRequest;
  readonly signal: AbortSignal;
  readonly answer: Promise<Connection>;
  readonly shares: Shares;
}

/** Outlives the call; holds on to nothing of it. */
interface Shares {
  /** Callers that wait for the answer or have it. */
  count: number;
  undo: (() => void) | undefined;
}

export function answerOnce(): Element<ConnectionApi, HasOwnId, HasUntaken> {
  const all = new Map<string, UnderWay[]>();

  function begin(key: string, one: UnderWay): void {
    all.set(key, [...(all.get(key) ?? []), one]);
  }

  function end(key: string, one: UnderWay): void {
    const left = (all.get(key) ?? []).filter((other) => other !== one);
    if (left.length > 0) all.set(key, left);
    else all.delete(key);
  }

  return {
    name: "answer-once",
    steps: {
      async request(request, context, rest) {
        const caller = request.connection && previousSegment(request.connection);
        if (context.ownIdIsGiven || caller === undefined) return rest.request(request, { whenUntaken: context.whenUntaken });
        const key = `${caller.name} ${caller.id}`;
        for (;;) {
          const same = all.get(key)?.find((other) => !other.signal.aborted && isSame(other.request, request));
          if (same === undefined) break;
          const answer = await shared(same, context);
          if (answer !== undefined) return answer;
        }
        const shares: Shares = { count: 1, undo: undefined };
        const whenUntaken = (undo: () => void): void => {
          shares.undo = undo;
        };
        const answer = rest.request(request, { whenUntaken });
        const one: UnderWay = { request, signal: context.signal, answer, shares };
        begin(key, one);
        try {
          const given = await answer;
          context.whenUntaken?.(() => letGo(shares));
          return given;
        } finally {
          end(key, one);
        }
      },
      close: (connection, { whenUntaken }, rest) => rest.close(connection, { whenUntaken }),
    },
  };
}

/** The answer that another call is given; undefined: its caller has left, and it came to nothing for that. */
async function shared({ answer, signal, shares }: UnderWay, context: CallContext): Promise<Connection | undefined> {
  shares.count++;
  try {
    const given = await unlessAborted(answer, context.signal);
    context.whenUntaken?.(() => letGo(shares));
    return given;
  } catch (error) {
    letGo(shares);
    if (context.signal.aborted || !signal.aborted) throw error;
    return undefined;
  }
}

function letGo(shares: Shares): void {
  shares.count--;
  if (shares.count === 0) shares.undo?.();
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason);
    if (signal.aborted) return leave();
    signal.addEventListener("abort", leave, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}

function isSame(one: NetworkServiceRequest, other: NetworkServiceRequest): boolean {
  return isDeepStrictEqual(asSent(one), asSent(other));
}

/** Without what we have written into it. */
function asSent({ connection, ...rest }: NetworkServiceRequest): object {
  const path = connection?.path;
  return { ...rest, connection: { ...connection, id: "", path: path?.path_segments.slice(0, path.index) } };
}
