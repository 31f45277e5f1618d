import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MechanismClass, MechanismType } from "../api.js";
import { Mechanism } from "../gen/connection.js";
import { Code, isStatusError } from "../status.js";
import { fitInterfaceName } from "./interface-name.js";
import { kernelMechanism, parseKernel } from "./kernel.js";
import { memifMechanism, parseMemif } from "./memif.js";
import { noopMechanism } from "./noop.js";
import { tunnelOverheadBytes } from "./overhead.js";
import { readParameters, withParameters } from "./parameters.js";
import { parseVxlan, vxlanOffer } from "./vxlan.js";
import { parseWireguard, wireguardOffer } from "./wireguard.js";

const key = Buffer.alloc(32, 7).toString("base64");

test("what a side writes is what the other side reads", () => {
  assert.deepEqual(parseKernel(kernelMechanism({ interfaceName: "nsm-1", unnumbered: true }), "c"), {
    netnsUrl: "file:///proc/thread-self/ns/net",
    interfaceName: "nsm-1",
    vlan: undefined,
    unnumbered: true,
    wantsVirtualFunction: false,
  });
  const vxlan = parseVxlan(vxlanOffer({ srcIp: "198.18.0.1", srcPort: 4789, mtuBytes: 1446 }), "c");
  assert.equal(vxlan.srcIp, "198.18.0.1");
  assert.equal(vxlan.mtuBytes, 1446);
  assert.equal(vxlan.vni, undefined);
  const offer = wireguardOffer({ srcIp: "fd00::1", srcPort: 51_820, srcPublicKey: key, mtuBytes: 1420 });
  assert.equal(parseWireguard(offer, "c").srcPublicKey, key);
  assert.deepEqual(parseMemif(memifMechanism({ socketFile: "@memif" }), "c"), { netnsUrl: "", socketFile: "@memif" });
  assert.deepEqual(noopMechanism(MechanismClass.LOCAL), { cls: "LOCAL", type: "NOOP", parameters: {} });
});

test("row 1.25: a name longer than 15 bytes is understood as its shortened form", () => {
  const { interfaceName } = parseKernel(kernelMechanism({ interfaceName: "a-name-too-long-x" }), "c");
  assert.equal(interfaceName, fitInterfaceName("a-name-too-long-x"));
});

test("the vni 0 and the port 0 count as not set", () => {
  const offer = withParameters(vxlanOffer({ srcIp: "::1", srcPort: 0, mtuBytes: 0 }), { vni: "0" });
  const parsed = parseVxlan(offer, "c");
  assert.deepEqual([parsed.vni, parsed.srcPort, parsed.mtuBytes], [undefined, undefined, undefined]);
});

const kernel = kernelMechanism({ interfaceName: "nsm-1" });
const vxlan = vxlanOffer({ srcIp: "198.18.0.1", srcPort: 4789, mtuBytes: 1446 });
const refused: { why: string; parse: () => unknown; details: RegExp }[] = [
  {
    why: "no namespace",
    parse: () => parseKernel(withParameters(kernel, { inodeURL: undefined }), "c1"),
    details: /inodeURL.*missing/,
  },
  {
    why: "long interface name",
    parse: () => parseKernel(withParameters(kernel, { name: "x".repeat(256) }), "c1"),
    details: /15 bytes/,
  },
  { why: "slash in name", parse: () => parseKernel(withParameters(kernel, { name: "../x" }), "c1"), details: /name/ },
  { why: "vlan 4095", parse: () => parseKernel(withParameters(kernel, { vlan: "4095" }), "c1"), details: /1 … 4094/ },
  { why: "vni too large", parse: () => parseVxlan(withParameters(vxlan, { vni: "16777216" }), "c1"), details: /16777215/ },
  { why: "vni padded", parse: () => parseVxlan(withParameters(vxlan, { vni: "007" }), "c1"), details: /vni/ },
  { why: "vni negative", parse: () => parseVxlan(withParameters(vxlan, { vni: "-1" }), "c1"), details: /vni/ },
  {
    why: "address",
    parse: () => parseVxlan(withParameters(vxlan, { src_ip: "198.18.0.256" }), "c1"),
    details: /src_ip.*address/,
  },
  {
    why: "key",
    parse: () => parseWireguard(Mechanism.fromPartial({ type: "WIREGUARD", parameters: { src_public_key: "abc=" } }), "c1"),
    details: /base64/,
  },
  { why: "socket", parse: () => parseMemif(memifMechanism({ socketFile: "x".repeat(200) }), "c1"), details: /107 bytes/ },
];
for (const { why, parse, details } of refused) {
  test(`refused with connection, parameter and remedy: ${why}`, () => {
    assert.throws(parse, (error) => {
      assert.ok(isStatusError(error) && error.code === Code.INVALID_ARGUMENT);
      assert.match(error.details, /^connection c1: parameter \S+ of mechanism [A-Z]+ .*; give /);
      assert.match(error.details, details);
      return true;
    });
  });
}

test("row 1.24: overhead per tunnel and underlay family", () => {
  const table = [MechanismType.VXLAN, MechanismType.WIREGUARD, MechanismType.IPSEC, MechanismType.KERNEL, "constructor"].map(
    (type) => [tunnelOverheadBytes(type, 4), tunnelOverheadBytes(type, 6)],
  );
  assert.deepEqual(table, [
    [54, 74],
    [60, 80],
    [81, 101],
    [0, 0],
    [0, 0],
  ]);
});

test("inherited names are no parameters", () => {
  const read = readParameters(noopMechanism(MechanismClass.LOCAL), "c");
  for (const name of ["constructor", "toString", "__proto__"]) {
    assert.equal(read.has(name), false);
    assert.equal(read.text(name), "");
  }
});

test("any parameters are parsed or refused with INVALID_ARGUMENT", () => {
  const keys = [
    "inodeURL",
    "name",
    "vlan",
    "vni",
    "src_ip",
    "dst_ip",
    "src_port",
    "MTU",
    "src_public_key",
    "socketfile",
    "__proto__",
    "unnumbered",
  ];
  const value = fc.oneof(fc.string({ unit: "binary" }), fc.integer().map(String), fc.constantFrom("true", "::1", "1.2.3.4", key));
  const parameters = fc.array(fc.tuple(fc.constantFrom(...keys), value)).map((entries) => Object.fromEntries(entries));
  fc.assert(
    fc.property(parameters, (all) => {
      const mechanism: Mechanism = { cls: "LOCAL", type: "X", parameters: all };
      for (const parse of [parseKernel, parseVxlan, parseWireguard, parseMemif]) {
        try {
          parse(mechanism, "c");
        } catch (error) {
          assert.ok(isStatusError(error) && error.code === Code.INVALID_ARGUMENT, String(error));
        }
      }
    }),
    { numRuns: 1000 },
  );
});
