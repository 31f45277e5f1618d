import assert from "node:assert/strict";
import { test } from "node:test";
import { DNSConfig } from "../../sdk/gen/connectioncontext.js";
import { divertScript } from "./divert.js";
import { parseResolvConf } from "./resolv-conf.js";
import { addressOfReverse, createZones, type DnsSource } from "./zones.js";

const pod = parseResolvConf(
  "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5",
);

function source(servers: string[], domains: string[], prefixes: string[] = []): DnsSource {
  return { configs: [DNSConfig.fromPartial({ dns_server_ips: servers, search_domains: domains })], prefixes };
}

test("the longest suffix decides; the pod's own domains are suffixes too, and win a tie", () => {
  const zones = createZones(
    [
      source(["172.16.1.1"], ["Example.", "cluster.local"]),
      source(["172.16.2.1"], ["lab.example"]),
      source(["172.16.3.1"], ["lab.example"]),
    ],
    pod,
  );
  const rows: readonly [string, readonly string[] | undefined][] = [
    ["a.example", ["172.16.1.1"]],
    ["example", ["172.16.1.1"]],
    ["a.lab.example", ["172.16.2.1", "172.16.3.1"]],
    ["alab.example", ["172.16.1.1"]],
    ["notexample", undefined],
    ["example.default.svc.cluster.local", undefined],
    ["web.default.svc.cluster.local", undefined],
    ["", undefined],
  ];
  for (const [name, servers] of rows) assert.deepEqual(zones.serversOf(name), servers, name);
  assert.match(zones.ignored.join(), /cluster\.local.*own search domain/);
});

test("what an endpoint may not say is left out and told, the rest counts", () => {
  const bad = [
    "",
    ".",
    "...",
    "svc.cluster.local",
    "kube-system.svc.cluster.local",
    "a..b",
    "x".repeat(64),
    "with space",
    "ok.example",
  ];
  const zones = createZones([source(["172.16.1.1", "0.0.0.0", "no address", "::", "fe80::1%eth0"], bad)], pod);
  assert.deepEqual([...zones.domains], [["ok.example", ["172.16.1.1"]]]);
  assert.equal(zones.ignored.length, 4 + 8);
  assert.ok(createZones([source(["nonsense"], ["ok.example"])], pod).empty);
  assert.ok(
    createZones(
      [
        source(
          ["172.16.1.1"],
          Array.from({ length: 500 }, (_, i) => `d${i}.example`),
        ),
      ],
      pod,
    ).domains.size <= 256,
  );
});

test("reverse names go where their addresses are", () => {
  const zones = createZones(
    [
      source(["172.16.1.1"], ["a.example"], ["172.16.0.0/16", "fd00::/64", "0.0.0.0/0"]),
      source(["172.16.2.1"], ["b.example"], ["172.16.2.0/24"]),
    ],
    pod,
  );
  assert.deepEqual(zones.serversOf("9.1.16.172.in-addr.arpa"), ["172.16.1.1"]);
  assert.deepEqual(zones.serversOf("9.2.16.172.in-addr.arpa"), ["172.16.2.1"]);
  assert.equal(zones.serversOf("1.0.96.10.in-addr.arpa"), undefined, "a default route says nothing");
  assert.deepEqual(zones.serversOf(`${"1.0.0.0.".padEnd(32, "0.")}${"0.".repeat(12)}0.0.d.f.ip6.arpa`), ["172.16.1.1"]);
  assert.equal(addressOfReverse("300.1.16.172.in-addr.arpa"), undefined);
  assert.equal(addressOfReverse("1.16.172.in-addr.arpa"), undefined);
});

test("names that the pod's server does not know are searched as its resolver would, and no others", () => {
  const zones = createZones([source(["172.16.1.1"], ["a.example", "b.example"]), source(["172.16.9.1"], [])], pod);
  assert.deepEqual(
    zones.searchFor("printer").map(({ name }) => name),
    ["printer.a.example", "printer.b.example", "printer"],
  );
  assert.deepEqual(
    zones.searchFor("a.b.c.d.e.f").map(({ name }) => name),
    ["a.b.c.d.e.f"],
    "as many dots as ndots: only servers that gave no domain",
  );
  assert.deepEqual(zones.searchFor("printer.default.svc.cluster.local"), []);
  assert.deepEqual(zones.searchFor("1.2.3.4.in-addr.arpa"), []);
  assert.deepEqual(zones.searchFor(""), []);
});

test("resolv.conf in all its forms", () => {
  const text =
    "#nameserver 1.1.1.1\n  nameserver\t10.0.0.1\nnameserver 10.0.0.2 # x\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver fd00::1\nnameserver 10.0.0.1\ndomain x.example\nsearch A.Example. b.example\noptions rotate ndots:3 timeout:1\n";
  assert.deepEqual(parseResolvConf(text), {
    nameservers: ["10.0.0.1", "10.0.0.2", "fd00::1"],
    search: ["a.example", "b.example"],
    ndots: 3,
  });
  assert.deepEqual(parseResolvConf(""), { nameservers: [], search: [], ndots: 1 });
});

test("the rules: one transaction that replaces what was there, before connection tracking, and never for our own questions", () => {
  const script = divertScript(7, [
    { server: "10.96.0.10", address: "127.53.0.1", udpPort: 1, tcpPort: 2, close() {} },
    { server: "fd00::10", address: "::1", udpPort: 3, tcpPort: 4, close() {} },
  ]);
  const lines = script.trim().split("\n");
  assert.deepEqual(lines.slice(0, 3), ["add table inet weft-dns", "delete table inet weft-dns", "add table inet weft-dns"]);
  const own = lines.findIndex((line) => line.includes("meta mark 0x77640000") || line.includes(`meta mark ${0x77640000}`));
  const first = lines.findIndex((line) => line.includes("dport 53"));
  assert.ok(own > 0 && own < first);
  assert.equal(lines.filter((line) => /@alive (limit .* packets )?ip6 daddr set ::1/.test(line)).length, 2);
});
