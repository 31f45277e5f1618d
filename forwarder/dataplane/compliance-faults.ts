/**
 * What others do to a pod's namespace, for the compliance suite: damage, foreign interfaces and routes; and how to see where packets go.
 */
import { writeFileSync } from "node:fs";
import { addAddress, deleteAddress, listAddresses } from "../../sdk/linux/netlink/addresses.js";
import { parseAddress, parsePrefix } from "../../sdk/linux/netlink/ip-address.js";
import { createVeth, deleteLink, getLink, setLink } from "../../sdk/linux/netlink/links.js";
import { randomMac } from "../../sdk/linux/netlink/mac-address.js";
import { addRoute, deleteRoute, listRoutes, lookUpRoute, mainTable, weftProtocol } from "../../sdk/linux/netlink/routes.js";
import { withNetns } from "../../sdk/linux/netns.js";
import { type Cleanup, families, type Namespace, namespace } from "./compliance-world.js";

/** Sets an interface down, takes its addresses and routes away and changes its MTU and alias. */
export function damage({ socket }: Namespace, name: string): void {
  const index = indexOf({ socket }, name);
  socket.perform(
    listAddresses(socket, index)
      .filter(({ scope }) => scope === 0)
      .map(({ prefix }) => deleteAddress(index, prefix)),
  );
  socket.perform(
    families
      .flatMap((family) => listRoutes(socket, family, index))
      .filter(({ protocol }) => protocol === weftProtocol)
      .map(deleteRoute),
  );
  socket.perform([setLink(index, { up: false, mtuBytes: 1290, alias: "damaged" })]);
}

export async function deleteByHand({ socket }: Namespace, name: string): Promise<void> {
  await socket.performOnThread([deleteLink(indexOf({ socket }, name))]);
}

/** As container runtimes do: interfaces made later have no IPv6. */
export function switchOffIpv6({ netns }: Namespace): void {
  withNetns(netns, () => writeFileSync("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"));
}

/** An interface that is not ours. */
export function foreignLink({ netns, socket }: Namespace, name: string): void {
  const end = { netns, macAddress: randomMac(), mtuBytes: 1500 };
  socket.perform([createVeth({ ...end, name }, { ...end, name: "foreign", macAddress: randomMac() })]);
}

/** Another way out of the pod, with default routes of both families; its name. */
export async function uplink(t: Cleanup, pod: Namespace): Promise<string> {
  const name = "uplink";
  const gateway = namespace(t, "gateway");
  const end = { name, macAddress: randomMac(), mtuBytes: 1500 };
  pod.socket.perform([createVeth({ ...end, netns: pod.netns }, { ...end, netns: gateway.netns, macAddress: randomMac() })]);
  gateway.socket.perform([setLink(indexOf(gateway, name), { up: true })]);
  const linkIndex = indexOf(pod, name);
  pod.socket.perform([
    setLink(linkIndex, { up: true }),
    addAddress(linkIndex, parsePrefix("192.168.7.2/24")),
    addAddress(linkIndex, parsePrefix("fd07::2/64")),
  ]);
  pod.socket.perform(
    [
      { prefix: "0.0.0.0/0", gateway: "192.168.7.1", metric: 0 },
      { prefix: "::/0", gateway: "fd07::1", metric: 1024 },
    ].map((route) =>
      addRoute(
        {
          prefix: parsePrefix(route.prefix),
          gateway: parseAddress(route.gateway),
          linkIndex,
          table: mainTable,
          protocol: 4,
          metric: route.metric,
        },
        "exclusive",
      ),
    ),
  );
  return name;
}

/** The interface through which a packet would leave. */
export function linkTowards(
  { socket }: Namespace,
  destination: string,
  packet: { protocol?: number; port?: number; source?: string } = {},
): string | undefined {
  const { protocol, port, source } = packet;
  const route = lookUpRoute(socket, {
    destination: parseAddress(destination),
    ...(source === undefined ? {} : { source: parseAddress(source) }),
    ...(protocol === undefined ? {} : { ipProtocol: protocol }),
    ...(port === undefined ? {} : { destinationPort: port }),
  });
  return route && getLink(socket, route.linkIndex)?.name;
}

function indexOf({ socket }: Pick<Namespace, "socket">, name: string): number {
  const link = getLink(socket, name);
  if (link === undefined) throw new Error(`no interface ${name}`);
  return link.index;
}
