import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { NetworkService } from "../../sdk/gen/registry.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { tcpProbe, tcpServer } from "../../sdk/testing/tcp.js";
import { until } from "../../sdk/testing/until.js";
import { interfaces, pings, startOneNode } from "./one-node.js";

const hops = ["firewall", "pass-1", "pass-2", "pass-3", "responder"] as const;

test("row 2.8: client → firewall → three passthroughs → responder; the path lists all hops; a close leaves nothing", async (context) => {
  const t = cleanUp(context);
  const client = temporaryNetns(t, "c");
  const namespaces = Object.fromEntries(hops.map((name) => [name, temporaryNetns(t, name)]));
  const node = await startOneNode(t);
  const [local] = node.domain.nodes;
  const signal = new AbortController().signal;
  const [first, ...others] = hops;
  const service = NetworkService.fromPartial({
    name: "chain",
    payload: "ETHERNET",
    matches: [
      ...others.map((name, index) => ({
        source_selector: { app: hops[index] ?? "" },
        routes: [{ destination_selector: { app: name } }],
      })),
      { routes: [{ destination_selector: { app: first } }] },
    ],
  });
  await node.domain.dialer.serviceRegistry(local.url).register(service, { signal });
  const rules = join(node.folder, "rules.yaml");
  writeFileSync(
    rules,
    "- { name: ping, action: permit, proto: icmp }\n- { name: web, action: permit, proto: tcp, dstport: 8080 }\n",
  );
  for (const name of hops) {
    const netns = namespaces[name] ?? assert.fail();
    const env = { NSM_SERVICE_NAMES: "chain", NSM_LABELS: `app:${name}` };
    if (name === "responder") await node.start("responder", name, netns, { ...env, NSM_CIDR_PREFIX: "172.16.8.0/24" });
    // Without rules a firewall is a plain passthrough.
    else await node.start("firewall", name, netns, { ...env, NSM_ACL_CONFIG_PATH: name === "firewall" ? rules : "/nonexistent" });
  }
  const connection = await local.connect({ url: "kernel://chain/nsm-1", netnsUrl: client.url, liveness: false, signal });
  const names = connection.connection.path?.path_segments.map(({ name }) => name) ?? [];
  assert.deepEqual(
    names.filter((name) => hops.some((hop) => hop === name)),
    [...hops],
  );
  assert.equal(names.length, 1 + 3 * hops.length, "each hop stands behind a manager and a forwarder");
  await until("the first ping", () => pings(client, "172.16.8.1", "172.16.8.0"));
  await tcpServer(t, namespaces["responder"] ?? assert.fail(), [80, 8080]);
  assert.match(await tcpProbe(client, "172.16.8.0", 8080, 10_000), /^open/);
  assert.equal(await tcpProbe(client, "172.16.8.0", 80, 500), "timeout");
  await connection.close();
  for (const netns of [client, ...Object.values(namespaces)]) {
    await until(`${netns.name} to be empty`, () => interfaces(netns).length === 0);
  }
});
