/** The server's end of the simulated network. */
import type { CallContext } from "../../sdk/chain.js";
import { Code, type StatusError, statusError } from "../../sdk/status.js";
import type { SimEvent, SimProcess } from "./world.js";

export interface LiveCall {
  readonly controller: AbortController;
  /** Streams end at once when the server stops. */
  readonly isStream: boolean;
  /** What the chain wants undone when nobody takes the answer. */
  undo: (() => void) | undefined;
  answered: boolean;
  deadline: SimEvent | undefined;
}

export interface Server {
  readonly process: SimProcess;
  readonly unary: Map<string, (input: unknown, context: CallContext) => Promise<unknown>>;
  readonly streams: Map<string, (input: unknown, context: CallContext) => AsyncIterable<unknown>>;
  readonly live: Set<LiveCall>;
  /** Processes that have a connection to it. */
  readonly known: WeakSet<SimProcess>;
  /** Set while it drains: what new calls are told. */
  shutdown: StatusError | undefined;
}

const stepMs = 5;

export function newServer(process: SimProcess): Server {
  return { process, unary: new Map(), streams: new Map(), live: new Set(), known: new WeakSet(), shutdown: undefined };
}

/** The caller has gone, its deadline has passed, or the connection is dead: what is not answered yet is not to go on. */
export function cutCall({ answered, controller }: LiveCall, reason: DOMException): void {
  if (!answered) controller.abort(reason);
}

/** The caller has withdrawn it, over a connection that lives; perhaps it has crossed the answer. */
export function withdrawCall(call: LiveCall): void {
  const { answered, undo } = call;
  call.undo = undefined;
  if (answered) undo?.();
  else call.controller.abort(new DOMException("the caller has gone", "AbortError"));
}

/** The chain has an answer. */
export function answerCall(call: LiveCall): void {
  call.answered = true;
  if (call.deadline !== undefined) call.deadline.cancelled = true;
  if (!call.controller.signal.aborted) return;
  call.undo?.();
  call.undo = undefined;
}

/** Refuses new calls, lets what runs finish, then cuts it short. */
export async function drained(server: Server, timeoutMs: number): Promise<void> {
  server.shutdown ??= statusError(Code.UNAVAILABLE, "this component is shutting down; try again");
  for (const { controller, isStream } of server.live) if (isStream) controller.abort(server.shutdown);
  const endMs = performance.now() + timeoutMs;
  while (server.live.size > 0 && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, stepMs));
  for (const { controller } of server.live) controller.abort(server.shutdown);
}
