/** What a pod's look-ups cost more when names of an endpoint resolve in it. */
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { idOf, recordType, writeName } from "../apps/dns/message.js";
import { knowing } from "../apps/dns/testing/name-server.js";
import { clusterServer, meshServer, startTestPod } from "../apps/dns/testing/place.js";
import { boundSocket } from "../sdk/linux/inet-socket.js";
import { cpuMs, percentile, residentMiB } from "./process-cost.js";
import type { Bench, BenchRow } from "./table.js";

const child = fileURLToPath(new URL("../apps/dns/testing/serve-child.ts", import.meta.url));
const clusterName = "web.default.svc.cluster.local";
const meshName = "printer.office.example";

export const bench: Bench = {
  name: "dns",
  missing: async () => (process.getuid?.() === 0 ? undefined : "root is needed for network namespaces"),
  async run({ quick, progress }) {
    const undo: (() => unknown)[] = [];
    const t = { after: (step: () => unknown) => void undo.push(step) };
    const count = quick ? 500 : 5_000;
    try {
      const pod = await startTestPod(t, knowing({ [clusterName]: ["10.96.1.1"] }), knowing({ [meshName]: ["172.16.1.9"] }));
      const socket = createSocket("udp4");
      t.after(() => socket.close());
      socket.bind({ fd: boundSocket(pod.netns, "udp", "10.96.0.2", 0).fd });
      await rounds(socket, clusterName, count);
      const direct = await rounds(socket, clusterName, count);
      const configs = [{ dns_server_ips: [meshServer], search_domains: ["office.example"] }];
      const args = ["--import", "tsx", child, pod.netns.url, pod.file, JSON.stringify([{ configs, prefixes: [] }])];
      const served = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
      t.after(() => served.kill("SIGKILL"));
      await once(served.stdout as Readable, "data");
      const pid = served.pid ?? 0;
      await rounds(socket, clusterName, count);
      const passed = await rounds(socket, clusterName, count, pid);
      const own = await rounds(socket, meshName, count, pid);
      progress(`${count} look-ups of each kind`);
      const idle = cpuMs(pid);
      await new Promise((resolve) => setTimeout(resolve, quick ? 2_000 : 20_000));
      const beats = ((cpuMs(pid) - idle) / (quick ? 2 : 20)).toFixed(2);
      return {
        name: "dns",
        title: "Names of endpoints",
        method,
        rows: rowsOf(direct, passed, own, Number(beats), residentMiB(pid)),
      };
    } finally {
      for (const step of undo.reverse()) await step();
    }
  },
};

const method =
  "A pod with a cluster's name server over one veth pair and an endpoint's over another; one UDP socket in the pod asks, one question after the other, " +
  "and waits for each answer. First without us, then with the pod's queries diverted to our process (apps/dns), in the same run. CPU is the process's user and system time.";

interface Taken {
  /** Milliseconds of each look-up. */
  readonly took: number[];
  readonly cpuMs: number;
}

async function rounds(socket: Socket, name: string, count: number, pid?: number): Promise<Taken> {
  const took: number[] = [];
  const before = pid === undefined ? 0 : cpuMs(pid);
  const question = Buffer.concat([writeName(name) ?? Buffer.alloc(1), Buffer.from([0, recordType.a, 0, 1])]);
  for (let i = 0; i < count; i++) {
    const query = Buffer.concat([Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), question]);
    query.writeUInt16BE(randomInt(0x10000), 0);
    const answered = answerTo(socket, idOf(query));
    const startedMs = performance.now();
    socket.send(query, 53, clusterServer);
    await answered;
    took.push(performance.now() - startedMs);
  }
  return { took, cpuMs: pid === undefined ? 0 : (cpuMs(pid) - before) / count };
}

function answerTo(socket: Socket, id: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("a look-up had no answer within five seconds")), 5_000);
    const hear = (bytes: Buffer): void => {
      if (idOf(bytes) !== id) return;
      clearTimeout(timer);
      socket.off("message", hear);
      resolve();
    };
    socket.on("message", hear);
  });
}

function rowsOf(direct: Taken, passed: Taken, own: Taken, beatMs: number, memoryMiB: number): BenchRow[] {
  const at = (taken: Taken, part: number): number => percentile(taken.took, part);
  const added = (taken: Taken, part: number): number => at(taken, part) - at(direct, part);
  const peer = (part: number) => ({ name: "without us", value: at(direct, part) });
  return [
    { what: "a name of the cluster, p50", value: at(passed, 0.5), unit: "ms", peer: peer(0.5) },
    { what: "a name of the cluster, p99", value: at(passed, 0.99), unit: "ms", peer: peer(0.99) },
    { what: "added to a name of the cluster, p99", value: added(passed, 0.99), unit: "ms", gate: { of: "value", atMost: 5 } },
    { what: "a name of an endpoint that is known, p99", value: at(own, 0.99), unit: "ms", gate: { of: "value", atMost: 5 } },
    { what: "handing on one query", value: passed.cpuMs, unit: "ms CPU" },
    { what: "answering one from memory", value: own.cpuMs, unit: "ms CPU" },
    { what: "one pod whose names nobody asks for, a second", value: beatMs, unit: "ms CPU" },
    { what: "the process: resident memory", value: memoryMiB, unit: "MiB" },
  ];
}
