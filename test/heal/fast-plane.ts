/** The packet core beneath a forwarder of a test mesh: its processes, and its end. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { patchRoomName } from "../../forwarder/dataplane/fast/patch-room.js";
import type { PacketCore } from "../../forwarder/native/core.js";
import { openKeeperCore } from "../../forwarder/native/keeper-client.js";
import { deleteNamedNetns } from "../../sdk/linux/netns.js";
import { netnsFolder } from "../../sdk/linux/netns-url.js";

/**
 * @param stateDir  of the forwarder
 * @throws UNAVAILABLE nobody keeps one
 */
async function withCore<T>(stateDir: string, use: (core: PacketCore) => T | Promise<T>): Promise<T> {
  const core = await openKeeperCore({ socketPath: join(stateDir, "core.sock"), awaitMs: 0 });
  try {
    return await use(core);
  } finally {
    await core.close();
  }
}

/** Process numbers of worker and keeper. */
export function coreProcesses(stateDir: string): Promise<{ readonly worker: number; readonly keeper: number }> {
  return withCore(stateDir, ({ board }) => {
    const worker = board.worker().pid;
    // fields after the name, which may hold anything: state, parent (proc(5))
    const [, parent] = readFileSync(`/proc/${worker}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return { worker, keeper: Number(parent) };
  });
}

/** How many workers there have been. */
export function coreStarts(stateDir: string): Promise<number> {
  return withCore(stateDir, ({ board }) => board.worker().starts);
}

/** The forwarder has gone by SIGKILL: what it would take away itself at its end. */
export async function endFastPlane(stateDir: string): Promise<void> {
  const socketPath = join(stateDir, "core.sock");
  const core = existsSync(socketPath) ? await openKeeperCore({ socketPath, awaitMs: 0 }).catch(() => undefined) : undefined;
  await core?.end();
  const room = patchRoomName(stateDir);
  if (existsSync(`${netnsFolder}/${room}`)) deleteNamedNetns(room);
}
