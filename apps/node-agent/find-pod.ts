/**
 * Finds the network namespace of a pod by its processes: the kubelet puts them into a control group that has the pod's uid
 * in its path, with every container runtime and both drivers (cgroupfs `…/podUID/…`, systemd `…-podUID_.slice/…`). The first
 * process is the sandbox, which is there as soon as the CNI is done, long before the status of the pod says so.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inodeOf } from "../../sdk/linux/netns-url.js";

export interface PodFinder {
  /** Device and inode of the pod's network namespace; undefined = there is no process of it yet. */
  find(uid: string): { readonly dev: bigint; readonly ino: bigint } | undefined;
  /** Numbers of the pod's processes, as seen by the last look. */
  processes(uid: string): readonly string[];
}

/** A process is looked at again for so long: it may still be on its way into its group. Milliseconds. */
const settleMs = 3_000;

/** @param proc  where procfs is mounted; tests have one of their own */
export function createPodFinder(proc = "/proc", nowMs: () => number = Date.now): PodFinder {
  /** Processes of no pod that is looked for, and until when they are looked at again. */
  const seen = new Map<string, { readonly firstMs: number; readonly pod: string | undefined }>();
  const own = inodeOf(join(proc, "self/ns/net")) ?? inodeOf("/proc/self/ns/net");
  /** One scan serves all pods that are waited for. */
  let scannedMs = Number.NEGATIVE_INFINITY;

  function scan(): void {
    if (nowMs() - scannedMs < 10) return;
    scannedMs = nowMs();
    const present = new Set(readdirSync(proc).filter((name) => /^\d+$/.test(name)));
    for (const pid of seen.keys()) if (!present.has(pid)) seen.delete(pid);
    for (const pid of present) {
      const known = seen.get(pid);
      if (known !== undefined && (known.pod !== undefined || nowMs() - known.firstMs > settleMs)) continue;
      seen.set(pid, { firstMs: known?.firstMs ?? nowMs(), pod: podOf(read(join(proc, pid, "cgroup"))) });
    }
  }

  return {
    find(uid) {
      scan();
      for (const [pid, { pod }] of seen) {
        if (pod !== uid) continue;
        const netns = inodeOf(join(proc, pid, "ns/net"));
        // before it is in the pod's namespace a process is in that of the node
        if (netns !== undefined && !(netns.dev === own?.dev && netns.ino === own.ino)) return netns;
        seen.delete(pid); // it has gone, or its number is somebody else's now
      }
      return undefined;
    },
    processes(uid) {
      scan();
      return [...seen].flatMap(([pid, { pod }]) => (pod === uid ? [pid] : []));
    },
  };
}

/** The uid of the pod in the text of /proc/PID/cgroup. */
export function podOf(cgroup: string): string | undefined {
  const found = /pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})/.exec(cgroup)?.[1];
  return found?.replaceAll("_", "-");
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // it has ended meanwhile
  }
}
