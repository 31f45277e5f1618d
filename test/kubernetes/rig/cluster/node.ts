/** A node of the test cluster: its namespaces, its programs, its disk; can crash and come back. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { program } from "../programs.js";
import { connectNode, disconnectNode } from "./network.js";
import { type NodePlace, writeNodeFiles } from "./node-files.js";

export interface ClusterNode {
  readonly name: string;
  readonly index: number;
  readonly address: string;
  readonly podCidr: string;
  /** The node's network namespace, for `ip -n`. */
  readonly netns: string;
  start(): Promise<void>;
  /** As if the power had failed. The disk stays. */
  crash(): Promise<void>;
  /** Runs a program in the node's namespaces. */
  run(command: readonly string[]): Promise<string>;
  importImages(archive: string): Promise<void>;
  /** The end of a program's log: containerd, kubelet or kube-proxy. */
  log(program: string): string;
}

const script = fileURLToPath(new URL("node-init.sh", import.meta.url));
const execute = promisify(execFile);

export function clusterNode(place: NodePlace, at: { readonly index: number; readonly count: number }): ClusterNode {
  const netns = `wt-${place.name}`;
  let outer: ChildProcess | undefined;

  /** The node's first process, as we see it. */
  function initPid(): number {
    const pid = outer?.pid;
    if (pid === undefined || outer?.exitCode !== null) throw new Error(`${place.name} is not running`);
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return Number(children[0]);
  }

  async function inside(command: readonly string[]): Promise<string> {
    const args = ["--target", String(initPid()), "--mount", "--uts", "--ipc", "--net", "--pid", "--", ...command];
    const { stdout } = await execute("nsenter", args, { maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  }

  return {
    name: place.name,
    index: at.index,
    address: place.address,
    podCidr: place.podCidr,
    netns,
    async start() {
      writeNodeFiles(place);
      connectNode(netns, at.index, at.count);
      const spaces = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"];
      const bin = dirname(program("kubelet"));
      const init = ["bash", script, place.name, place.dir, bin, place.cgroup];
      // nsenter and not `ip netns exec`, which mounts a new /sys and so loses the cgroups
      const command = ["--pdeathsig", "KILL", "--", "nsenter", `--net=/run/netns/${netns}`, "unshare", ...spaces, ...init];
      const child = spawn("setpriv", command, { stdio: ["ignore", "pipe", "pipe"] });
      outer = child;
      let said = "";
      const up = new Promise<void>((resolve, reject) => {
        const hear = (chunk: unknown): void => {
          said += String(chunk);
          if (said.includes("up\n")) resolve();
        };
        child.stdout.on("data", hear);
        child.stderr.on("data", hear);
        child.on("exit", () => reject(new Error(`node ${place.name} ended: ${said}`)));
      });
      await up;
    },
    async crash() {
      const child = outer;
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const closed = once(child, "exit");
      // unshare ends with its child by SIGKILL (--kill-child), and with the first process all others end
      process.kill(initPid(), "SIGKILL");
      await closed;
      outer = undefined;
      // mounts hold the namespace for a moment
      for (let tries = 0; ; tries++) {
        try {
          disconnectNode(netns);
          return;
        } catch (error) {
          if (tries === 20) throw error;
          await sleep(100);
        }
      }
    },
    run: inside,
    async importImages(archive) {
      await inside(["ctr", "--namespace", "k8s.io", "images", "import", archive]);
    },
    log: (name) => readFileSync(join(place.dir, `${name}.log`), "utf8").slice(-8_000),
  };
}
