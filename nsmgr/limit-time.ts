/** A call without a deadline gets one: a hop that hangs must not hold a connection's queue for ever. */
import type { ConnectionApi } from "../sdk/api.js";
import type { CallContext, Handler } from "../sdk/chain.js";

export function limitTime(handler: Handler<ConnectionApi>, limitMs: number): Handler<ConnectionApi> {
  return {
    request: (input, context) => limited(context, limitMs, (inner) => handler.request(input, inner)),
    close: (input, context) => limited(context, limitMs, (inner) => handler.close(input, inner)),
  };
}

async function limited<T>(context: CallContext, limitMs: number, run: (context: CallContext) => Promise<T>): Promise<T> {
  if (context.deadlineMs !== undefined) return run(context);
  const limit = new AbortController();
  const reason = new DOMException(`not done within ${limitMs} ms`, "TimeoutError");
  const timer = setTimeout(() => limit.abort(reason), limitMs);
  try {
    return await run({ ...context, deadlineMs: Date.now() + limitMs, signal: AbortSignal.any([context.signal, limit.signal]) });
  } finally {
    clearTimeout(timer);
  }
}
