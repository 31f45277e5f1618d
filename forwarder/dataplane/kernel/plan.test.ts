import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatAddress, formatPrefix } from "../../../sdk/linux/netlink/ip-address.js";
import { isStatusError } from "../../../sdk/status.js";
import type { CrossConnect, KernelPort, PolicyRule } from "../dataplane.js";
import { decode } from "./book.js";
import { type LinkPlan, planOf } from "./plan.js";

const port: KernelPort = {
  kind: "kernel",
  netnsUrl: "file:///run/netns/a",
  interfaceName: "nsm-1",
  alias: "",
  macAddress: "",
  addresses: ["10.0.0.1/32", "fd00::1/128"],
  onLinkPrefixes: [],
  routes: [],
  neighbors: [],
  policies: [],
};
const made: CrossConnect = {
  id: "c1",
  generation: 1,
  payload: "ETHERNET",
  mtuBytes: 1400,
  client: port,
  endpoint: { ...port, netnsUrl: "file:///run/netns/b" },
  expiresAtMs: 1,
  record: new Uint8Array(),
};
const policy: PolicyRule = { from: "", protocol: 0, sourcePorts: undefined, destinationPorts: undefined, routes: [] };
const clientPlan = (change: Partial<KernelPort>): LinkPlan => {
  const link = planOf({ ...made, client: { ...port, ...change } }).links[0];
  assert.ok(link);
  return link;
};

test("routes without a gateway come before those with one, duplicates once, host bits cleared", () => {
  const plan = clientPlan({
    onLinkPrefixes: ["10.0.0.2/32", "10.0.0.2"],
    routes: [
      { prefix: "10.9.8.7/8", nextHop: "10.0.0.2" },
      { prefix: "192.168.0.0/16", nextHop: "" },
    ],
  });
  const texts = plan.routes.map(({ prefix, gateway }) => `${formatPrefix(prefix)} ${gateway ? formatAddress(gateway) : "-"}`);
  assert.deepEqual(texts, ["10.0.0.2/32 -", "192.168.0.0/16 -", "10.0.0.0/8 10.0.0.2"]);
});

const policies: { why: string; change: Partial<PolicyRule>; families: number[]; routes: string[] }[] = [
  {
    why: "no source, no routes: a default route in each family of the interface",
    change: {},
    families: [2, 10],
    routes: ["0.0.0.0/0", "::/0"],
  },
  { why: "a source decides the family", change: { from: "fd00::/64" }, families: [10], routes: ["::/0"] },
  {
    why: "routes decide the family",
    change: { routes: [{ prefix: "10.1.0.0/16", nextHop: "" }] },
    families: [2],
    routes: ["10.1.0.0/16"],
  },
];
for (const { why, change, families, routes } of policies) {
  test(`policy: ${why}`, () => {
    const planned = clientPlan({ policies: [{ ...policy, ...change }] }).policies;
    assert.deepEqual(
      planned.map(({ family }) => family),
      families,
    );
    assert.deepEqual(
      planned.flatMap((each) => each.routes.map(({ prefix }) => formatPrefix(prefix))),
      routes,
    );
  });
}

const ports: { range: { first: number; last: number }; is: object | undefined }[] = [
  { range: { first: 80, last: 80 }, is: { first: 80, last: 80 } },
  { range: { first: 0, last: 65535 }, is: undefined },
  { range: { first: 1, last: 65535 }, is: undefined },
  { range: { first: 1024, last: 65535 }, is: { first: 1024, last: 65534 } },
];
for (const { range, is } of ports) {
  test(`ports ${range.first}-${range.last}`, () => {
    assert.deepEqual(clientPlan({ policies: [{ ...policy, destinationPorts: range }] }).policies[0]?.destinationPorts, is);
  });
}

/** Values as a hostile or careless endpoint may send them, some of them right. */
const text = (...right: string[]): fc.Arbitrary<string> => fc.oneof(fc.constantFrom(...right), fc.string({ maxLength: 20 }));
const prefix = text("10.0.0.1/32", "fd00::1/128", "0.0.0.0/0", "::/0", "10.0.0.1", "10.0.0.0/33");
const address = text("", "10.0.0.1", "fd00::1", "224.0.0.1");
const mac = text("", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff");
const number = fc.oneof(fc.constantFrom(0, 1, 6, 80, 65535), fc.integer(), fc.double());
const range = fc.option(fc.record({ first: number, last: number }), { nil: undefined });
const routes = fc.array(fc.record({ prefix, nextHop: address }), { maxLength: 4 });
const anyKernelPort = fc.record({
  kind: fc.constant("kernel" as const),
  netnsUrl: text("file:///run/netns/a", "inode://4/1", "name"),
  interfaceName: text("nsm-1", "nsm-2", "."),
  alias: fc.string(),
  macAddress: mac,
  addresses: fc.array(prefix, { maxLength: 4 }),
  onLinkPrefixes: fc.array(prefix, { maxLength: 4 }),
  routes,
  neighbors: fc.array(fc.record({ address, macAddress: mac }), { maxLength: 3 }),
  policies: fc.array(fc.record({ from: prefix, protocol: number, sourcePorts: range, destinationPorts: range, routes }), {
    maxLength: 3,
  }),
});
const anyPort = fc.oneof(
  anyKernelPort,
  fc.record({ kind: fc.constant("vxlan" as const), vni: number, udpPort: number, localAddress: address, remoteAddress: address }),
  fc.constant({ kind: "noop" as const, mechanism: "MEMIF" as const }),
);
const anyCrossConnect = fc.record({
  id: text("c1"),
  generation: fc.nat(),
  payload: fc.constantFrom("ETHERNET" as const, "IP" as const),
  mtuBytes: fc.oneof(fc.constant(1400), number),
  client: anyPort,
  endpoint: anyPort,
  expiresAtMs: fc.nat(),
  record: fc.uint8Array(),
});

test("any cross-connect is planned or refused as the caller's mistake", () => {
  fc.assert(
    fc.property(anyCrossConnect, (crossConnect) => {
      try {
        const plan = planOf(crossConnect);
        for (const link of plan.links) assert.ok(Buffer.byteLength(link.name) <= 15 && !/[/%\s]/.test(link.name));
      } catch (error) {
        assert.ok(isStatusError(error) && (error.code === 3 || error.code === 9), String(error));
      }
    }),
    { numRuns: 1_000 },
  );
});

test("any ledger entry is read or rejected, never half read", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.jsonValue(),
        anyCrossConnect.map((crossConnect) => ({ version: 1, crossConnect, links: [], leftovers: [] })),
      ),
      (value) => {
        decode(value);
      },
    ),
  );
});
