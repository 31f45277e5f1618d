/** Names of a cluster and of an endpoint, and a pod in which both are to resolve. */
import { DNSConfig } from "../../../sdk/gen/connectioncontext.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { type CleanUp, cleanUp } from "../../../sdk/testing/cleanup.js";
import { servePodDns } from "../pod-dns.js";
import type { DnsSource } from "../zones.js";
import { type AnswerBytes, knowing } from "./name-server.js";
import { meshServer, startTestPod, type TestPod } from "./place.js";

export const clusterNames = { "web.default.svc.cluster.local": ["10.96.1.1"], "elsewhere.example": ["192.0.2.7"] };
export const meshNames = { "printer.office.example": ["172.16.1.9"], "9.1.16.172.in-addr.arpa": ["printer.office.example"] };
export const source = sourceOf([meshServer], ["office.example"]);

export function sourceOf(servers: string[], domains: string[]): DnsSource {
  const configs = [DNSConfig.fromPartial({ dns_server_ips: servers, search_domains: domains })];
  return { configs, prefixes: ["172.16.1.0/24"] };
}

/** A pod whose names are served in this process. */
export async function startNames(
  t: CleanUp,
  options: { mesh?: AnswerBytes; cluster?: AnswerBytes; text?: string; sources?: DnsSource[] } = {},
) {
  const clean = cleanUp(t);
  const pod = await startTestPod(
    clean,
    options.cluster ?? knowing(clusterNames),
    options.mesh ?? knowing(meshNames),
    options.text,
  );
  const dns = servePodDns({ netnsUrl: pod.netns.url, resolvConf: pod.resolvConf, log: silentLog });
  clean.after(() => dns.stop());
  dns.set(options.sources ?? [source]);
  await dns.settled();
  return { clean, pod, dns };
}

/** What glibc finds: addresses with spaces between. */
export const glibc = async (pod: TestPod, name: string): Promise<string> => {
  const { out } = await pod.run(["getent", "ahosts", name]);
  return [...new Set(out.split("\n").map((line) => line.split(" ")[0]))].filter((text) => text !== "").join(" ");
};
