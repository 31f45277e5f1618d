/**
 * Where the namespaces of a cross-connect are, whatever process they were named by. A path like /proc/PID/ns/net ends with its process,
 * while the pod and the rings of its other processes live on: the next forwarder, and the next keeper, must still find them.
 */
import { inodeUrl, openNetns } from "../../../sdk/linux/netns.js";
import type { CrossConnect, Port } from "../dataplane.js";
import { type Side, sides } from "./shape.js";

/** Inode URLs; empty: the side has no namespace, or none that could be opened. */
export type Whereabouts = Readonly<Record<Side, string>>;

export function whereaboutsOf({ client, endpoint }: Pick<CrossConnect, Side>): Whereabouts {
  return { client: placeOf(client), endpoint: placeOf(endpoint) };
}

/** The cross-connect with paths that lead where they led when it was made. */
export function located(crossConnect: CrossConnect, whereabouts: Whereabouts): CrossConnect {
  const moved = sides.filter((side) => whereabouts[side] !== "" && placeOf(crossConnect[side]) !== whereabouts[side]);
  if (moved.length === 0) return crossConnect;
  const ports = moved.map((side) => [side, { ...crossConnect[side], netnsUrl: whereabouts[side] }]);
  return { ...crossConnect, ...(Object.fromEntries(ports) as Partial<Pick<CrossConnect, Side>>) };
}

/** @returns what a ledger says, if it says it well */
export function readWhereabouts(value: unknown): Whereabouts {
  const known = typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  const text = (side: Side): string => (typeof known[side] === "string" ? known[side] : "");
  return { client: text("client"), endpoint: text("endpoint") };
}

function placeOf(port: Port): string {
  if (!("netnsUrl" in port) || port.netnsUrl === "") return "";
  try {
    const netns = openNetns(port.netnsUrl);
    netns.close();
    return inodeUrl(netns);
  } catch {
    return "";
  }
}
