/** A pod with a cluster's network and a connection to an endpoint, each with a name server; programs run in it with a resolv.conf of its own. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CleanUp } from "../../../sdk/testing/cleanup.js";
import { joinNetns, type TestNetns, temporaryNetns } from "../../../sdk/testing/netns.js";
import { temporaryFolder } from "../../../sdk/testing/test-server.js";
import { type AnswerBytes, type NameServer, startNameServer } from "./name-server.js";

export const clusterServer = "10.96.0.10";
export const clusterServer6 = "fd96::10";
export const meshServer = "172.16.1.1";

export interface TestPod {
  readonly netns: TestNetns;
  readonly cluster: NameServer;
  readonly cluster6: NameServer;
  readonly mesh: NameServer;
  /** Path of its resolv.conf. */
  readonly file: string;
  readonly resolvConf: () => string;
  /** Runs a program with the pod's network and resolv.conf; its output, whatever its exit code. */
  run(command: readonly string[], timeoutMs?: number): Promise<{ readonly out: string; readonly tookMs: number }>;
}

export const resolvConfText = `search default.svc.cluster.local svc.cluster.local cluster.local
nameserver ${clusterServer}
options ndots:5
`;

export async function startTestPod(t: CleanUp, cluster: AnswerBytes, mesh: AnswerBytes, text = resolvConfText): Promise<TestPod> {
  const netns = temporaryNetns(t, "dns-pod");
  const node = temporaryNetns(t, "dns-node");
  const endpoint = temporaryNetns(t, "dns-end");
  joinNetns(
    { netns, name: "eth0", addresses: ["10.96.0.2/24", "fd96::2/64"] },
    { netns: node, name: "eth0", addresses: [`${clusterServer}/24`, `${clusterServer6}/64`] },
  );
  joinNetns(
    { netns, name: "nsm-1", addresses: ["172.16.1.2/24"] },
    { netns: endpoint, name: "nsm-1", addresses: [`${meshServer}/24`] },
  );
  const file = join(temporaryFolder(t), "resolv.conf");
  writeFileSync(file, text);
  const [first, other] = [
    await startNameServer(t, node, clusterServer, cluster),
    await startNameServer(t, endpoint, meshServer, mesh),
  ];
  return {
    netns,
    file,
    cluster: first,
    cluster6: await startNameServer(t, node, clusterServer6, cluster),
    mesh: other,
    resolvConf: () => text,
    run(command, timeoutMs = 30_000) {
      const startedMs = performance.now();
      const script = `mount --bind "$1" /etc/resolv.conf && shift && exec "$@"`;
      const args = ["--mount", "sh", "-c", script, "sh", file, ...command];
      return new Promise((resolve) => {
        execFile(
          "nsenter",
          [`--net=/run/netns/${netns.name}`, "unshare", ...args],
          { timeout: timeoutMs },
          (_error, out, errors) => resolve({ out: `${out}${errors}`, tookMs: performance.now() - startedMs }),
        );
      });
    },
  };
}
