/** What must hold whatever fails: at every change of a kernel, and again when everything is quiet. */
import type { Connection } from "../../sdk/gen/connection.js";
import { State } from "../../sdk/gen/connection.js";
import type { Domain } from "./domain.js";
import { portsOf } from "./kernel.js";
import type { SimClient } from "./part.js";

/** What is wrong just now between the clients, as packets would see it. */
export function brokenNow(domain: Domain): string[] {
  const owners = new Map<string, string>();
  const wrong: string[] = [];
  for (const client of domain.clients) {
    if (domain.alive(client) === undefined) continue;
    for (const address of addressesOf(domain, client)) {
      const other = owners.get(address);
      if (other !== undefined) wrong.push(`address ${address} is that of ${other} and of ${client.name}`);
      owners.set(address, client.name);
    }
  }
  for (const kernel of domain.kernels.all) {
    const vnis = new Map<number, string>();
    for (const [id, { built }] of kernel.held) {
      for (const port of built === undefined ? [] : portsOf(built)) {
        if (port.kind !== "vxlan") continue;
        const other = vnis.get(port.vni);
        if (other !== undefined) wrong.push(`VNI ${port.vni} on ${kernel.node} is that of ${other} and of ${id}`);
        vnis.set(port.vni, id);
      }
    }
  }
  return wrong;
}

function addressesOf(domain: Domain, { netnsUrl }: SimClient): string[] {
  return domain.kernels.all.flatMap((kernel) =>
    [...kernel.held.values()].flatMap(({ built }) =>
      built?.client.kind === "kernel" && built.client.netnsUrl === netnsUrl ? [...built.client.addresses] : [],
    ),
  );
}

/** Clients that are not well: unconnected, in trouble, or without a data path. */
export function unhealed(domain: Domain): string[] {
  return domain.clients.flatMap((client) => {
    if (client.gone) return [];
    if (client.connection === undefined) return [`${client.name} is not connected`];
    const at = domain.alive(client);
    if (at === undefined) return [`${client.name} has no data path${client.troubled ? ", and knows" : ", and does not know"}`];
    const endpoint = domain.endpoints.find(({ netnsUrl }) => netnsUrl === at);
    const believed = client.connection.connection.network_service_endpoint_name;
    if (endpoint?.name !== believed) return [`${client.name} believes in ${believed}, its packets go to ${endpoint?.name}`];
    return client.troubled ? [`${client.name} is in trouble: ${JSON.stringify(client.changes.at(-1)?.kind)}`] : [];
  });
}

/** What the parts believe against what is so, once everything is quiet. */
export function unconverged(domain: Domain): string[] {
  const expected = new Map<string, number>();
  const count = (name: string): void => void expected.set(name, (expected.get(name) ?? 0) + 1);
  for (const { connection, gone } of domain.clients) {
    if (gone) continue;
    for (const { name } of connection?.connection.path?.path_segments.slice(1) ?? []) count(name);
  }
  const wrong: string[] = [];
  for (const { name, hub } of [...domain.nsmgrs, ...domain.forwarders]) {
    const shown = [...(hub?.connections() ?? [])];
    wrong.push(...difference(name, shown, expected.get(name) ?? 0));
  }
  for (const [index, { name }] of domain.forwarders.entries()) {
    const held = domain.kernels.all[index]?.held.size ?? 0;
    if (held !== (expected.get(name) ?? 0)) wrong.push(`${name} has ${held} cross-connects, ${expected.get(name) ?? 0} are used`);
  }
  for (const { name, serving } of domain.endpoints) {
    const served = [...(serving?.connections ?? [])].length;
    if (served !== (expected.get(name) ?? 0))
      wrong.push(`${name} serves ${served} connections, ${expected.get(name) ?? 0} are used`);
  }
  return wrong;
}

function difference(name: string, shown: readonly Connection[], expected: number): string[] {
  const down = shown.filter(({ state }) => state !== State.UP).length;
  return [
    ...(shown.length === expected ? [] : [`${name} shows ${shown.length} connections, ${expected} go through it`]),
    ...(down === 0 ? [] : [`${name} shows ${down} connections that are not up`]),
  ];
}
