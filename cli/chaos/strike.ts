/** Ends processes of the mesh. */
import { setTimeout as pause } from "node:timers/promises";
import type { Stage } from "./stage.js";

/** Signals processes and waits until each has ended; then it is their supervisor's turn. */
export async function strike(stage: Stage, targets: readonly string[], signal: NodeJS.Signals): Promise<void> {
  const victims = targets.map((name) => ({ name, process: stage.process(name), pid: stage.process(name).pid }));
  for (const { name } of victims) if (stage.topology.clients.some(({ pod }) => pod === name)) stage.clients.restarted(name);
  for (const { process } of victims) process.kill(signal);
  while (victims.some(({ process, pid }) => pid !== undefined && process.pid === pid)) {
    stage.signal.throwIfAborted();
    await pause(10);
  }
}
