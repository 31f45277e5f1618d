/** Leases, entries of the registry, and old incarnations: what must be so once nothing has happened for a while. */
import { readdirSync } from "node:fs";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { formatAddress } from "../../sdk/ip.js";
import { timestampMs } from "../../sdk/timestamp.js";
import type { Domain } from "./domain.js";
import { addressesIn } from "./invariants.js";
import { holdersOfNumbers } from "./model-vni.js";
import type { Network } from "./network.js";
import { ipamOf } from "./observe-ipam.js";
import { nsmgrUrl, type SimEndpoint, service } from "./part.js";
import type { World } from "./world.js";

/** An endpoint holds the addresses of the connections that live, and no others; also on its disk. */
export function wrongLeases(domain: Domain): string[] {
  return domain.endpoints.flatMap((endpoint) => {
    const { name, process, stateDir, gone } = endpoint;
    if (gone || process === undefined || endpoint.ended) return [];
    // one that died after it was replaced, with its node, is never started again: its disk went with its pod
    if (endpoint.replaced && !process.alive) return [];
    const used = usedOf(domain, endpoint);
    const leases = new Map<string, string>();
    for (const [id, pairs] of ipamOf(process)?.leases() ?? [])
      leases.set(id, pairs.map(({ src }) => `${formatAddress(src)}/32`).join(","));
    const wrong: string[] = [];
    for (const [id, addresses] of leases) {
      if (used.get(id) === undefined) wrong.push(`${name} holds ${addresses} for ${id}, which no client uses`);
      else if (used.get(id) !== addresses) wrong.push(`${name} holds ${addresses} for ${id}, its client has ${used.get(id)}`);
    }
    for (const [id, addresses] of used)
      if (!leases.has(id)) wrong.push(`${name} does not hold ${addresses} of ${id}, which is in use`);
    const kept = readdirSync(stateDir).length;
    if (kept !== used.size) wrong.push(`${name} keeps ${kept} connections on its disk, ${used.size} are in use`);
    return wrong;
  });
}

/** The addresses of the clients of an endpoint, by the id of their connection there. */
function usedOf(domain: Domain, { name, replaced }: SimEndpoint): Map<string, string> {
  const used = new Map<string, string>();
  if (replaced) return used;
  for (const { connection, gone } of domain.clients) {
    const last = connection?.connection.path?.path_segments.at(-1);
    if (gone || connection === undefined || last?.name !== name) continue;
    used.set(last.id, addressesIn(connection.connection));
  }
  return used;
}

/** Without clients nobody holds the number of a tunnel. */
export function heldNumbers(domain: Domain): string[] {
  return domain.forwarders.flatMap(({ name, process }) =>
    holdersOfNumbers(process).map((id) => `${name} holds a VNI for ${id}, which no client uses`),
  );
}

/** The registry has what lives, each under the address of its node's manager, and nothing else. */
export function wrongEntries(domain: Domain, world: World): string[] {
  const living = new Map(
    [...domain.endpoints.filter(({ gone, replaced }) => !gone && !replaced), ...domain.forwarders].map(({ name, node }) => [
      name,
      urlOf(node),
    ]),
  );
  const wrong: string[] = [];
  const entries = domain.registry.snapshot();
  const nowMs = world.nowMs() + (domain.registry.process?.clockOffsetMs ?? 0);
  for (const { name, url, expiration_time } of entries.endpoints) {
    if (!living.has(name)) wrong.push(`the registry has ${name}, which does not live`);
    else if (living.get(name) !== url) wrong.push(`the registry has ${name} at ${url}, it lives at ${living.get(name)}`);
    if (expiration_time === undefined || timestampMs(expiration_time) <= nowMs)
      wrong.push(`the registry has ${name}, whose lease has ended`);
    living.delete(name);
  }
  for (const name of living.keys()) wrong.push(`the registry does not have ${name}, which lives`);
  if (!entries.services.some(({ name }) => name === service)) wrong.push("the registry does not have the service");
  return wrong;
}

function urlOf(node: string): string {
  return `tcp://10.0.0.${node.slice("node-".length)}:5001`;
}

/** Whoever was replaced has ended by itself, or holds nothing. */
export function unfenced(domain: Domain): string[] {
  const wrong: string[] = [];
  for (const { name, replaced, gone, ended, process, netnsUrl } of domain.endpoints) {
    if (!replaced || gone) continue;
    if (process?.alive && !ended) wrong.push(`the former ${name} has not ended`);
    for (const client of domain.clients)
      if (!client.gone && domain.alive(client) === netnsUrl) wrong.push(`packets of ${client.name} go to the former ${name}`);
  }
  for (const { name, former } of domain.clients)
    for (const { over, process } of former) if (process.alive && !over) wrong.push(`the former process of ${name} goes on`);
  return wrong;
}

/** After a move the interface has its own name again. */
export function wrongNames(domain: Domain): string[] {
  const names = new Map<string, string[]>();
  for (const { client } of domain.paths())
    names.set(client.netnsUrl, [...(names.get(client.netnsUrl) ?? []), client.interfaceName]);
  return domain.clients.flatMap(({ name, gone, netnsUrl, interfaceName }) => {
    const found = names.get(netnsUrl) ?? [];
    return gone || (found.length === 1 && found[0] === interfaceName) ? [] : [`${name} has the interfaces [${found}]`];
  });
}

/** Every manager finds the endpoints that live: its own under their real addresses, others under those of their managers. */
export async function wrongLookUps(domain: Domain, world: World, network: Network): Promise<string[]> {
  const wrong: string[] = [];
  const living = domain.endpoints.filter(({ gone, replaced }) => !gone && !replaced);
  for (const { name, node } of domain.nsmgrs) {
    const asker = world.start("asker", node);
    const registry = network.transportOf(asker).createDialer({ dialTimeoutMs: 750 }).endpointRegistry(nsmgrUrl(node));
    const query = NetworkServiceEndpoint.fromPartial({ network_service_names: [service] });
    const found: string[] = [];
    try {
      const signal = AbortSignal.timeout(5_000);
      for await (const { entry } of registry.find(query, { watch: false, signal })) found.push(`${entry.name} ${entry.url}`);
    } catch (error) {
      wrong.push(`${name} cannot look up the service: ${error}`);
      continue;
    }
    const expected = living.map((one) => `${one.name} ${one.node === node ? one.serving?.url : urlOf(one.node)}`);
    const differs = found.sort().join("; ") !== expected.sort().join("; ");
    if (differs) wrong.push(`${name} finds [${found.join("; ")}], there are [${expected.join("; ")}]`);
    world.kill(asker);
  }
  return wrong;
}
