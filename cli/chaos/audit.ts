/** What is left when every client has gone: nothing that belonged to a connection may be there. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { openNetns } from "../../sdk/linux/netns.js";
import { podNetns } from "../mesh/plan.js";
import { stateFolder } from "./place.js";
import type { Stage } from "./stage.js";
import { needsCore } from "./topology.js";

/** Interfaces that a node and a pod have without any connection. */
const ownLinks = new Set(["lo", "eth0"]);
const patienceMs = 10_000;

/**
 * Removes the clients and waits for their connections to go.
 * @returns one line for each thing that stays
 */
export async function auditAfterClients(stage: Stage): Promise<string[]> {
  for (const { pod } of stage.topology.clients) await stage.removePod(pod, { kill: false });
  const endMs = performance.now() + patienceMs;
  for (;;) {
    const orphans = await findOrphans(stage);
    if (orphans.length === 0 || performance.now() > endMs) return orphans;
    await pause(200);
  }
}

async function findOrphans(stage: Stage): Promise<string[]> {
  const { mesh, topology, dialer, signal } = stage;
  const limit = AbortSignal.any([signal, AbortSignal.timeout(5_000)]);
  const places = [
    ...mesh.state.nodes.map(({ name, netns }) => ({ name, netns })),
    ...topology.endpoints.map(({ pod }) => ({ name: pod, netns: podNetns(pod) })),
  ];
  const links = places.flatMap(({ name, netns }) =>
    linksIn(netns)
      .filter((link) => !ownLinks.has(link))
      .map((link) => `interface ${link} in ${name}`),
  );
  const reports = await Promise.all(
    mesh.state.nodes.map(async ({ forwarder }) => {
      const { facts } = await dialer.inspect(forwarder.socketUrl).getReport({ section: "objects" }, { signal: limit });
      return facts.map(({ name, connection_id }) => `${forwarder.name} keeps ${name} of ${connection_id}`);
    }),
  );
  return [...links, ...reports.flat(), ...tunnelProcesses(), ...(await inPacketCores(stage))];
}

/** Where nothing has memif there is no core. */
async function inPacketCores({ mesh, topology }: Stage): Promise<string[]> {
  if (!needsCore(topology)) return [];
  const { fastAuditor } = await import("../../forwarder/audit/fast-auditor.js");
  const auditor = fastAuditor(mesh.state.nodes.map(({ name }) => join(stateFolder, name, "forwarder")));
  return (await auditor.seen()).map(({ kind, name, owner }) => `${kind} ${name}, ${owner}`);
}

function linksIn(netns: string): string[] {
  const handle = openNetns(netns);
  const socket = openNetlinkSocket(handle);
  try {
    return listLinks(socket).map(({ name }) => name);
  } finally {
    socket.close();
    handle.close();
  }
}

/** wireguard-go processes of this place: every one belongs to a connection. */
function tunnelProcesses(): string[] {
  const own = readlinkSync("/proc/self/ns/pid");
  return readdirSync("/proc").flatMap((entry) => {
    try {
      if (!/^\d+$/.test(entry) || readlinkSync(`/proc/${entry}/ns/pid`) !== own) return [];
      const name = readFileSync(`/proc/${entry}/comm`, "utf8").trim();
      const dead = readFileSync(`/proc/${entry}/stat`, "utf8").includes(") Z ");
      return name === "wireguard-go" && !dead ? [`process ${entry} ${name}`] : [];
    } catch {
      return []; // it has ended meanwhile
    }
  });
}
