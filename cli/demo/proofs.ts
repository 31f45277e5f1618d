/** The proofs of the demo, each a function that looks at the world and says what it found; a refusal is thrown. */
import { setTimeout as pause } from "node:timers/promises";
import type { PodRequest } from "../mesh/control.js";
import { requireMesh } from "../mesh/state.js";
import { type ConnectionView, dataPath, describeWire } from "../view/connections.js";
import { factsOf } from "../view/inspect.js";
import { readLinks } from "../view/links.js";
import { sourcesOf } from "../view/sources.js";
import { describePing, ping, pingUntilAnswered } from "./ping.js";
import { answerTraffic, sendTraffic } from "./run-traffic.js";
import { bulkPort, deniedPort, denyingRule, permittedPort, pods } from "./scene.js";
import { bare, netnsOf, type Stage } from "./stage.js";

const echoes = 20;
const throughputMs = 2000;
const deniedTimeoutMs = 1500;
const healTimeoutMs = 30_000;

/** Thrown by a proof that failed; anything else thrown is a failure as well, with less to say. */
function refute(text: string): never {
  throw new Error(text);
}

/** Two nodes, each with its processes; asked of the processes themselves by the time this runs. */
export function meshIsUp(): string {
  const { nodes, registry } = requireMesh();
  const list = nodes.map((node) => `${node.name} ${node.address4} / ${node.address6}`).join(", ");
  return `registry ${registry.tcpUrl}; ${list}; each with its own nsmgr and forwarder process`;
}

/** The chain: both wires cross the nodes, both ends of each have the same MTU, addresses of both families are in place. */
export function chainIsBuilt(view: ConnectionView): string {
  const wires = dataPath(view);
  const tunnels = wires.filter(({ mechanism }) => mechanism?.type === "VXLAN");
  if (tunnels.length < 2) refute(`expected two VXLAN wires, the path is ${wires.map(describeWire).join("; ")}`);
  const vnis = tunnels.map(({ mechanism }) => mechanism?.parameters["vni"]);
  const client = linkOf(pods.client, view.clientAddresses);
  const responder = linkOf(pods.responder, view.endpointAddresses);
  if (client.mtuBytes !== responder.mtuBytes)
    refute(`MTU ${client.mtuBytes} at the client, ${responder.mtuBytes} at the responder`);
  if (!hasBothFamilies(view.clientAddresses)) refute(`not dual stack: ${view.clientAddresses.join(", ")}`);
  return (
    `${client.name} ${view.clientAddresses.join(" ")} → firewall → ${view.endpointAddresses.join(" ")}, ` +
    `VXLAN vni ${vnis.join(" and ")}, MTU ${client.mtuBytes} at both ends`
  );
}

/** The local connection: no tunnel, dual stack, packets. */
export async function localConnection(stage: Stage, view: ConnectionView): Promise<string> {
  const tunnels = dataPath(view).filter(({ mechanism }) => mechanism?.type === "VXLAN");
  if (tunnels.length > 0) refute("a connection inside one node goes through a tunnel");
  const link = linkOf(pods.localClient, view.clientAddresses);
  if (link.kind !== "veth") refute(`the local connection is a ${link.kind}, not a veth pair`);
  const v4 = await pingEnd(stage, pods.localClient, view.clientAddresses, view.endpointAddresses, 4);
  const v6 = await pingEnd(stage, pods.localClient, view.clientAddresses, view.endpointAddresses, 6);
  return `veth pair on ${pods.localClient.node}, MTU ${link.mtuBytes}; IPv4 ${v4}; IPv6 ${v6}`;
}

/** Echoes of one family from one end of a connection to the other; every one must be answered. */
export async function pingEnd(
  stage: Stage,
  from: PodRequest,
  own: readonly string[],
  far: readonly string[],
  family: 4 | 6,
): Promise<string> {
  const source = addressOf(own, family);
  const destination = addressOf(far, family);
  const { signal } = stage.context;
  const result = await ping({ netnsName: netnsOf(from), source, destination, count: echoes, signal });
  const text = `${source} → ${destination}: ${describePing(result)}`;
  return result.received === result.sent ? text : refute(text);
}

export async function permittedTcp(stage: Stage, view: ConnectionView): Promise<string> {
  const results = [];
  for (const family of [4, 6] as const) {
    const host = addressOf(view.endpointAddresses, family);
    const answer = await sendTraffic(
      netnsOf(pods.client),
      { mode: "probe", host, port: permittedPort, timeoutMs: 5000 },
      stage.context,
    );
    if (answer.kind !== "probed" || !answer.connected) refute(`port ${permittedPort} of ${host}: ${JSON.stringify(answer)}`);
    results.push(`${host} answered after ${answer.kind === "probed" ? answer.elapsedMs.toFixed(1) : "?"} ms`);
  }
  return `TCP port ${permittedPort}: ${results.join("; ")}`;
}

/** The port is open where the responder lives, and cannot be reached through the firewall, which counts the drops. */
export async function deniedTcp(stage: Stage, view: ConnectionView): Promise<string> {
  const host = addressOf(view.endpointAddresses, 4);
  const request = { mode: "probe" as const, host, port: deniedPort, timeoutMs: deniedTimeoutMs };
  const atHome = await sendTraffic(netnsOf(pods.responder), request, stage.context);
  if (atHome.kind !== "probed" || !atHome.connected) refute(`the responder itself does not listen on ${deniedPort}`);
  const answer = await sendTraffic(netnsOf(pods.client), request, stage.context);
  if (answer.kind !== "probed" || answer.connected) refute(`port ${deniedPort} can be reached through the firewall`);
  const drops = await firewallCounters(stage);
  return `TCP port ${deniedPort} is open at the responder; from the client: ${answer.kind === "probed" ? answer.detail : ""}${drops}`;
}

