import assert from "node:assert/strict";
import { test } from "node:test";
import { knowing, startNameServer } from "../../apps/dns/testing/name-server.js";
import { glibc } from "../../apps/dns/testing/names.js";
import { resolvConfText, startTestPod } from "../../apps/dns/testing/place.js";
import { DNSConfig } from "../../sdk/gen/connectioncontext.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { startOneNode } from "./one-node.js";

const clusterNames = { "web.default.svc.cluster.local": ["10.96.1.1"] };

test("rows 4.12, 4.13: a client's names are those of its endpoint, follow it to another one, and go with the connection", async (context) => {
  const t = cleanUp(context);
  const pod = await startTestPod(t, knowing(clusterNames), knowing({}));
  const node = await startOneNode(t);
  const signal = new AbortController().signal;
  const endpoints = [];
  for (const index of [1, 2]) {
    const netns = temporaryNetns(t, `e${index}`);
    await startNameServer(t, netns, "0.0.0.0", knowing({ "printer.office.example": [`172.16.3${index}.99`] }));
    const dns = [DNSConfig.fromPartial({ dns_server_ips: [`172.16.3${index}.0`], search_domains: ["office.example"] })];
    const serve = () =>
      node.domain.nodes[0].serve({
        name: `office-${index}`,
        services: ["office"],
        cidrs: [`172.16.3${index}.0/24`],
        dns,
        netns: netns.url,
        signal,
      });
    endpoints.push(serve);
  }
  const first = await endpoints[0]?.();
  const client = await node.start("client", "pod-1", pod.netns, {
    NSM_NETWORK_SERVICES: "kernel://office/nsm-9",
    WEFT_RESOLV_CONF: pod.file,
    NSM_LIVENESS_CHECK_INTERVAL: "100ms",
    NSM_LIVENESS_CHECK_TIMEOUT: "500ms",
  });
  const resolves = (address: string): Promise<unknown> =>
    until(
      `printer.office.example to be ${address}`,
      async () => (await glibc(pod, "printer.office.example")) === address,
      30_000,
    );
  await resolves("172.16.31.99");
  assert.equal(await glibc(pod, "printer"), "172.16.31.99");
  assert.equal(await glibc(pod, "web"), "10.96.1.1");

  const second = await endpoints[1]?.();
  t.after(async () => await second?.close());
  await first?.close();
  await resolves("172.16.32.99");
  assert.equal(await glibc(pod, "web"), "10.96.1.1");

  assert.equal(await client.stop(), 0);
  assert.equal((await pod.run(["nft", "list", "tables"])).out, "");
  assert.equal((await pod.run(["cat", "/etc/resolv.conf"])).out, resolvConfText);
  assert.equal(await glibc(pod, "printer.office.example"), "");
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
});
