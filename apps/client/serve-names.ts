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

/** @param netns  name or URL of the namespace; undefined: our own */
export function serveNames({ netns, log }: { readonly netns: string | undefined; readonly log: Log }): Names {
  const connections = new Set<ClientConnection>();
  const mayNot = missingCapabilities(["CAP_NET_ADMIN"]).length > 0;
  const path = resolvConfOf(netns);
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
