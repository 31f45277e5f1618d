/**
 * A steady stream of UDP datagrams between two namespaces, each of which is answered: every number that does not come back
 * was lost on one of the two ways. Two processes of their own, so that nothing in the test's process delays it. For tests.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { spawnInNetns } from "../linux/netns.js";
import type { TestNetns, temporaryNetns } from "./netns.js";
import { until } from "./until.js";

type Test = Parameters<typeof temporaryNetns>[0];

export interface UdpFlow {
  /** Waits until so many more have been answered. */
  more(count: number): Promise<void>;
  /** Stops sending, waits for what is on its way. */
  stop(): Promise<{ readonly sent: number; readonly lost: number }>;
}

export interface UdpFlowOptions {
  readonly from: TestNetns;
  readonly to: TestNetns;
  /** Of the far end. */
  readonly address: string;
  readonly port: number;
  readonly perSecond: number;
  /** Stands in every datagram. */
  readonly mark: string;
}

const echo = `
const [type, address, port] = process.argv.slice(1);
const socket = require("node:dgram").createSocket({ type, recvBufferSize: 4 << 20 });
socket.on("message", (data, from) => socket.send(data, from.port, from.address));
socket.bind(Number(port), address, () => process.stdout.write("ready\\n"));
process.stdin.resume().on("end", () => process.exit(0));
`;

const sender = `
const [type, address, port, perSecond, mark] = process.argv.slice(1);
const socket = require("node:dgram").createSocket({ type, recvBufferSize: 4 << 20 });
const missing = new Set();
let sent = 0, stopped = false;
socket.on("message", (data) => void missing.delete(data.readUInt32BE(0)));
socket.on("error", () => {});
const start = performance.now();
const send = () => {
  const due = ((performance.now() - start) * Number(perSecond)) / 1000;
  for (let burst = 0; !stopped && sent < due && burst < 32; burst++) {
    const data = Buffer.alloc(4 + mark.length);
    data.writeUInt32BE(sent);
    data.write(mark, 4);
    missing.add(sent++);
    socket.send(data, Number(port), address);
  }
};
const beat = setInterval(send, 1);
const tell = setInterval(() => process.stdout.write(sent - missing.size + "\\n"), 50);
process.stdin.resume().on("end", () => {
  stopped = true;
  clearInterval(beat);
  const deadline = performance.now() + 5000;
  setInterval(() => {
    if (missing.size > 0 && performance.now() < deadline) return;
    clearInterval(tell);
    process.stdout.write(JSON.stringify({ sent, lost: missing.size }) + "\\n", () => process.exit(0));
  }, 20);
});
`;

export async function startUdpFlow(t: Test, { from, to, address, port, perSecond, mark }: UdpFlowOptions): Promise<UdpFlow> {
  const type = address.includes(":") ? "udp6" : "udp4";
  const far = run(t, to, echo, [type, address, String(port)]);
  await until("the far end of the flow is ready", () => far.lines.includes("ready"), 20_000);
  const near = run(t, from, sender, [type, address, String(port), String(perSecond), mark]);
  const answered = (): number => Number(near.lines.at(-1) ?? 0);
  return {
    async more(count) {
      const goal = answered() + count;
      await until(`${count} more datagrams are answered`, () => answered() >= goal, 30_000);
    },
    async stop() {
      await near.end();
      await far.end();
      return JSON.parse(near.lines.at(-1) ?? "{}") as { sent: number; lost: number };
    },
  };
}

function run(t: Test, netns: TestNetns, script: string, args: readonly string[]) {
  const child: ChildProcess = spawnInNetns(netns, process.execPath, ["-e", script, ...args], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {},
  });
  const lines: string[] = [];
  let rest = "";
  child.stdout?.on("data", (data) => {
    const parts = `${rest}${String(data)}`.split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
  const closed = once(child, "close");
  t.after(async () => {
    child.kill("SIGKILL");
    await closed;
  });
  return {
    lines,
    async end() {
      child.stdin?.end();
      await closed;
    },
  };
}
