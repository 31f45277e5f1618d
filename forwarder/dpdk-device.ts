/** The settings of a DPDK device for tunnels, checked (pure): which device, whose address, how much memory. */

import { boolean, integer, type Kind, oneOf, optional, text } from "../sdk/config/kinds.js";
import { setting, type Values } from "../sdk/config/table.js";
import { formatAddress, inRange, parseAddress, parsePrefix, rangeOf } from "../sdk/ip.js";
import { Code, statusError } from "../sdk/status.js";
import type { CoreDevice } from "./native/core.js";

/** Drivers of DPDK for virtual devices, with what they need. */
const virtual = [
  "net_af_packet",
  "net_af_xdp",
  "net_tap",
  "net_null",
  "net_ring",
  "net_vhost",
  "eth_vhost",
  "net_virtio_user",
  "net_pcap",
];
const maxSpecBytes = 255;

/** `0000:3b:00.0[,OPTIONS]` or `net_af_packet0,iface=eth1`. */
export const dpdkDevice: Kind<string> = {
  label: "PCI|VDEV",
  parse(value) {
    const spec = value.trim();
    if (Buffer.byteLength(spec) > maxSpecBytes || /\s/.test(spec))
      throw new Error(`give at most ${maxSpecBytes} bytes and no blank`);
    if (/^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](,.+)?$/i.test(spec)) return spec;
    const driver = /^([a-z_]+)\d+(,.+)?$/.exec(spec)?.[1];
    if (driver === "net_memif")
      throw new Error("net_memif trusts its peer and is never used; memif needs no DPDK, ask for memif:// as a workload");
    if (driver !== undefined && virtual.includes(driver)) return spec;
    throw new Error(
      `"${spec.slice(0, 60)}" is neither a PCI address such as 0000:3b:00.0 nor a virtual device such as net_af_packet0,iface=eth1 (${virtual.join(", ")})`,
    );
  },
};

/** What the core gives EAL itself, and what would reach beyond our process. */
const taken = new Set([
  ...["-l", "-c", "--lcores", "-m", "--socket-mem", "--no-huge", "--in-memory", "--no-shconf", "--no-pci", "--vdev"],
  ...[
    "-a",
    "-w",
    "--allow",
    "-b",
    "--block",
    "--proc-type",
    "--file-prefix",
    "--no-telemetry",
    "--telemetry",
    "-d",
    "-h",
    "--help",
    "-v",
  ],
]);

const ealOptions: Kind<string> = {
  label: "OPTIONS",
  parse(value) {
    const words = value.split(/\s+/).filter((word) => word !== "");
    for (const word of words) {
      const option = word.split("=")[0] ?? "";
      if (taken.has(option)) throw new Error(`${option} is chosen by the forwarder itself; leave it out`);
      if (!/^[\x21-\x7e]+$/.test(word)) throw new Error("options are printable ASCII, parted by blanks");
    }
    const joined = words.join(" ");
    if (joined.length > maxSpecBytes) throw new Error(`give at most ${maxSpecBytes} bytes`);
    return joined;
  },
};

export const dpdkSettings = {
  dpdkDevice: setting(
    "WEFT_DPDK_DEVICE",
    optional(dpdkDevice),
    "device that carries tunnels by DPDK, past the kernel: PCI address of a NIC, or a virtual device; empty = none",
    { default: "" },
  ),
  dpdkAddress: setting(
    "WEFT_DPDK_ADDRESS",
    text,
    "address of that device with its prefix, such as 10.0.0.5/24, where tunnels start; the kernel must not have it",
    { default: "" },
  ),
  dpdkGateway: setting("WEFT_DPDK_GATEWAY", text, "next hop for nodes outside of that prefix", { default: "" }),
  dpdkMemoryMiB: setting("WEFT_DPDK_MEMORY", integer({ min: 64, max: 65_536 }), "memory of DPDK in MiB", { default: "256" }),
  dpdkHugePages: setting(
    "WEFT_DPDK_HUGE_PAGES",
    oneOf("auto", "always", "never"),
    "whether DPDK takes huge pages; auto: if enough are free",
    { default: "auto" },
  ),
  dpdkMtuBytes: setting("WEFT_DPDK_MTU", integer({ min: 0, max: 9_600 }), "MTU of the device in bytes; 0 = what it has", {
    default: "0",
  }),
  dpdkEal: setting("WEFT_DPDK_EAL", ealOptions, "more options of DPDK's EAL, parted by blanks", { default: "" }),
  dpdkRequired: setting(
    "WEFT_DPDK_REQUIRED",
    boolean,
    "when DPDK refuses, the forwarder does not start; otherwise it says why and leaves tunnels to the kernel",
    { default: "false" },
  ),
} as const;

export type DpdkConfig = Values<typeof dpdkSettings>;

/** Name of the device in the core. */
export const underlayName = "underlay";

/**
 * Undefined: none is asked for.
 * @throws INVALID_ARGUMENT the settings do not fit each other
 */
export function dpdkDeviceOf(config: DpdkConfig): CoreDevice | undefined {
  if (config.dpdkDevice === undefined) return undefined;
  const wrong = (why: string) => statusError(Code.INVALID_ARGUMENT, why);
  const prefix = parsePrefix(config.dpdkAddress);
  if (prefix === undefined || !config.dpdkAddress.includes("/"))
    throw wrong(
      `WEFT_DPDK_ADDRESS is ${JSON.stringify(config.dpdkAddress.slice(0, 60))}; give the address of the device with its prefix, such as 10.0.0.5/24`,
    );
  const gateway = parseAddress(config.dpdkGateway);
  if (
    config.dpdkGateway !== "" &&
    (gateway === undefined || gateway.family !== prefix.family || !inRange(gateway.value, rangeOf(prefix)))
  )
    throw wrong(
      `WEFT_DPDK_GATEWAY is ${JSON.stringify(config.dpdkGateway.slice(0, 60))}, which is no address within ${config.dpdkAddress}`,
    );
  if (config.dpdkMtuBytes !== 0 && config.dpdkMtuBytes < 1_280)
    throw wrong(`WEFT_DPDK_MTU is ${config.dpdkMtuBytes}; give at least 1280, or 0 for that of the device`);
  return {
    name: underlayName,
    spec: config.dpdkDevice,
    address: formatAddress(prefix),
    prefixBits: prefix.length,
    memoryMiB: config.dpdkMemoryMiB,
    hugePages: config.dpdkHugePages,
    ...(gateway && { gateway: formatAddress(gateway) }),
    ...(config.dpdkMtuBytes !== 0 && { mtuBytes: config.dpdkMtuBytes }),
    ...(config.dpdkEal !== "" && { ealOptions: config.dpdkEal }),
  };
}
