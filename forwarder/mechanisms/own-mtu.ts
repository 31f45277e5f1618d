/** What the link that carries a node's tunnels leaves for their packets. */
import type { DataPlane } from "../dataplane/dataplane.js";
import { tunnelMtuBytes } from "../mtu.js";
import type { PathMtus } from "../path-mtu.js";

/** The underlay's MTU is asked of the kernel and hardly ever changes: a few seconds old is new enough. */
const rememberMs = 5_000;

/** Asks for the largest packet, in bytes, that fits into a tunnel of that type from that address; to another one, if it is given. */
export function ownTunnelMtu(
  type: string,
  tunnelAddress: string,
  dataPlane: Pick<DataPlane, "underlayMtuBytes">,
  pathMtus?: PathMtus,
): (remoteAddress?: string) => Promise<number> {
  let answer: Promise<number> | undefined;
  let askedMs = 0;
  const ofLink = (): Promise<number> => {
    const nowMs = performance.now();
    if (answer !== undefined && nowMs - askedMs < rememberMs) return answer;
    askedMs = nowMs;
    const asking = dataPlane.underlayMtuBytes(tunnelAddress).then((bytes) => tunnelMtuBytes(type, bytes, tunnelAddress));
    answer = asking;
    asking.catch(() => {
      if (answer === asking) answer = undefined;
    });
    return asking;
  };
  return async (remoteAddress) => {
    const path = remoteAddress === undefined ? undefined : pathMtus?.of(remoteAddress);
    // measured through the link as it is: newer than what is remembered of that
    return path === undefined ? await ofLink() : tunnelMtuBytes(type, path, tunnelAddress);
  };
}
