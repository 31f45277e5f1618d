/**
 * The names of endpoints in one pod of this node, whoever makes its connections: its sidecar has no rights to (Pod Security
 * `restricted`), and mode `node` has none. Nothing is looked for in a pod whose connections bring no name servers.
 */

import type { Connection } from "../../sdk/gen/connection.js";
import { inodeUrl } from "../../sdk/linux/netns.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { type PodDns, servePodDns } from "../dns/pod-dns.js";
import { readResolvConf } from "../dns/resolv-conf.js";
import { dnsSourcesOf } from "../dns/sources.js";
import type { DnsSource } from "../dns/zones.js";
import type { PodFinder } from "./find-pod.js";

export interface PodNames {
  /** The connections that the pod has now. */
  update(connections: Iterable<Connection>): void;
  /** Takes everything out of its namespace. */
  stop(): Promise<void>;
}

export interface PodNamesOptions {
  readonly uid: string;
  readonly finder: PodFinder;
  readonly log: Log;
  /** The pod is older than this process: an earlier one may have left rules in it. */
  readonly sweep: boolean;
}

/** Its connections are adopted by then, so that rules which are still needed are not swept. Milliseconds. */
const sweepAfterMs = 15_000;
/** How often a pod with names is looked for: its sandbox may be made anew. */
const lookMs = 2_000;

export function servePodNames(options: PodNamesOptions): PodNames {
  const { uid, finder, log } = options;
  let sources: readonly DnsSource[] = [];
  let dns: { readonly inode: string; readonly served: PodDns } | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const ending = new Set<Promise<void>>();
  const sweeping = options.sweep ? setTimeout(() => align(true), sweepAfterMs) : undefined;

  function align(sweep: boolean): void {
    clearTimeout(timer);
    if (stopped) return;
    const wanted = sources.length > 0;
    if (wanted || (sweep && dns === undefined)) follow(sweep);
    dns?.served.set(sources);
    if (wanted) timer = setTimeout(() => align(false), lookMs);
  }

  /** `dns` is in the namespace that the pod has now. */
  function follow(sweep: boolean): void {
    const netns = finder.find(uid);
    const inode = netns === undefined ? undefined : `${netns.dev}/${netns.ino}`;
    if (inode === dns?.inode) return;
    if (dns !== undefined) end(dns.served);
    dns = undefined;
    if (netns === undefined || inode === undefined) return;
    dns = {
      inode,
      served: servePodDns({ netnsUrl: inodeUrl(netns), resolvConf: () => textOf(finder.processes(uid)), log, sweep }),
    };
  }

  function end(served: PodDns): void {
    const ended = served.stop().catch((error: unknown) => log.debug("a pod's DNS is gone with its namespace", { error }));
    ending.add(ended);
    void ended.finally(() => ending.delete(ended));
  }

  return {
    update(connections) {
      sources = dnsSourcesOf(connections);
      if (sources.length > 0 || dns !== undefined) align(false);
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      clearTimeout(sweeping);
      if (dns !== undefined) end(dns.served);
      dns = undefined;
      await Promise.all(ending);
    },
  };
}

/** All containers of a pod, the one that holds its namespaces too, have the file that the kubelet made. The oldest process first. */
function textOf(pids: readonly string[]): string | undefined {
  for (const pid of [...pids].sort((a, b) => Number(a) - Number(b))) {
    const text = readResolvConf(`/proc/${pid}/root/etc/resolv.conf`, false);
    if (text !== undefined && /^\s*nameserver\s/m.test(text)) return text;
  }
  return undefined;
}
