/** The names of endpoints in the namespace of this workload, as its connections come, change and go. */
import { existsSync } from "node:fs";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { missingCapabilities } from "../../sdk/linux/process-capabilities.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { servePodDns } from "../dns/pod-dns.js";
import { readResolvConf } from "../dns/resolv-conf.js";
import { dnsSourcesOf } from "../dns/sources.js";

export interface Names {
  follow(connection: ClientConnection): void;
  stop(): Promise<void>;
}

export function serveNames(options: {
  /** Name or URL of the namespace; undefined: our own. */
  readonly netns?: string | undefined;
  /** Path; empty: see resolvConfOf. */
  readonly resolvConf: string;
  readonly log: Log;
}): Names {
  const { netns, log } = options;
  const connections = new Set<ClientConnection>();
  const mayNot = missingCapabilities(["CAP_NET_ADMIN"]).length > 0;
  const path = options.resolvConf || resolvConfOf(netns);
  const dns = mayNot ? undefined : servePodDns({ netnsUrl: netns, resolvConf: () => readResolvConf(path, true), log });
  let told = false;
  const update = (): void => {
    const sources = dnsSourcesOf([...connections].map(({ connection }) => connection));
    dns?.set(sources);
    if (!mayNot || told || sources.length === 0) return;
    told = true;
    log.info("names of endpoints are left to the node's agent: without CAP_NET_ADMIN this process cannot resolve them here");
  };
  return {
    follow(connection) {
      connections.add(connection);
      update();
      void (async () => {
        for await (const _change of connection.changes) update();
        connections.delete(connection);
        update();
      })();
    },
    stop: async () => await dns?.stop(),
  };
}

/** ip-netns(8): a namespace with a name may have files of its own. */
function resolvConfOf(netns: string | undefined): string {
  const own = `/etc/netns/${netns?.replace(/^.*\//, "")}/resolv.conf`;
  return netns !== undefined && existsSync(own) ? own : "/etc/resolv.conf";
}