async function firewallCounters(stage: Stage): Promise<string> {
  const source = sourcesOf(requireMesh()).find(({ kind, name }) => kind === "pod" && name === pods.firewall.name);
  if (source === undefined) return "";
  try {
    const facts = await factsOf(stage.dialer, source, "", stage.context.signal);
    const denied = facts.filter(({ name, value }) => name.includes(denyingRule) && Number(value) > 0);
    return denied.map(({ value }) => `; the firewall's rule "${denyingRule}" has dropped ${value} packets`).join("");
  } catch {
    return "";
  }
}

/**
 * TCP from one pod for a while, measured where it arrives, and beside it what the underlay carried meanwhile: all of it
 * when the way leads over the other node, next to nothing when it does not.
 */
export async function throughput(
  stage: Stage,
  from: PodRequest,
  far: readonly string[],
  expect: "over the underlay" | "inside the node",
): Promise<string> {
  const host = addressOf(far, 4);
  const carriedBefore = underlayBytes(from.node);
  const answer = await sendTraffic(
    netnsOf(from),
    { mode: "send", host, port: bulkPort, durationMs: throughputMs },
    stage.context,
  );
  const carried = underlayBytes(from.node) - carriedBefore;
  if (answer.kind !== "sent" || answer.bytes === 0) refute("nothing arrived");
  const { bytes, elapsedMs } = answer as { bytes: number; elapsedMs: number };
  const gigabits = (bytes * 8) / elapsedMs / 1e6;
  if (gigabits < 0.01) refute(`only ${(gigabits * 1000).toFixed(1)} Mbit/s`);
  const underlay = `${from.node} sent ${megabytes(carried)} over the underlay`;
  if (expect === "over the underlay" && carried < bytes) refute(`${megabytes(bytes)} arrived, but ${underlay}`);
  if (expect === "inside the node" && carried > bytes / 10) refute(`the way should stay on the node, but ${underlay}`);
  return `${gigabits.toFixed(2)} Gbit/s, one TCP stream, ${megabytes(bytes)} in ${(elapsedMs / 1000).toFixed(1)} s; meanwhile ${underlay}`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 0)} MB`;
}

/** What a node has sent to the underlay so far. */
function underlayBytes(nodeName: string): number {
  const node = requireMesh().nodes.find(({ name }) => name === nodeName);
  const uplink = readLinks(node?.netns ?? "").find(({ name }) => name === "eth0");
  return Number(uplink?.statistics?.txBytes ?? 0n);
}

export function answering(stage: Stage, pod: PodRequest): Promise<{ stop(): Promise<void> }> {
  return answerTraffic(netnsOf(pod), [permittedPort, deniedPort, bulkPort], stage.context);
}

/** The responder's pod vanishes as if its node had cut the power; the stand-in takes over, the client's process goes on. */
export async function killedAndHealed(stage: Stage): Promise<{ view: ConnectionView; detail: string }> {
  const { signal } = stage.context;
  const killedAt = performance.now();
  await stage.remove(pods.responder, { kill: true });
  const view = await stage.connected(pods.client, { other: pods.responder.name, timeoutMs: healTimeoutMs });
  const destination = addressOf(view.endpointAddresses, 4);
  const answered = await pingUntilAnswered({ netnsName: netnsOf(pods.client), destination, timeoutMs: healTimeoutMs, signal });
  if (answered === undefined) refute(`connected to ${view.hops.at(-1)?.name}, but ${destination} does not answer`);
  const healedMs = performance.now() - killedAt;
  const v6 = await pingEnd(stage, pods.client, view.clientAddresses, view.endpointAddresses, 6);
  const detail = `${pods.responder.name} killed; ${(healedMs / 1000).toFixed(2)} s later ${view.hops.at(-1)?.name} answers at ${destination}; IPv6 ${v6}`;
  return { view, detail };
}

/** The clients say good-bye: every interface and tunnel of their connections is gone everywhere. */
export async function closedCleanly(stage: Stage): Promise<string> {
  await stage.remove(pods.client, { kill: false });
  await stage.remove(pods.localClient, { kill: false });
  const places = [pods.firewall, pods.standIn, pods.localResponder].map(netnsOf);
  const nodes = requireMesh().nodes;
  const left = (): string[] => [
    ...places.flatMap((netns) => readLinks(netns).map((link) => `${link.name} in ${netns}`)),
    ...nodes.flatMap(({ netns }) =>
      readLinks(netns)
        .filter(({ name }) => name !== "eth0")
        .map((link) => `${link.name} in ${netns}`),
    ),
  ];
  const deadline = performance.now() + 10_000;
  while (performance.now() < deadline && (left().length > 0 || (await stage.connections()).length > 0)) await pause(50);
  if (left().length > 0) refute(`left: ${left().join(", ")}`);
  const connections = await stage.connections();
  if (connections.length > 0) refute(`${connections.length} connections are still known`);
  return `no interface of a connection is left in ${places.length + nodes.length} namespaces, no component knows a connection`;
}

export function linkOf(pod: PodRequest, addresses: readonly string[]) {
  const found = readLinks(netnsOf(pod)).find((link) =>
    addresses.some((address) => link.addresses.some((held) => bare(held) === bare(address))),
  );
  return found ?? refute(`no interface of ${pod.name} has ${addresses.join(", ")}`);
}

function hasBothFamilies(addresses: readonly string[]): boolean {
  return addresses.some((address) => address.includes(":")) && addresses.some((address) => !address.includes(":"));
}

export function addressOf(addresses: readonly string[], family: 4 | 6): string {
  const found = addresses.find((address) => address.includes(":") === (family === 6));
  return found === undefined ? refute(`no IPv${family} address among ${addresses.join(", ")}`) : bare(found);
}
