/** TCP from inside a namespace, for tests: whether a port is reached, by a small program of its own. */
import { once } from "node:events";
import { type NetnsHandle, spawnInNetns } from "../linux/netns.js";
import type { CleanUp } from "./cleanup.js";

const serverProgram = `
  const [ports, host] = JSON.parse(process.argv[1]);
  let left = ports.length;
  for (const port of ports) require("node:net").createServer((socket) => socket.end("hello " + socket.remoteAddress))
    .listen(port, host, () => { if (--left === 0) console.log("ready"); });
  process.stdin.resume().on("end", () => process.exit());`;

const clientProgram = `
  const [host, port, timeoutMs] = JSON.parse(process.argv[1]);
  const socket = require("node:net").connect(port, host);
  let text = "";
  const say = (result) => { console.log(result); process.exit(); };
  setTimeout(() => say("timeout"), timeoutMs);
  socket.on("data", (data) => { text += data; }).on("end", () => say("open " + text)).on("error", (error) => say(error.code));`;

/** Listens on those ports until the test ends; each connection is greeted with "hello ADDRESS" of the caller. */
export async function tcpServer(
  t: CleanUp,
  netns: Pick<NetnsHandle, "fd" | "ino">,
  ports: readonly number[],
  host = "::",
): Promise<void> {
  const child = spawnInNetns(netns, process.execPath, ["-e", serverProgram, JSON.stringify([ports, host])], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  t.after(async () => {
    child.stdin?.end();
    if (child.exitCode === null) await once(child, "exit");
  });
  if (child.stdout) await once(child.stdout, "data");
}

/** "open hello ADDRESS", "timeout" (nothing came back) or the name of an error, as ECONNREFUSED. */
export async function tcpProbe(
  netns: Pick<NetnsHandle, "fd" | "ino">,
  host: string,
  port: number,
  timeoutMs: number,
): Promise<string> {
  const child = spawnInNetns(netns, process.execPath, ["-e", clientProgram, JSON.stringify([host, port, timeoutMs])], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout?.on("data", (data: Buffer) => {
    text += data.toString();
  });
  await once(child, "close");
  return text.trim();
}
