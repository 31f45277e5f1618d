/** The server's end of the simulated network. */
import type { CallContext } from "../../sdk/chain.js";
import { Code, type StatusError, statusError } from "../../sdk/status.js";
import type { SimProcess } from "./world.js";

export interface LiveCall {
  readonly controller: AbortController;
  /** Streams end at once when the server stops. */
  readonly isStream: boolean;
}

export interface Server {
  readonly process: SimProcess;
  readonly unary: Map<string, (input: unknown, context: CallContext) => Promise<unknown>>;
  readonly streams: Map<string, (input: unknown, context: CallContext) => AsyncIterable<unknown>>;
  readonly live: Set<LiveCall>;
  /** Set while it drains: what new calls are told. */
  shutdown: StatusError | undefined;
}

const stepMs = 5;

/** Refuses new calls, lets what runs finish, then cuts it short. */
export async function drained(server: Server, timeoutMs: number): Promise<void> {
  server.shutdown ??= statusError(Code.UNAVAILABLE, "this component is shutting down; try again");
  for (const { controller, isStream } of server.live) if (isStream) controller.abort(server.shutdown);
  const endMs = performance.now() + timeoutMs;
  while (server.live.size > 0 && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, stepMs));
  for (const { controller } of server.live) controller.abort(server.shutdown);
}
