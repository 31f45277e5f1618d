/** Puts a bad cable between a node and the bridge of the underlay, and takes it out again. */
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { createVeth, deleteLink, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { type NetlinkSocket, openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import { bridgeName, underlayNetns } from "../mesh/plan.js";
import { underlayMtuBytes } from "../mesh/underlay.js";
import type { CablePlan } from "./cable.js";
import type { Impairment } from "./schedule.js";
import type { Stage } from "./stage.js";

const ends = ["cable-a", "cable-b"] as const;
/** Frames under way are delivered before the cable is taken out. */
const drainMs = 100;

/**
 * The node's port leaves the bridge; a process carries its frames to a new port instead. The result undoes it.
 * @param node  "node-1" …: also the name of its port
 */
export async function shapeCable(stage: Stage, node: string, impairment: Impairment): Promise<() => Promise<void>> {
  const handle = openNetns(underlayNetns);
  const socket = openNetlinkSocket(handle);
  const bridge = indexOf(socket, bridgeName);
  const port = indexOf(socket, node);
  const [near, far] = ends.map((name) => ({ netns: handle, name, macAddress: randomMac(), mtuBytes: underlayMtuBytes }));
  if (near !== undefined && far !== undefined) socket.perform([createVeth(near, far)]);
  const [inner, outer] = [indexOf(socket, ends[0]), indexOf(socket, ends[1])];
  const plan: CablePlan = { ends: [node, ends[0]], impairment, seed: port };
  const [program = "", ...first] = stage.self;
  const child = spawnInNetns(handle, program, [...first, "chaos-cable", JSON.stringify(plan)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  handle.close();
  const ended = once(child, "exit");
  socket.perform([setLink(inner, { up: true }), setLink(outer, { masterIndex: bridge, up: true })]);
  if (child.stdout !== null) await Promise.race([once(createInterface({ input: child.stdout }), "line"), ended]);
  socket.perform([setLink(port, { masterIndex: 0 })]);
  return async () => {
    socket.perform([setLink(port, { masterIndex: bridge })]);
    await pause(drainMs);
    child.kill("SIGTERM");
    await ended;
    socket.perform([deleteLink(inner)]);
    socket.close();
  };
}

function indexOf(socket: NetlinkSocket, name: string): number {
  const link = getLink(socket, name);
  if (link === undefined) throw statusError(Code.NOT_FOUND, `no link ${name} in the underlay`);
  return link.index;
}
