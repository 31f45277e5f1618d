/** TCP throughput between two namespaces: iperf3 where it is installed, else a pump of our own (two Node processes). */
import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { Namespace } from "../forwarder/dataplane/compliance-world.js";
import { spawnInNetns } from "../sdk/linux/netns.js";

const pumpPort = 5201;

export type Pump = (from: Namespace, to: Namespace, address: string, seconds: number) => Promise<number>;

/** The one that is installed here, and its name. */
export function choosePump(): { readonly name: string; readonly gigabitsPerSecond: Pump } {
  const hasIperf = spawnSync("iperf3", ["--version"]).status === 0;
  return hasIperf ? { name: "iperf3", gigabitsPerSecond: iperf } : { name: "two Node processes", gigabitsPerSecond: nodePump };
}

const iperf: Pump = async (from, to, address, seconds) => {
  const server = spawnInNetns(to.netns, "iperf3", ["--server", "--one-off", "--forceflush"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await said(server, "listening");
  const client = spawnInNetns(from.netns, "iperf3", ["--client", address, "--time", String(seconds), "--json"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [output] = await Promise.all([wholeOutput(client), once(server, "close")]);
  const result = JSON.parse(output) as { end?: { sum_received?: { bits_per_second?: number } }; error?: string };
  const bits = result.end?.sum_received?.bits_per_second;
  if (bits === undefined) throw new Error(`iperf3: ${result.error ?? "no result"}`);
  return bits / 1e9;
};

const serverProgram = `
let bytes = 0, start;
const server = require("net").createServer((socket) => {
  socket.on("data", (chunk) => { start ??= process.hrtime.bigint(); bytes += chunk.length; });
  socket.on("close", () => { console.log("result", bytes * 8 / Number(process.hrtime.bigint() - start)); server.close(); });
  socket.on("error", () => {});
}).listen(${pumpPort}, "::", () => console.log("listening"));`;

const clientProgram = `
const [address, seconds] = process.argv.slice(1);
const block = Buffer.alloc(1 << 20), until = Date.now() + Number(seconds) * 1000;
const socket = require("net").connect(${pumpPort}, address, () => {
  const pump = () => { while (Date.now() < until) if (!socket.write(block)) return; socket.destroy(); };
  socket.on("drain", pump);
  pump();
});`;

const nodePump: Pump = async (from, to, address, seconds) => {
  const server = spawnInNetns(to.netns, process.execPath, ["-e", serverProgram], { stdio: ["ignore", "pipe", "inherit"] });
  await said(server, "listening");
  const output = wholeOutput(server);
  const client = spawnInNetns(from.netns, process.execPath, ["-e", clientProgram, address, String(seconds)], { stdio: "ignore" });
  const [text] = await Promise.all([output, once(client, "close")]);
  return Number(/result ([\d.]+)/.exec(text)?.[1]);
};

function said(child: ChildProcess, word: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout?.on("data", (chunk) => String(chunk).includes(word) && resolve());
    child.on("close", () => reject(new Error(`the server ended before it was ${word}`)));
  });
}

async function wholeOutput(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout?.on("data", (chunk) => {
    text += String(chunk);
  });
  await once(child, "close");
  return text;
}
