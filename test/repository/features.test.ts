/** Each capability that the base promises is named by at least one test ("row 1.29: …"). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { trackedFiles } from "./tracked-files.js";

const rows: Record<string, string> = {
  "1.1": "kernel to kernel on one node",
  "1.2": "kernel to kernel between nodes, payload ETHERNET",
  "1.5": "mechanism priority",
  "1.6": "memif to memif on one node",
  "1.7": "kernel and memif joined on one node",
  "1.8": "memif between nodes, payload ETHERNET",
  "1.9": "memif between nodes, payload IP",
  "1.10": "kernel interfaces without vhost-net",
  "1.11": "memif across network namespaces, asleep without packets",
  "1.19": "AF_XDP on the link between nodes",
  "1.20": "a VPP that somebody else runs",
  "1.21": "pinholes of tunnels in VPP's filters",
  "1.22": "tunnel address by address or CIDR",
  "1.23": "VXLAN port",
  "1.24": "MTU per mechanism",
  "1.25": "interface names and connection ids",
  "1.26": "several services per client",
  "1.27": "labels per request",
  "1.28": "refresh",
  "1.29": "expiry of a dead client",
  "1.30": "close",
  "1.31": "monitor stream",
  "1.32": "idle shutdown of an endpoint",
  "1.33": "ICMP responder",
  "2.1": "network service definition",
  "2.2": "templates in selectors",
  "2.3": "round robin",
  "2.4": "next candidate on failure",
  "2.5": "forwarder by capability",
  "2.6": "several forwarders on a node",
  "2.8": "service chain",
  "2.9": "passthrough endpoint",
  "2.10": "firewall",
  "2.11": "endpoint changed by editing the service",
  "2.14": "endpoint registers its service",
  "2.15": "endpoint unregisters itself",
  "3.1": "registry in memory",
  "3.4": "expiry of an endpoint",
  "3.6": "query cache",
  "3.7": "name ownership",
  "4.1": "point-to-point address pool",
  "4.2": "single-point and group pools",
  "4.3": "strict and polite",
  "4.5": "excluded prefixes per client",
  "4.7": "IPv6",
  "4.8": "dual stack",
  "4.9": "policy routes",
  "4.10": "routes and neighbours",
  "4.11": "MAC, MTU, extra context",
  "4.12": "DNS context",
  "4.13": "DNS proxy: fan-out, cache, search, no loops",
  "4.14": "names of addresses",
  "7.1": "forwarder death",
  "7.2": "nsmgr restart",
  "7.3": "endpoint death",
  "7.4": "registry restart",
  "7.5": "two faults at once",
  "7.6": "whole system restart",
  "7.7": "data path cut",
  "7.8": "control plane lost, data path alive",
  "7.12": "repeated restarts",
  "7.13": "VPP dies",
  "7.14": "liveness check of the user",
  "7.15": "reselect only when needed",
  "10.1": "traces",
  "10.2": "counters per connection",
  "10.3": "Prometheus scrape",
  "10.6": "log level while running",
  "10.8": "health",
  "11.1": "soak",
  "11.2": "many clients on one node",
  "11.3": "footprints",
  "11.4": "no leaks",
};

test("every promised capability is named by a test", () => {
  const named = new Set<string>();
  for (const file of trackedFiles((name) => name.endsWith(".test.ts"))) {
    for (const [, list] of readFileSync(file, "utf8").matchAll(/\brows? ((?:\d+\.\d+(?:, | and |–)?)+)/g)) {
      for (const row of expand(list ?? "")) named.add(row);
    }
  }
  const missing = Object.entries(rows).filter(([row]) => !named.has(row));
  assert.deepEqual(missing, [], "rows without a test");
});

/** "1.1, 1.3–1.5" → 1.1 1.3 1.4 1.5 */
function expand(list: string): string[] {
  return list.split(/, | and /).flatMap((part) => {
    const [from, to] = part.split("–");
    const [section, first] = (from ?? "").split(".").map(Number);
    const last = to === undefined || to === "" ? first : Number(to.split(".")[1]);
    if (section === undefined || first === undefined || last === undefined) return [];
    return Array.from({ length: last - first + 1 }, (_, i) => `${section}.${first + i}`);
  });
}
