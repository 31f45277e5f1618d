/** The measurement of path MTUs on a real node: echoes through the kernel, at a steady pace and when a link changes. */
import type { DataPlane } from "./dataplane/dataplane.js";
import { type FollowPathMtus, followPathMtus, type PathMtuOptions } from "./path-mtu.js";

/** How long an echo of another node may take. */
const pathTimeoutMs = 500;

/** Links change several times in a row: a new connection makes some. */
const linkCalmMs = 100;

/** Measures the paths of this node's tunnels through its kernel; undefined: that says nothing about them, or it is switched off. */
export async function followPaths(
  parts: Pick<PathMtuOptions, "hub" | "clock" | "log"> & { readonly dataPlane: DataPlane },
  intervalMs: number,
  signal: AbortSignal,
): Promise<FollowPathMtus | undefined> {
  // A path is measured through the kernel: not where tunnels do not pass it.
  const { name, tunnelAddress } = parts.dataPlane;
  if (intervalMs === 0 || name === "none" || tunnelAddress !== undefined) return undefined;
  const measure: PathMtuOptions["measure"] = async (path) => {
    const { measurePathMtu } = await import("../sdk/linux/path-mtu.js");
    return await measurePathMtu({ ...path, timeoutMs: pathTimeoutMs, signal });
  };
  const following = followPathMtus({ ...parts, measure, intervalMs });
  const { watchLinkChanges } = await import("../sdk/linux/netlink/link-changes.js");
  const links = watchLinkChanges(() => void following.linkChanged(), linkCalmMs);
  return {
    ...following,
    stop() {
      links.close();
      following.stop();
    },
  };
}
