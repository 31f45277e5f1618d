/** Running a pod until interrupted, or detached: shared by `serve` and `connect`. */
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { askForPod, askToRemovePod, type PodRequest } from "../mesh/control.js";
import { lastLogLines, waitFor } from "../mesh/ready.js";
import { tellRefusals } from "../mesh/waiting.js";

export const readyTimeoutMs = 30_000;

/**
 * @param spec.timeoutMs  how long it may take until it is ready; Infinity = as long as it takes
 * @param ready  gives the line to print once the pod does what it is for; undefined = not yet
 * @throws UNAVAILABLE when it does not get ready, with the end of its log; the pod is removed then
 */
export async function holdPod(
  { timeoutMs = readyTimeoutMs, ...spec }: PodRequest & { readonly timeoutMs?: number },
  ready: (signal: AbortSignal) => Promise<string | undefined>,
  context: CliContext,
): Promise<number> {
  const { signal, out, err } = context;
  const stopTelling = tellRefusals(spec.name, (reason) => err.write(`${spec.name} waits: ${reason}\n`));
  const gone = new AbortController();
  // hanging up on the supervisor takes the pod away
  const giveUp = new AbortController();
  const follow = async (): Promise<string> => {
    for await (const event of askForPod(spec, AbortSignal.any([signal, giveUp.signal]))) {
      if (event.event === "started") out.write(`pod ${spec.name} on ${spec.node} (pid ${event.pid})\n`);
      if (event.event === "ended") return event.how;
    }
    return "";
  };
  const ended = follow().finally(() => gone.abort());
  // a refusal is thrown where it is awaited, which may be a moment later
  ended.catch(() => {});
  try {
    // a detached pod's events end at once: then only the time is a bound
    const limit = spec.detach ? signal : AbortSignal.any([signal, gone.signal]);
    if (spec.detach) await ended;
    out.write(`${await waitFor(spec.role, undefined, ready, { timeoutMs, signal: limit })}\n`);
  } catch (error) {
    const how = gone.signal.aborted && !spec.detach ? await ended : "";
    signal.throwIfAborted();
    if (how === "" && (error as { code?: unknown }).code !== Code.UNAVAILABLE) throw error;
    const log = lastLogLines(spec.name);
    giveUp.abort();
    await ended.catch(() => {});
    if (spec.detach) await askToRemovePod(spec.name, { kill: false, signal });
    throw statusError(
      Code.UNAVAILABLE,
      `${how === "" ? (error as Error).message : `${spec.name} ended with ${how}`}${log}`,
      error,
    );
  } finally {
    stopTelling();
  }
  if (spec.detach) return 0;
  out.write("Ctrl-C ends it\n");
  const how = await ended.catch((error: unknown) => {
    if (signal.aborted) return undefined;
    throw error;
  });
  if (how === undefined) return 0;
  throw statusError(Code.UNAVAILABLE, `${spec.name} ended with ${how}`);
}
