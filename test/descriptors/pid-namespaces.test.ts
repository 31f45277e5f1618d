/** A node as in a cluster without hostPID: nobody sees another's processes, so only descriptors lead to namespaces and sockets. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import type { NetnsHandle } from "../../sdk/linux/netns.js";
import { type CleanUp, cleanUp } from "../../sdk/testing/cleanup.js";
import { until } from "../../sdk/testing/until.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import { namelessNetns, type Pod, startPod } from "./pods.js";

interface Node {
  readonly folder: string;
  readonly dialer: Dialer;
  readonly nsmgrUrl: string;
  readonly nsmgr: Pod;
  readonly forwarder: Pod;
}

async function startNode(t: CleanUp): Promise<Node> {
  const folder = mkdtempSync(join(tmpdir(), "wt-pods-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const dialer = createDialer({ dialTimeoutMs: 2_000 });
  t.after(() => dialer.close());
  const url = (name: string): string => `unix://${folder}/${name}.sock`;
  await startPod(t, "registry", {
    dialer,
    url: url("registry"),
    env: { WEFT_STORE: "memory", WEFT_STATE_DIR: join(folder, "r") },
  });
  const nsmgr = startPod(t, "nsmgr", {
    dialer,
    url: url("nsmgr"),
    env: { NSM_NAME: "nsmgr", NSM_LISTEN_ON: `${url("nsmgr")},tcp://127.0.0.1:0`, NSM_REGISTRY_URL: url("registry") },
  });
  const forwarder = await startPod(t, "forwarder", {
    dialer,
    url: url("forwarder"),
    env: {
      NSM_NAME: "forwarder",
      NSM_CONNECT_TO: url("nsmgr"),
      WEFT_DATAPLANE: "kernel",
      WEFT_STATE_DIR: join(folder, "f"),
    },
  });
  return {
    folder,
    dialer,
    nsmgrUrl: url("nsmgr"),
    nsmgr: await nsmgr,
    forwarder,
  };
}

function workload(t: CleanUp, node: Node, name: "responder" | "client", netns: NetnsHandle, env: Record<string, string>) {
  return startPod(t, name, {
    dialer: node.dialer,
    url: `unix://${node.folder}/${env["NSM_NAME"]}.sock`,
    netns,
    env: { NSM_CONNECT_TO: node.nsmgrUrl, WEFT_STATE_DIR: join(node.folder, env["NSM_NAME"] ?? ""), ...env },
  });
}

async function pings(netnsUrl: string, source: string, destination: string): Promise<boolean> {
  const { signal } = new AbortController();
  return (await icmpEcho({ netnsUrl, source, destination, timeoutMs: 1_000, signal })) !== undefined;
}

function interfaces(netns: NetnsHandle): string[] {
  const socket = openNetlinkSocket(netns);
  const names = listLinks(socket).map(({ name }) => name);
  socket.close();
  return names.filter((name) => name !== "lo").sort();
}

test("row 6.4: client, endpoint, manager and forwarder in PID namespaces of their own: packets pass, and nothing stays open", async (context) => {
  const t = cleanUp(context);
  const node = await startNode(t);
  const [client, endpoint] = [namelessNetns(t), namelessNetns(t)];
  await workload(t, node, "responder", endpoint, {
    NSM_NAME: "nse-1",
    NSM_SERVICE_NAMES: "ping",
    NSM_CIDR_PREFIX: "172.16.7.0/24",
  });
  const connected = async (round: string): Promise<Pod> => {
    const pod = await workload(t, node, "client", client, {
      NSM_NAME: `nsc-${round}`,
      NSM_NETWORK_SERVICES: "kernel://ping/nsm-1",
    });
    assert.deepEqual(interfaces(client), ["nsm-1"]);
    await until("a ping", () => pings(client.url, "172.16.7.1", "172.16.7.0"));
    return pod;
  };
  const first = await connected("1");
  await first.stop();
  await until("the interface has gone", async () => interfaces(client).length === 0);
  const before = [node.nsmgr.openFiles(), node.forwarder.openFiles()];
  for (const round of ["2", "3"]) {
    const again = await connected(round);
    await again.stop();
    await until("the interface has gone", async () => interfaces(client).length === 0);
  }
  const after = [node.nsmgr.openFiles(), node.forwarder.openFiles()];
  // one more connection between manager and forwarder may have been made in the meantime
  for (const [index, count] of after.entries()) assert.ok(count <= (before[index] ?? 0) + 2, `${after} open, ${before} before`);
});
