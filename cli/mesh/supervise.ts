/**
 * The supervisor: the one process that holds a local mesh until it is told to stop (SIGTERM, or `weft down`).
 * Its standard output and error are a log file; what it has done so far it tells the command that started it.
 */

import { toStatusError } from "../../sdk/status.js";
import { createDialer } from "../../sdk/transport/dial.js";
import { serveControl } from "./control.js";
import { startMesh } from "./mesh.js";

/** What the supervisor tells while it starts. */
export type Progress =
  | { readonly kind: "step"; readonly text: string }
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly code: number; readonly text: string };

/** @returns the exit code, when the mesh is down */
export async function supervise(options: {
  readonly nodes: number;
  readonly self: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly tell: (progress: Progress) => void;
}): Promise<number> {
  const { tell, signal } = options;
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  try {
    const mesh = await startMesh({
      ...options,
      dialer,
      onStep: (text) => tell({ kind: "step", text }),
      onEvent: (text) => process.stderr.write(`${new Date().toISOString()} ${text}\n`),
    });
    let stopAsked: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      stopAsked = resolve;
    });
    let stopped: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      stopped ??= mesh.stop();
      return stopped;
    };
    const control = await serveControl(mesh, async () => {
      await stop();
      stopAsked();
    });
    signal.addEventListener("abort", stopAsked);
    tell({ kind: "ready" });
    if (!signal.aborted) await asked;
    await stop();
    await control.stop();
    return 0;
  } catch (error) {
    const { code, details } = toStatusError(error);
    if (toStatusError(error) !== error) process.stderr.write(`${String((error as Error)?.stack ?? error)}\n`);
    tell({ kind: "failed", code, text: details });
    return 1;
  } finally {
    dialer.close();
  }
}
