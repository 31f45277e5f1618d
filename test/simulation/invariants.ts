/** What must hold whatever fails: at every change of a kernel and of a lease, and again when everything is quiet. */
import { decodeRecord } from "../../forwarder/connections.js";
import type { Connection } from "../../sdk/gen/connection.js";
import { State } from "../../sdk/gen/connection.js";
import type { Domain } from "./domain.js";
import { portsOf } from "./kernel.js";
import type { SimClient } from "./part.js";

/** What is wrong just now between the clients, as packets would see it. */
export function brokenNow(domain: Domain): string[] {
  const owners = new Map<string, string>();
  const wrong: string[] = [];
  for (const { client, end } of domain.paths()) {
    if (clientIn(domain, client.netnsUrl) === undefined) continue;
    // each endpoint has its own pool, and another incarnation of it the same one
    for (const address of client.addresses.map((one) => `${one} at ${end.netnsUrl}`)) {
      const other = owners.get(address) ?? client.netnsUrl;
      if (other !== client.netnsUrl) wrong.push(`address ${address} is that of ${other} and of ${client.netnsUrl}`);
      owners.set(address, client.netnsUrl);
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

function clientIn(domain: Domain, netnsUrl: string): SimClient | undefined {
  return domain.clients.find((client) => client.netnsUrl === netnsUrl && !client.gone);
}

/** The client whose packets still go to that pod over a connection that has this id at its endpoint. */
export function userOf(domain: Domain, idAtEndpoint: string, pod: string): SimClient | undefined {
  for (const { client, end, built } of domain.paths()) {
    const last = decodeRecord(built)?.answered.path?.path_segments.at(-1);
    if (last?.id === idAtEndpoint && end.netnsUrl === pod) return clientIn(domain, client.netnsUrl);
  }
  return undefined;
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
  /** By name of the part and id of the connection there: the client's addresses. */
  const expected = new Map<string, Map<string, string>>();
  for (const { connection, gone } of domain.clients) {
    if (gone || connection === undefined) continue;
    const addresses = addressesIn(connection.connection);
    for (const { name, id } of connection.connection.path?.path_segments.slice(1) ?? []) {
      const ids = expected.get(name) ?? new Map<string, string>();
      expected.set(name, ids.set(id, addresses));
    }
  }
  const wrong: string[] = [];
  for (const { name, hub } of [...domain.nsmgrs, ...domain.forwarders])
    wrong.push(...difference(`${name} shows`, [...(hub?.connections() ?? [])], expected.get(name)));
  for (const { name, node } of domain.forwarders) {
    const kernel = domain.kernels.all.find((one) => one.node === node);
    const held = new Map([...(kernel?.held ?? [])].map(([id]) => [id, ""]));
    wrong.push(...onlyIn(`${name} has cross-connect`, held, expected.get(name) ?? new Map()));
  }
  for (const { name, serving, gone, replaced } of domain.endpoints) {
    if (gone || replaced) continue;
    const served = [...(serving?.connections ?? [])].map(({ connection }) => connection);
    wrong.push(...difference(`${name} serves`, served, expected.get(name)));
  }
  return wrong;
}

export function addressesIn({ context }: Connection): string {
  return (context?.ip_context?.src_ip_addrs ?? []).join(",");
}

function difference(what: string, shown: readonly Connection[], expected: ReadonlyMap<string, string> = new Map()): string[] {
  const found = new Map(shown.map((connection) => [connection.id, addressesIn(connection)]));
  return [
    ...onlyIn(what, found, expected),
    ...onlyIn(`nobody through whom it goes: ${what} not`, expected, found),
    ...[...found].flatMap(([id, addresses]) =>
      expected.has(id) && expected.get(id) !== addresses
        ? [`${what} ${id} with ${addresses}, its client has ${expected.get(id)}`]
        : [],
    ),
    ...shown.flatMap(({ id, state }) => (state === State.UP ? [] : [`${what} ${id}, and it is not up`])),
  ];
}

export function onlyIn(what: string, some: ReadonlyMap<string, unknown>, others: ReadonlyMap<string, unknown>): string[] {
  return [...some.keys()].filter((id) => !others.has(id)).map((id) => `${what} ${id}, which no client uses`);
}
