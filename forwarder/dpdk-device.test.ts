import assert from "node:assert/strict";
import { test } from "node:test";
import { readSettings } from "../sdk/config/table.js";
import { Code } from "../sdk/status.js";
import { dpdkDevice, dpdkDeviceOf, dpdkSettings } from "./dpdk-device.js";

test("a DPDK device is a PCI address or a virtual device that the core can use", () => {
  for (const spec of [
    "0000:3b:00.0",
    "0000:3b:00.1,rxq_comp_en=1",
    "net_af_packet0,iface=eth1",
    "net_af_xdp1,iface=eth1",
    "net_null0",
  ])
    assert.equal(dpdkDevice.parse(` ${spec} `), spec);
  for (const [spec, why] of [
    ["net_memif0,role=server", /trusts its peer/],
    ["eth1", /neither a PCI address/],
    ["3b:00.0", /neither a PCI address/],
    ["net_bonding0", /neither a PCI address/],
    ["net_tap0, iface=x", /no blank/],
    [`net_tap0,iface=${"x".repeat(300)}`, /at most 255/],
  ] as const)
    assert.throws(() => dpdkDevice.parse(spec), why);
});

test("options of EAL that are the forwarder's own are refused by name", () => {
  for (const [options, why] of [
    ["--no-huge", /--no-huge is chosen by the forwarder itself/],
    ["--log-level=5 --vdev=net_null1", /--vdev is chosen/],
    ["-l 3", /-l is chosen/],
    ["--iova-mode=p\u00e4", /printable/],
  ] as const)
    assert.throws(() => dpdkSettings.dpdkEal.kind.parse(options), why);
  assert.equal(dpdkSettings.dpdkEal.kind.parse("  --iova-mode=va   --legacy-mem "), "--iova-mode=va --legacy-mem");
});

test("the address, the gateway and the MTU of the device fit each other", () => {
  const of = (env: Record<string, string>) => dpdkDeviceOf(read({ WEFT_DPDK_DEVICE: "net_tap0", ...env }));
  assert.equal(dpdkDeviceOf(read({})), undefined);
  assert.deepEqual(of({ WEFT_DPDK_ADDRESS: "10.0.0.5/24", WEFT_DPDK_GATEWAY: "10.0.0.1", WEFT_DPDK_MTU: "9000" }), {
    name: "underlay",
    spec: "net_tap0",
    address: "10.0.0.5",
    prefixBits: 24,
    gateway: "10.0.0.1",
    memoryMiB: 256,
    hugePages: "auto",
    mtuBytes: 9000,
  });
  for (const [env, why] of [
    [{}, /WEFT_DPDK_ADDRESS is ""/],
    [{ WEFT_DPDK_ADDRESS: "10.0.0.5" }, /with its prefix/],
    [{ WEFT_DPDK_ADDRESS: "10.0.0.5/24", WEFT_DPDK_GATEWAY: "10.0.1.1" }, /no address within 10.0.0.5\/24/],
    [{ WEFT_DPDK_ADDRESS: "10.0.0.5/24", WEFT_DPDK_GATEWAY: "fd00::1" }, /no address within/],
    [{ WEFT_DPDK_ADDRESS: "10.0.0.5/24", WEFT_DPDK_MTU: "600" }, /at least 1280/],
  ] as const)
    assert.throws(() => of(env), { code: Code.INVALID_ARGUMENT, details: why });
});

function read(env: Record<string, string>) {
  const settings = readSettings({ name: "weft forwarder", summary: "" }, dpdkSettings, { argv: [], env });
  assert.ok(settings.ok);
  return settings.values;
}
