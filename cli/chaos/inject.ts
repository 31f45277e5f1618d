/** Makes a fault happen, and takes it back. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { podNetns } from "../mesh/plan.js";
import { dropTraffic } from "./drop-traffic.js";
import { stateFolder } from "./place.js";
import { plannedChanges } from "./planned.js";
import type { Fault } from "./schedule.js";
import { shapeCable } from "./shape-cable.js";
import type { Stage } from "./stage.js";
import { strike } from "./strike.js";

/** Resolves when the fault is over, as far as it is ours to end it; healing is the mesh's. */
export async function inject(stage: Stage, fault: Fault): Promise<void> {
  const { targets } = fault;
  switch (fault.kind) {
    case "kill":
    case "everything":
      return strike(stage, targets, "SIGKILL");
    case "restart":
    case "retire":
      return strike(stage, targets, "SIGTERM");
    case "drain":
    case "drain-forwarder":
    case "drain-node":
    case "roll":
      return plannedChanges[fault.kind](stage, targets);
    case "freeze":
      return hold(
        fault.holdMs,
        () => signalAll(stage, targets, "SIGSTOP"),
        () => signalAll(stage, targets, "SIGCONT"),
      );
    case "slow":
      return slow(stage, targets, fault.holdMs);
    case "pod-gone": {
      for (const pod of targets) await stage.removePod(pod, { kill: true });
      await pause(fault.holdMs);
      for (const pod of targets) stage.addEndpoint(pod);
      return;
    }
    case "node-down":
      return nodeDown(stage, targets, fault.holdMs);
    case "interface-down":
      return interfaceDown(targets);
    case "link-down": {
      const netns = nodeNetns(stage, targets);
      return hold(
        fault.holdMs,
        () => setLinkIn(netns, nodeLink, false),
        () => setLinkIn(netns, nodeLink, true),
      );
    }
    case "partition":
    case "half-open": {
      const restore = await dropTraffic(stage, fault);
      return hold(fault.holdMs, () => {}, restore);
    }
    case "clock":
      return hold(
        fault.holdMs,
        () => setClocks(stage, targets, fault.offsetMs),
        () => setClocks(stage, targets, 0),
      );
    case "disk-full":
      return fillDisk(stage, targets, fault.holdMs);
    case "bad-cable": {
      const restore = await shapeCable(stage, targets[0] ?? "", fault.impairment);
      return hold(fault.holdMs, () => {}, restore);
    }
  }
}

/** What a node calls its end of the cable (cli/mesh/underlay.ts). */
const nodeLink = "eth0";
/** The registry gets a twentieth of the time. */
const slowMs = { stopped: 190, running: 10 };

async function hold(holdMs: number, begin: () => void, undo: () => void | Promise<void>): Promise<void> {
  try {
    begin();
    await pause(holdMs);
  } finally {
    await undo();
  }
}

function interfaceDown(targets: readonly string[]): void {
  const [pod = "", name = ""] = targets[0]?.split("/") ?? [];
  setLinkIn(podNetns(pod), name, false);
}

function signalAll(stage: Stage, targets: readonly string[], signal: NodeJS.Signals): void {
  for (const name of targets) stage.process(name).kill(signal);
}

async function nodeDown(stage: Stage, targets: readonly string[], holdMs: number): Promise<void> {
  const node = stage.mesh.state.nodes.find(({ name }) => name === targets[0]);
  const pods = stage.topology.endpoints.filter((endpoint) => endpoint.node === node?.name).map(({ pod }) => pod);
  if (node === undefined) return;
  const components = [node.nsmgr.name, node.forwarder.name].map((name) => stage.process(name));
  setLinkIn(node.netns, nodeLink, false);
  await Promise.all([...components.map((one) => one.hold()), ...pods.map((pod) => stage.removePod(pod, { kill: true }))]);
  await pause(holdMs);
  setLinkIn(node.netns, nodeLink, true);
  for (const one of components) one.resume();
  for (const pod of pods) stage.addEndpoint(pod);
}

function setClocks(stage: Stage, targets: readonly string[], offsetMs: number): void {
  for (const name of targets) stage.setClock(name, offsetMs);
}

async function slow(stage: Stage, targets: readonly string[], holdMs: number): Promise<void> {
  const endMs = performance.now() + holdMs;
  try {
    while (performance.now() < endMs) {
      signalAll(stage, targets, "SIGSTOP");
      await pause(slowMs.stopped);
      signalAll(stage, targets, "SIGCONT");
      await pause(slowMs.running);
    }
  } finally {
    signalAll(stage, targets, "SIGCONT");
  }
}

async function fillDisk(stage: Stage, targets: readonly string[], holdMs: number): Promise<void> {
  const filler = join(stateFolder, "filler");
  const fd = openSync(filler, "w");
  try {
    for (const size of [1 << 20, 4096]) {
      try {
        for (;;) writeSync(fd, Buffer.alloc(size));
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOSPC") throw error;
      }
    }
    await strike(stage, targets, "SIGKILL");
    await pause(holdMs);
  } finally {
    closeSync(fd);
    rmSync(filler, { force: true });
  }
}

function nodeNetns(stage: Stage, targets: readonly string[]): string {
  return stage.mesh.state.nodes.find(({ name }) => name === targets[0])?.netns ?? "";
}

function setLinkIn(netns: string, name: string, up: boolean): void {
  const handle = openNetns(netns);
  const socket = openNetlinkSocket(handle);
  try {
    const link = getLink(socket, name);
    if (link !== undefined) socket.perform([setLink(link.index, { up })]);
  } finally {
    socket.close();
    handle.close();
  }
}
