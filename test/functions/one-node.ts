/** One node with a real data plane, and workloads around it in namespaces of their own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import type { CleanUp } from "../../sdk/testing/cleanup.js";
import type { TestNetns } from "../../sdk/testing/netns.js";
import { type Domain, startDomain } from "../../testing/start-domain.js";
import { type RunningWorkload, startWorkload, type WorkloadKind } from "./workloads.js";

export interface OneNode {
  readonly domain: Domain;
  /** For files of the test; goes with it. */
  readonly folder: string;
  /** The environment by which a workload finds the node. */
  readonly common: Readonly<Record<string, string>>;
  /** Starts a workload in that namespace and waits until it is ready. */
  start(kind: WorkloadKind, name: string, netns: TestNetns, env: Readonly<Record<string, string>>): Promise<RunningWorkload>;
}

export async function startOneNode(t: CleanUp): Promise<OneNode> {
  const folder = mkdtempSync(join(tmpdir(), "wt-fn-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const domain = await startDomain({ dataplane: "kernel" });
  t.after(() => domain.stop());
  const common = { NSM_CONNECT_TO: domain.nodes[0].url, WEFT_INSECURE: "true", NSM_LOG_LEVEL: "error" };
  return {
    domain,
    folder,
    common,
    start: (kind, name, netns, env) =>
      startWorkload(t, kind, {
        url: `unix://${folder}/${name}.sock`,
        dialer: domain.dialer,
        env: { ...common, NSM_NAME: name, WEFT_NETNS: netns.url, WEFT_STATE_DIR: join(folder, name), ...env },
      }),
  };
}

/** One ping; whether it was answered within a second. */
export async function pings(netns: TestNetns, source: string, destination: string): Promise<boolean> {
  const { signal } = new AbortController();
  return (await icmpEcho({ netnsUrl: netns.url, source, destination, timeoutMs: 1_000, signal })) !== undefined;
}

/** Names of the interfaces of a namespace besides lo. */
export function interfaces(netns: TestNetns): string[] {
  const socket = openNetlinkSocket(netns);
  const names = listLinks(socket).map(({ name }) => name);
  socket.close();
  return names.filter((name) => name !== "lo").sort();
}
