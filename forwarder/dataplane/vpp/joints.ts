/**
 * Cross-connects inside VPP: two interfaces and what joins them. Everything is an "ensure": what VPP has already stays as it is,
 * so a refresh changes nothing, and a VPP that is new or has forgotten is given everything again.
 */

import { Code, isStatusError, statusError } from "../../../sdk/status.js";
import type { VppApi } from "../../vpp/client.js";
import type { CrossConnect } from "../dataplane.js";
import { isThere, makeInterface, removeInterface, setMtu, type VppInterface } from "./interfaces.js";
import type { Inventory } from "./inventory.js";
import { joinL3, partL3 } from "./l3.js";
import type { ReadyPort } from "./ports.js";
import type { Shape, Side } from "./shape.js";
import { sides } from "./shape.js";

/** What a cross-connect has in VPP. */
export interface Joint {
  readonly api: VppApi;
  readonly interfaces: Readonly<Record<Side, VppInterface>>;
  readonly shape: Exclude<Shape, "beneath">;
  readonly mtuBytes: number;
}

/**
 * @param before  what it has now; interfaces that it needs no longer are taken away first, since they may hold a socket, a VNI or a
 *   key that their successors need
 * @throws a status; what `before` says may then be incomplete: the caller joins the old cross-connect again
 */
export async function join(
  api: VppApi,
  crossConnect: CrossConnect,
  {
    shape,
    ready,
    stock,
  }: { readonly shape: Joint["shape"]; readonly ready: Readonly<Record<Side, ReadyPort>>; readonly stock: Inventory },
  before: Joint | undefined,
): Promise<Joint> {
  const { mtuBytes } = crossConnect;
  // Of another VPP: nothing of it is there.
  const live = before?.api === api ? before : undefined;
  const kept = await keep(api, ready, live);
  const stale = live === undefined ? [] : Object.values(live.interfaces).filter((each) => !kept.has(each.tag));
  for (const each of stale) await removeInterface(api, each);
  const made: VppInterface[] = [];
  try {
    const find = async (side: Side): Promise<VppInterface> => {
      const { tag, wanted } = ready[side];
      const stocked = stock.interfaces.get(tag);
      stock.interfaces.delete(tag);
      const known = kept.get(tag) ?? stocked;
      if (known !== undefined) {
        if (live?.mtuBytes !== mtuBytes) await setMtu(api, known.swIfIndex, mtuBytes);
        return known;
      }
      const fresh = await makeInterface(api, wanted, tag, mtuBytes);
      made.push(fresh);
      return fresh;
    };
    const settled = await Promise.allSettled(sides.map(find));
    for (const each of settled) if (each.status === "rejected") throw each.reason;
    const [client, endpoint] = settled.map((each) => (each as PromiseFulfilledResult<VppInterface>).value);
    if (client === undefined || endpoint === undefined) throw new Error("a joint has two sides");
    const interfaces = { client, endpoint };
    const isSame = live?.shape === shape && made.length === 0 && stale.length === 0;
    if (!isSame) await tie(api, shape, interfaces, ready, live, stock);
    return { api, interfaces, shape, mtuBytes };
  } catch (error) {
    for (const each of made) await removeInterface(api, each).catch(() => {});
    throw refusalOf(error, crossConnect);
  }
}

/** Those of before that are wanted and still there. */
async function keep(
  api: VppApi,
  ready: Readonly<Record<Side, ReadyPort>>,
  live: Joint | undefined,
): Promise<Map<string, VppInterface>> {
  const kept = new Map<string, VppInterface>();
  if (live === undefined) return kept;
  const tags = new Set(sides.map((side) => ready[side].tag));
  const candidates = Object.values(live.interfaces).filter(({ tag }) => tags.has(tag));
  const there = await Promise.all(candidates.map((each) => isThere(api, each)));
  candidates.forEach((each, index) => {
    if (there[index] === true) kept.set(each.tag, each);
  });
  return kept;
}

async function tie(
  api: VppApi,
  shape: Joint["shape"],
  interfaces: Joint["interfaces"],
  ready: Readonly<Record<Side, ReadyPort>>,
  live: Joint | undefined,
  stock: Inventory,
): Promise<void> {
  const { client, endpoint } = interfaces;
  if (live !== undefined && live.shape !== shape) await untie(api, live);
  if (shape === "l3") return await joinL3(api, interfaces, ready);
  const ways = [
    [client.swIfIndex, endpoint.swIfIndex],
    [endpoint.swIfIndex, client.swIfIndex],
  ] as const;
  const missing = ways.filter(([rx, tx]) => stock.crossConnects.get(rx) !== tx);
  await Promise.all(
    missing.map(([rx, tx]) => api.call("sw_interface_set_l2_xconnect", { rx_sw_if_index: rx, tx_sw_if_index: tx, enable: true })),
  );
}

/** Takes away what joins the two; the interfaces stay. */
async function untie(api: VppApi, { shape, interfaces }: Joint): Promise<void> {
  const { client, endpoint } = interfaces;
  if (shape === "l3") return await partL3(api, interfaces);
  await Promise.allSettled(
    [client, endpoint].map(({ swIfIndex: index }) =>
      api.call("sw_interface_set_l2_xconnect", { rx_sw_if_index: index, tx_sw_if_index: index, enable: false }),
    ),
  );
}

/** Takes away everything that it has; what is gone already is fine. */
export async function part(api: VppApi, joint: Joint): Promise<void> {
  if (joint.api !== api) return;
  await untie(api, joint).catch(() => {});
  await Promise.all(Object.values(joint.interfaces).map((each) => removeInterface(api, each)));
}

/** A refusal of VPP's as the caller knows it from other data planes. */
function refusalOf(error: unknown, { id, client, endpoint }: CrossConnect): unknown {
  const tunnel = [client, endpoint].find((port) => port.kind === "vxlan");
  const retval = error instanceof Error ? (error as { retval?: unknown }).retval : undefined;
  if (tunnel?.kind === "vxlan" && retval === -75) return vniTaken(tunnel.vni, tunnel.udpPort);
  if (!isStatusError(error)) return error;
  return statusError(error.code, `cross-connect ${id}: ${error.details}`, error);
}

export function vniTaken(vni: number, udpPort: number): Error {
  return statusError(
    Code.ALREADY_EXISTS,
    `create vxlan vni=${vni} port=${udpPort}: EEXIST: the VNI is in use on this node; choose another`,
  );
}
