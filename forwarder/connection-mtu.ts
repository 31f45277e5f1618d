/**
 * The MTU of one connection at a forwarder: what is asked of the next hop, and what is agreed. A connection that lives gets
 * smaller at once, and larger only by what has been seen to pass.
 */
import type { Connection, Mechanism } from "../sdk/gen/connection.js";
import { Code, statusError } from "../sdk/status.js";
import type { HeldConnection } from "./connections.js";
import type { MechanismKind } from "./mechanisms/mechanism.js";
import { defaultMtuBytes, grownMtuBytes, lowestMtuBytes, maxMtuBytes, minIpv6MtuBytes, minMtuBytes, withMtu } from "./mtu.js";

/** How a side of the connection is reached. */
export interface Side {
  readonly kind: Pick<MechanismKind, "mtuBytes" | "provenMtuBytes">;
  readonly mechanism: Mechanism;
}

/**
 * A refresh repeats what was answered. An MTU that is repeated says nothing: what was wished for before stays in force, so that
 * the connection may grow again.
 */
export function withWishedMtu(connection: Connection, held: HeldConnection | undefined): Connection {
  const { answered, wishedMtuBytes } = held ?? {};
  if (wishedMtuBytes === undefined || connection.context?.MTU !== answered?.context?.MTU) return connection;
  return { ...connection, context: withMtu(connection.context, wishedMtuBytes) };
}

/** What the next hop is told, in bytes: the least of the wish and of what is known of the sides by now; 0: nothing restricts it. */
export async function onwardMtuBytes(
  connection: Connection,
  sides: readonly Side[],
  before: HeldConnection | undefined,
): Promise<number> {
  const lowest = lowestMtuBytes(connection.context?.MTU, ...(await limitsOf(connection, sides))) ?? 0;
  return grown(connection, lowest, sides, before);
}

/**
 * The least that the context, both mechanisms and this node allow, in bytes.
 * @throws FAILED_PRECONDITION it is too little for a link: the kernel would take its IPv6 addresses away without a word
 */
export async function agreedMtuBytes(
  connection: Connection,
  answer: Connection,
  sides: readonly Side[],
  before: HeldConnection | undefined,
): Promise<number> {
  const limits = await limitsOf(connection, sides);
  const lowest = lowestMtuBytes(connection.context?.MTU, answer.context?.MTU, ...limits) ?? defaultMtuBytes;
  const mtuBytes = await grown(connection, Math.min(lowest, maxMtuBytes), sides, before);
  if (mtuBytes < minIpv6MtuBytes && hasIpv6(answer)) {
    throw statusError(
      Code.FAILED_PRECONDITION,
      `connection ${connection.id} has IPv6 addresses, which need a link of ${minIpv6MtuBytes} bytes, and it would have ${mtuBytes}; ` +
        "raise the MTU of the link between the nodes, or what context.MTU asks for, or give the connection IPv4 addresses alone",
    );
  }
  if (mtuBytes >= minMtuBytes) return mtuBytes;
  throw statusError(
    Code.FAILED_PRECONDITION,
    `connection ${connection.id} would have an MTU of ${mtuBytes} bytes, and a link needs ${minMtuBytes}; ` +
      "raise the MTU of the link between the nodes, or what context.MTU asks for",
  );
}

function hasIpv6({ context }: Connection): boolean {
  const { src_ip_addrs = [], dst_ip_addrs = [] } = context?.ip_context ?? {};
  return [...src_ip_addrs, ...dst_ip_addrs].some((address) => address.includes(":"));
}

function limitsOf(connection: Connection, sides: readonly Side[]): Promise<(number | undefined)[]> {
  return Promise.all(sides.map(({ kind, mechanism }) => kind.mtuBytes(connection, mechanism)));
}

async function grown(
  connection: Connection,
  wantedBytes: number,
  sides: readonly Side[],
  before: HeldConnection | undefined,
): Promise<number> {
  const beforeBytes = before?.answered.context?.MTU ?? 0;
  if (beforeBytes === 0 || wantedBytes <= beforeBytes) return wantedBytes;
  const proven = sides.map(({ kind, mechanism }) => kind.provenMtuBytes?.(connection, mechanism) ?? maxMtuBytes);
  return grownMtuBytes(beforeBytes, wantedBytes, await Promise.all(proven));
}
