/**
 * Two tunnels of one connection change places: from now on packets leave by the other one. Both receive all the time, so the
 * far end may do the same earlier or later, and nothing is lost whatever is on its way.
 *
 * The order: addresses on the new one too; each route beside the old, preferred; the old routes away; both names at once, in
 * one message to the kernel; addresses of the old one away. A local address stays local while one interface has it.
 */
import { AF_INET, AF_INET6 } from "../../../sdk/linux/libc.js";
import { deleteAddress, listAddresses } from "../../../sdk/linux/netlink/addresses.js";
import type { Link } from "../../../sdk/linux/netlink/links.js";
import { setLink } from "../../../sdk/linux/netlink/links.js";
import { addRoute, deleteRoute, listRoutes, type Route, weftProtocol } from "../../../sdk/linux/netlink/routes.js";
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { hasErrno } from "../../../sdk/linux/system-error.js";
import type { BuiltLink, Tun } from "./built.js";
import { configureLink, ipv6Metric } from "./configure.js";
import type { Place } from "./places.js";
import type { LinkPlan } from "./plan.js";
import { loosenReversePath } from "./reverse-path.js";
import { besideAlias } from "./tuns.js";

export interface Switch {
  /** Carries the packets until now. */
  readonly from: Link;
  /** Carries them afterwards. */
  readonly to: Link;
  readonly plan: LinkPlan;
  readonly wanted: BuiltLink;
  /** Whose interface `from` is: it gets the name of its device. */
  readonly aside: Tun | undefined;
}

const globalScope = 0;
/** Rotations until the metric of IPv6 routes begins anew. */
const metricSteps = 64;

/** @throws SystemError: whatever was done until then is undone by switching back, or done again by trying again */
export function switchTunnels(place: Place, { from, to, plan, wanted, aside }: Switch): void {
  const { socket } = place;
  for (const { name } of [from, to]) loosenReversePath(place, name);
  const onlyAddresses = { ...plan, alias: to.alias, routes: [], policies: [] };
  configureLink(place, to, onlyAddresses, { ...wanted, name: to.name, macAddress: to.macAddress }, "existing", []);
  for (const family of [AF_INET, AF_INET6] as const) {
    const there = listRoutes(socket, family, from.index).filter(({ protocol }) => protocol === weftProtocol);
    for (const route of there) moveRoute(socket, route, to.index);
  }
  const besideName = aside?.device ?? to.name;
  const temporary = besideName === to.name ? `${to.name}x` : besideName;
  socket.perform([
    setLink(from.index, { name: temporary, alias: besideAlias(besideName) }),
    setLink(to.index, { name: wanted.name, alias: plan.alias }),
  ]);
  const left = listAddresses(socket, from.index).filter(({ scope }) => scope === globalScope);
  socket.perform(left.map(({ prefix }) => deleteAddress(from.index, prefix)));
}

/** The same way through another interface, preferred before the old one goes. */
function moveRoute(socket: NetlinkSocket, route: Route, linkIndex: number): void {
  if (route.prefix.family === AF_INET) {
    socket.perform([{ ...addRoute({ ...route, linkIndex }, "before-others"), tolerate: ["EEXIST"] }, deleteRoute(route)]);
    return;
  }
  // IPv6 shares the traffic among equal metrics. At the end of the steps the new one stands behind until the old one goes.
  const first = route.metric > ipv6Metric - metricSteps ? route.metric - 1 : ipv6Metric;
  for (let metric = first; ; metric--) {
    const error = socket.attempt([addRoute({ ...route, linkIndex, metric }, "exclusive")])[0]?.error;
    if (error === undefined) break;
    if (!hasErrno(error, "EEXIST") || metric <= 1) throw error;
  }
  socket.perform([deleteRoute(route)]);
}
