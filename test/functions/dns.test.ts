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
  const [one, two] = [temporaryNetns(t, "e1"), temporaryNetns(t, "e2")];
  await startNameServer(t, one, "0.0.0.0", knowing({ "printer.office.example": ["172.16.31.99"] }));
  await startNameServer(t, two, "0.0.0.0", knowing({ "printer.office.example": ["172.16.32.99"] }));
  // one by its environment, as NSM's, the other by the SDK
  const first = await node.start("responder", "office-1", one, {
    NSM_SERVICE_NAMES: "office",
    NSM_CIDR_PREFIX: "172.16.31.0/24",
    NSM_DNS_CONFIGS: JSON.stringify([{ dns_server_ips: ["172.16.31.0"], search_domains: ["office.example"] }]),
    NSM_UNREGISTER_ITSELF: "true",
  });
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

  const second = await node.domain.nodes[0].serve({
    name: "office-2",
    services: ["office"],
    cidrs: ["172.16.32.0/24"],
    dns: [DNSConfig.fromPartial({ dns_server_ips: ["172.16.32.0"], search_domains: ["office.example"] })],
    netns: two.url,
    signal: new AbortController().signal,
  });
  t.after(() => second.close());
  await first.stop();
  await resolves("172.16.32.99");
  assert.equal(await glibc(pod, "web"), "10.96.1.1");

  assert.equal(await client.stop(), 0);
  assert.equal((await pod.run(["nft", "list", "tables"])).out, "");
  assert.equal((await pod.run(["cat", "/etc/resolv.conf"])).out, resolvConfText);
  assert.equal(await glibc(pod, "printer.office.example"), "");
  assert.equal(await glibc(pod, "web"), "10.96.1.1");
});
