import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientConnection } from "../../sdk/client/connect.js";
import { icmpEcho } from "../../sdk/linux/icmp-echo.js";
import { listLinks } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { cleanUp } from "../../sdk/testing/cleanup.js";
import { joinNetns, type TestNetns, temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import { startDomain } from "../../testing/start-domain.js";
import { startCanary } from "./canary.js";

const operations = 1_000;
const workers = 6;
const pods = 3;
const singEveryMs = 20;

test("the canary hears a leak when there is one", async (context) => {
  const t = cleanUp(context);
  const [red, blue] = [temporaryNetns(t, "red"), temporaryNetns(t, "blue")];
  const canaries = [startCanary(t, red, "red"), startCanary(t, blue, "blue")] as const;
  joinNetns({ netns: red, name: "x0" }, { netns: blue, name: "x0" });
  await until("a leak", () => {
    for (const canary of canaries) canary.sing();
    return canaries.every(({ leaks }) => leaks.length > 0);
  });
});

test("isolation: two tenants with the same addresses on one node, 1,000 random opens and closes, 0 foreign frames", async (context) => {
  const t = cleanUp(context);
  const signal = new AbortController().signal;
  const random = seeded(Number(process.argv.find((word) => word.startsWith("--seed="))?.slice(7) ?? 20_261_121));
  const domain = await startDomain({ dataplane: "kernel" });
  t.after(() => domain.stop());
  const [node] = domain.nodes;
  const tenants = await Promise.all(
    (["red", "blue"] as const).map(async (tenant) => {
      const namespaces = [...new Array(pods).keys()].map((index) => temporaryNetns(t, `${tenant}${index}`));
      const [server, ...clients] = namespaces as [TestNetns, ...TestNetns[]];
      // The same pool for both: 32 addresses, so that they are used again and again.
      const endpoint = await node.serve({
        name: `nse-${tenant}`,
        services: [tenant],
        cidrs: ["10.0.0.0/27"],
        netns: server.url,
        signal,
      });
      t.after(() => endpoint.close());
      return { tenant, server, clients, namespaces, canaries: namespaces.map((netns) => startCanary(t, netns, tenant)) };
    }),
  );
  const canaries = tenants.flatMap(({ canaries }) => canaries);
  let sung = 0;
  const singing = setInterval(() => {
    for (const canary of canaries) sung += canary.sing();
  }, singEveryMs);
  t.after(() => clearInterval(singing));

  let done = 0;
  let pings = 0;
  const worker = async (): Promise<void> => {
    const open: ClientConnection[] = [];
    while (done < operations) {
      done++;
      if (open.length > 0 && (open.length === 2 || random() < 0.5)) {
        await open.splice(Math.floor(random() * open.length), 1)[0]?.close();
        continue;
      }
      const { tenant, clients } = pick(tenants, random);
      const netns = pick(clients, random);
      const own = new AbortController().signal; // one each: a shared one would gather a listener per connection
      const connection = await node.connect({ url: `kernel://${tenant}`, netnsUrl: netns.url, liveness: false, signal: own });
      open.push(connection);
      const [source = "", destination = ""] = [
        connection.context.ip_context?.src_ip_addrs[0]?.replace(/\/.*/, ""),
        connection.context.ip_context?.dst_ip_addrs[0]?.replace(/\/.*/, ""),
      ];
      const answer = await icmpEcho({ netnsUrl: netns.url, source, destination, timeoutMs: 5_000, signal });
      assert.ok(answer !== undefined, `${tenant}: no answer from ${destination} to ${source}`);
      pings++;
    }
    for (const connection of open) await connection.close();
  };
  await Promise.all(Array.from({ length: workers }, worker));

  const own = canaries.reduce((sum, { tenant, heard }) => sum + (heard.get(tenant) ?? 0), 0);
  context.diagnostic(`${done} opens and closes, ${pings} pings, ${sung} marked frames sent, ${own} heard by their own tenant`);
  assert.ok(own > operations, "the canaries sang and were heard");
  assert.deepEqual(
    canaries.flatMap(({ leaks }) => leaks),
    [],
    "foreign frames",
  );
  for (const { namespaces } of tenants) {
    for (const netns of namespaces) assert.deepEqual(interfaces(netns), ["lo"], `left in ${netns.name}`);
  }
});

function pick<T>(list: readonly T[], random: () => number): T {
  return list[Math.floor(random() * list.length)] as T;
}

function interfaces(netns: TestNetns): string[] {
  const socket = openNetlinkSocket(netns);
  const names = listLinks(socket).map(({ name }) => name);
  socket.close();
  return names;
}

/** Mulberry32: the same run again from the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
