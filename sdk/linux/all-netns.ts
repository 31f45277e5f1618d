/** Every network namespace that this process can see: of processes, and those that a mount keeps (`ip netns`). */
import { readdirSync, readFileSync } from "node:fs";
import { isStatusError } from "../status.js";
import { type NetnsHandle, openNetns } from "./netns.js";

export interface SeenNetns {
  /** How it is reached: file:///run/netns/NAME, file:///proc/PID/ns/net. */
  readonly url: string;
  readonly netns: NetnsHandle;
}

/** The caller closes the handles. Namespaces that end meanwhile, or that we may not open, are left out. */
export function openAllNetns(): SeenNetns[] {
  const byInode = new Map<string, SeenNetns>();
  for (const path of [...mounts(), ...processes()]) {
    const netns = openIfThere(`file://${path}`);
    if (netns === undefined) continue;
    const key = `${netns.dev}/${netns.ino}`;
    if (byInode.has(key)) netns.close();
    else byInode.set(key, { url: `file://${path}`, netns });
  }
  return [...byInode.values()];
}

/** proc_pid_mountinfo(5): the root of such a mount is "net:[INODE]". */
function* mounts(): Generator<string> {
  for (const line of readFileSync("/proc/thread-self/mountinfo", "utf8").split("\n")) {
    if (!/ net:\[\d+\] /.test(line)) continue;
    const path = line.split(" ")[4];
    if (path !== undefined)
      yield path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
  }
}

function* processes(): Generator<string> {
  yield "/proc/self/ns/net";
  for (const entry of readdirSync("/proc")) if (/^\d+$/.test(entry)) yield `/proc/${entry}/ns/net`;
}

function openIfThere(url: string): NetnsHandle | undefined {
  try {
    return openNetns(url);
  } catch (error) {
    if (isStatusError(error)) return undefined;
    throw error;
  }
}
