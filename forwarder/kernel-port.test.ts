import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ConnectionContext, IPContext } from "../sdk/gen/connectioncontext.js";
import { kernelMechanism, parseKernel } from "../sdk/mechanisms/kernel.js";
import { Code, isStatusError } from "../sdk/status.js";
import { kernelPort } from "./kernel-port.js";

type Ip = Parameters<typeof IPContext.fromPartial>[0];

/** The port at one end for this IP context. */
function port(end: "client" | "endpoint", ip: Ip, options: { unnumbered?: boolean; srcMac?: string; dstMac?: string } = {}) {
  const mechanism = kernelMechanism({
    netnsUrl: "file:///run/netns/wt-a",
    interfaceName: "nsm-1",
    unnumbered: options.unnumbered === true,
  });
  return kernelPort({
    end,
    connectionId: "c1",
    firstSegmentId: "client-1",
    parameters: parseKernel(mechanism, "c1"),
    interfaceName: "nsm-1",
    context: ConnectionContext.fromPartial({
      ip_context: IPContext.fromPartial(ip),
      ethernet_context: { src_mac: options.srcMac ?? "", dst_mac: options.dstMac ?? "" },
    }),
  });
}

const pair: Ip = {
  src_ip_addrs: ["172.16.1.101/32"],
  dst_ip_addrs: ["172.16.1.100/32"],
  src_routes: [{ prefix: "172.16.1.100/32" }],
  dst_routes: [{ prefix: "172.16.1.101/32" }],
};

test("row 1.1: a pair of addresses gives /32 addresses and a host route to the other end", () => {
  const client = port("client", pair);
  assert.deepEqual(client.addresses, ["172.16.1.101/32"]);
  assert.deepEqual(client.onLinkPrefixes, ["172.16.1.100/32"]);
  assert.deepEqual(client.routes, [], "the route to the other end is the on-link route");
  assert.equal(client.alias, "server-client-1");
  const endpoint = port("endpoint", pair);
  assert.deepEqual(endpoint.addresses, ["172.16.1.100/32"]);
  assert.deepEqual(endpoint.onLinkPrefixes, ["172.16.1.101/32"]);
  assert.equal(endpoint.alias, "client-client-1");
});

test("rows 4.7, 4.8: both families, each with the other end of its own family", () => {
  const client = port("client", {
    src_ip_addrs: ["10.0.0.1/32", "fd00::1/128"],
    dst_ip_addrs: ["10.0.0.0/32", "fd00::/128"],
    src_routes: [{ prefix: "0.0.0.0/0" }, { prefix: "::/0" }],
  });
  assert.deepEqual(client.addresses, ["10.0.0.1/32", "fd00::1/128"]);
  assert.deepEqual(client.onLinkPrefixes, ["10.0.0.0/32", "fd00::/128"]);
  assert.deepEqual(client.routes, [
    { prefix: "0.0.0.0/0", nextHop: "10.0.0.0" },
    { prefix: "::/0", nextHop: "fd00::" },
  ]);
});

test("addresses of one subnet need no on-link route", () => {
  const client = port("client", {
    src_ip_addrs: ["10.0.0.2/24"],
    dst_ip_addrs: ["10.0.0.1/24"],
    src_routes: [{ prefix: "10.0.0.0/24" }],
  });
  assert.deepEqual(client.onLinkPrefixes, []);
  assert.deepEqual(client.routes, []);
});

test("row 4.10: routes go through the given next hop, else through the other end; bits behind the prefix are cut", () => {
  const client = port("client", {
    ...pair,
    src_routes: [{ prefix: "10.1.2.3/8" }, { prefix: "192.0.2.0/24", nextHop: "172.16.1.7" }, { prefix: "172.16.1.100/32" }],
  });
  assert.deepEqual(client.routes, [
    { prefix: "10.0.0.0/8", nextHop: "172.16.1.100" },
    { prefix: "192.0.2.0/24", nextHop: "172.16.1.7" },
  ]);
  const lone = port("client", { src_ip_addrs: ["10.0.0.1/32"], src_routes: [{ prefix: "10.9.0.0/16" }] });
  assert.deepEqual(lone.routes, [{ prefix: "10.9.0.0/16", nextHop: "" }], "nobody to go through");
});

test("row 4.10: the client gets all neighbours but itself, the endpoint its client", () => {
  const ip_neighbors = [
    { ip: "172.16.1.100", hardware_address: "02-00-00-00-00-AA" },
    { ip: "172.16.1.101", hardware_address: "02:00:00:00:00:bb" },
  ];
  assert.deepEqual(port("client", { ...pair, ip_neighbors }).neighbors, [
    { address: "172.16.1.100", macAddress: "02:00:00:00:00:aa" },
  ]);
  assert.deepEqual(port("endpoint", { ...pair, ip_neighbors }).neighbors, [
    { address: "172.16.1.101", macAddress: "02:00:00:00:00:bb" },
  ]);
});

