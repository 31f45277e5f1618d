/** What the link and the path that carry a node's tunnels leave for their packets. */
import type { MechanismType } from "../../sdk/api.js";
import type { DataPlane } from "../dataplane/dataplane.js";
import { pathTunnelMtuBytes, tunnelMtuBytes } from "../mtu.js";
import type { PathMtus } from "../path-mtu.js";

/** The underlay's MTU is asked of the kernel and hardly ever changes: a few seconds old is new enough. */
const rememberMs = 5_000;

export interface OwnTunnelMtu {
  /** The largest packet, in bytes, that fits into a tunnel from our address; to another one, if it is given. */
  of(remoteAddress?: string): Promise<number>;
  /** The largest that has been seen to pass to that address; undefined: none has. Where paths are not measured the link is believed. */
  proven(remoteAddress: string | undefined): Promise<number | undefined>;
}

export function ownTunnelMtu(
  type: MechanismType,
  tunnelAddress: string,
  dataPlane: Pick<DataPlane, "underlayMtuBytes">,
  pathMtus?: PathMtus,
): OwnTunnelMtu {
  let answer: Promise<number> | undefined;
  let askedMs = 0;
  const ofLink = (): Promise<number> => {
    const nowMs = performance.now();
    if (answer !== undefined && nowMs - askedMs < rememberMs) return answer;
    askedMs = nowMs;
    const asking = dataPlane.underlayMtuBytes(tunnelAddress);
    answer = asking;
    asking.catch(() => {
      if (answer === asking) answer = undefined;
    });
    return asking;
  };
  const overLink = async (): Promise<number> => tunnelMtuBytes(type, await ofLink(), tunnelAddress);
  // measured through the link as it was then: newer than what is remembered of that
  const over = ({ bytes, linkBytes }: { readonly bytes: number; readonly linkBytes: number }): number =>
    pathTunnelMtuBytes(type, bytes, linkBytes, tunnelAddress);
  return {
    async of(remoteAddress) {
      const path = remoteAddress === undefined ? undefined : pathMtus?.of(remoteAddress);
      return path === undefined ? await overLink() : over(path);
    },
    async proven(remoteAddress) {
      if (pathMtus === undefined) return await overLink();
      const path = remoteAddress === undefined ? undefined : pathMtus.of(remoteAddress);
      return path?.seen === true ? over(path) : undefined;
    },
  };
}