test("row 4.9: policies are rules of the client, with a default route when they name none", () => {
  const policies = [
    { from: "172.16.2.201/24", proto: "6", dst_port: "6666", routes: [{ prefix: "172.16.3.0/24", nextHop: "172.16.2.200" }] },
    { proto: "17", dst_port: "6666-6668", src_port: "5555" },
    { from: "fd00::7" },
  ];
  const client = port("client", { ...pair, policies });
  const ports = (first: number, last: number) => ({ first, last });
  assert.deepEqual(client.policies, [
    {
      from: "172.16.2.0/24",
      protocol: 6,
      sourcePorts: undefined,
      destinationPorts: ports(6666, 6666),
      routes: [{ prefix: "172.16.3.0/24", nextHop: "172.16.2.200" }],
    },
    {
      from: "",
      protocol: 17,
      sourcePorts: ports(5555, 5555),
      destinationPorts: ports(6666, 6668),
      routes: [{ prefix: "0.0.0.0/0", nextHop: "" }],
    },
    {
      from: "fd00::7/128",
      protocol: 0,
      sourcePorts: undefined,
      destinationPorts: undefined,
      routes: [{ prefix: "::/0", nextHop: "" }],
    },
  ]);
  assert.deepEqual(port("endpoint", { ...pair, policies }).policies, []);
});

test("row 4.9: a policy without `from` holds for both families of a dual-stack client", () => {
  const client = port("client", { src_ip_addrs: ["10.0.0.1/32", "fd00::1/128"], policies: [{ proto: "6" }] });
  assert.deepEqual(
    client.policies.map(({ routes }) => routes.map(({ prefix }) => prefix)),
    [["0.0.0.0/0"], ["::/0"]],
  );
});

test("row 4.11: the MAC of the Ethernet context", () => {
  const macs = { srcMac: "02:00:00:00:00:01", dstMac: "02:00:00:00:00:02" };
  assert.equal(port("client", pair, macs).macAddress, macs.srcMac);
  assert.equal(port("endpoint", pair, macs).macAddress, macs.dstMac);
});

test("an unnumbered port has a MAC and no addresses, routes, neighbours or policies", () => {
  const client = port("client", { ...pair, policies: [{ proto: "6" }] }, { unnumbered: true, srcMac: "02:00:00:00:00:01" });
  assert.equal(client.macAddress, "02:00:00:00:00:01");
  for (const list of [client.addresses, client.onLinkPrefixes, client.routes, client.neighbors, client.policies])
    assert.deepEqual(list, []);
});

const refused: { why: string; ip: Ip; mac?: string; details: RegExp }[] = [
  { why: "address", ip: { src_ip_addrs: ["10.0.0.300/32"] }, details: /src_ip_addrs.*10\.0\.0\.300/ },
  {
    why: "one address at both ends",
    ip: { src_ip_addrs: ["10.0.0.1/32"], dst_ip_addrs: ["10.0.0.1/24"] },
    details: /10\.0\.0\.1.*other end/,
  },
  { why: "route", ip: { src_routes: [{ prefix: "nowhere" }] }, details: /src_routes/ },
  { why: "next hop of another family", ip: { src_routes: [{ prefix: "::/0", nextHop: "10.0.0.1" }] }, details: /IPv6/ },
  { why: "neighbour", ip: { ip_neighbors: [{ ip: "10.0.0.1", hardware_address: "x" }] }, details: /MAC/ },
  { why: "policy source", ip: { policies: [{ from: "x" }] }, details: /policies\[0\]\.from/ },
  { why: "policy protocol", ip: { policies: [{ proto: "256" }] }, details: /policies\[0\]\.proto/ },
  { why: "policy ports reversed", ip: { policies: [{ dst_port: "9-8" }] }, details: /policies\[0\]\.dst_port/ },
  { why: "policy route", ip: { policies: [{ routes: [{ prefix: "x" }] }] }, details: /policies\[0\]\.routes\[0\]/ },
  { why: "a group's MAC", ip: {}, mac: "01:00:5e:00:00:01", details: /ethernet_context.*MAC/ },
];
for (const { why, ip, mac, details } of refused) {
  test(`refused with connection, field and remedy: ${why}`, () => {
    assert.throws(() => port("client", ip, mac === undefined ? {} : { srcMac: mac }), {
      code: Code.FAILED_PRECONDITION,
      details,
    });
  });
}

test("any context becomes a port or is refused", () => {
  const prefix = fc.oneof(
    fc.ipV4().map((ip) => `${ip}/24`),
    fc.ipV6(),
    fc.string(),
    fc.constantFrom("0.0.0.0/0", "::/0", "10.0.0.1/33"),
  );
  const route = fc.record({ prefix, nextHop: fc.oneof(fc.constant(""), fc.ipV4(), fc.ipV6(), fc.string()) });
  const policy = fc.record({
    from: prefix,
    proto: fc.string({ maxLength: 3 }),
    dst_port: fc.string({ maxLength: 6 }),
    src_port: fc.constant(""),
    routes: fc.array(route, { maxLength: 2 }),
  });
  const list = fc.array(prefix, { maxLength: 4 });
  const context = fc.record({
    src_ip_addrs: list,
    dst_ip_addrs: list,
    src_routes: fc.array(route),
    dst_routes: fc.array(route),
    policies: fc.array(policy, { maxLength: 2 }),
  });
  fc.assert(
    fc.property(context, fc.constantFrom("client" as const, "endpoint" as const), (ip, end) => {
      try {
        port(end, ip);
      } catch (error) {
        assert.ok(isStatusError(error) && error.code === Code.FAILED_PRECONDITION, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});
