/**
 * What this machine can do for a mesh, found out by trying. Each trial happens in a namespace of its own that ends with it.
 */
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import * as libc from "./libc.js";
import { addAddress } from "./netlink/addresses.js";
import { parseAddress, parsePrefix } from "./netlink/ip-address.js";
import { createPlainLink, createVeth, createVxlan, getLink, setLink } from "./netlink/links.js";
import { randomMac } from "./netlink/mac-address.js";
import { setNeighbor } from "./netlink/neighbors.js";
import { addRule } from "./netlink/rules.js";
import { type NetlinkRequest, type NetlinkSocket, openNetlinkSocket } from "./netlink/socket.js";
import { wireguardFamily } from "./netlink/wireguard.js";
import { inUserNamespace, type NetnsHandle, openNewNetns } from "./netns.js";
import { hasErrno, isSystemError } from "./system-error.js";
import { probeWireguard } from "./wireguard-probe.js";

export interface MachineCapability {
  readonly name: string;
  readonly supported: "yes" | "no" | "unknown";
  /** How it was found out; when not supported: why, and how to get it. */
  readonly detail: string;
}

/** Tries everything, some tens of milliseconds in all. Never rejects: what cannot be found out is "unknown". */
export async function probeMachine(): Promise<MachineCapability[]> {
  return [...probeNamespaces(), ...probeFiles(), await probeWireguard()];
}

/** Either of them encrypts connections between nodes: WireGuard in the kernel, and wireguard-go. */
export const kernelWireguard = "wireguard-kernel";
export const programWireguard = "wireguard";

interface Trial {
  readonly name: string;
  readonly what: string;
  readonly remedy: string;
  readonly requests: (netns: NetnsHandle, loopback: number) => readonly NetlinkRequest[];
}

const end = (netns: NetnsHandle, name: string) => ({ netns, name, macAddress: randomMac(), mtuBytes: 1400 });
const tunnel = { vni: 1, udpPort: 4789 };
const v4 = { ...tunnel, localAddress: "127.0.0.1", remoteAddress: "127.0.0.2" };
const v6 = { ...tunnel, localAddress: "fd00::1", remoteAddress: "fd00::2" };
const module = (name: string): string => `load it (modprobe ${name}) or use a kernel that has it`;

const trials: readonly Trial[] = [
  {
    name: "veth",
    what: "a pair of interfaces was made: local connections",
    remedy: module("veth"),
    requests: (netns) => [createVeth(end(netns, "a"), end(netns, "b"))],
  },
  {
    name: "vxlan",
    what: "a VXLAN interface over IPv4 was made: connections between nodes",
    remedy: module("vxlan"),
    requests: (netns) => [createVxlan({ ...end(netns, "a"), ...v4 })],
  },
  {
    name: "vxlan-ipv6",
    what: "a VXLAN interface over IPv6 was made",
    remedy: "needs VXLAN and IPv6",
    requests: (netns) => [createVxlan({ ...end(netns, "a"), ...v6 })],
  },
  {
    name: "ipv6",
    what: "an IPv6 address was added",
    remedy: "boot without ipv6.disable=1",
    requests: (_, loopback) => [addAddress(loopback, parsePrefix("fd00::1/128"))],
  },
  {
    name: "policy-rules",
    what: "a rule by source, protocol and port was added",
    remedy: "needs CONFIG_IP_MULTIPLE_TABLES",
    requests: () => [
      addRule({
        family: libc.AF_INET,
        priority: 1,
        from: parsePrefix("10.0.0.1/32"),
        ipProtocol: 6,
        sourcePorts: undefined,
        destinationPorts: { first: 80, last: 80 },
        table: 5000,
        protocol: 87,
      }),
    ],
  },
  {
    name: "neighbors",
    what: "a permanent neighbor was added",
    remedy: "needs the right to change the namespace",
    requests: (_, loopback) => [setNeighbor(loopback, parseAddress("10.0.0.1"), randomMac())],
  },
  {
    name: kernelWireguard,
    what: "the kernel made a WireGuard interface: encrypted connections between nodes (payload IP)",
    remedy: `${module(wireguardFamily)}; until then wireguard-go does it`,
    requests: () => [createPlainLink("a", wireguardFamily)],
  },
  ...["bridge", "dummy", "ifb", "vrf"].map((kind) => plainTrial(kind)),
];

function plainTrial(kind: string): Trial {
  return {
    name: kind,
    what: `an interface of kind ${kind} was made`,
    remedy: module(kind),
    requests: () => [createPlainLink("a", kind)],
  };
}

function probeNamespaces(): MachineCapability[] {
  let netns: NetnsHandle;
  try {
    netns = openNewNetns();
  } catch (error) {
    const detail = `${reason(error)}; run as root, or inside \`unshare --user --map-root-user --net --mount\``;
    return [
      { name: "namespaces", supported: "no", detail },
      ...trials.map(({ name }) => ({ name, supported: "unknown" as const, detail: "needs namespaces" })),
    ];
  }
  netns.close();
  return [{ name: "namespaces", supported: "yes", detail: "a network namespace was made and entered" }, ...trials.map(tryOut)];
}

function tryOut({ name, what, remedy, requests }: Trial): MachineCapability {
  let netns: NetnsHandle | undefined;
  let socket: NetlinkSocket | undefined;
  try {
    netns = openNewNetns();
    socket = openNetlinkSocket(netns);
    const loopback = getLink(socket, "lo")?.index ?? 1;
    socket.perform([setLink(loopback, { up: true })]);
    socket.perform(requests(netns, loopback));
    return { name, supported: "yes", detail: what };
  } catch (error) {
    if (!isSystemError(error)) return { name, supported: "unknown", detail: reason(error) };
    return { name, supported: "no", detail: `${error.message}; ${remedy}` };
  } finally {
    socket?.close();
    netns?.close();
  }
}

function probeFiles(): MachineCapability[] {
  return [
    {
      name: "user-namespace",
      supported: "yes",
      detail: inUserNamespace()
        ? "this process is root of a user namespace only"
        : "this process is in the machine's user namespace",
    },
    device("tun", "/dev/net/tun", "interfaces served by a program", "modprobe tun"),
    device("vhost-net", "/dev/vhost-net", "fast interfaces for a user-space data plane", "modprobe vhost_net"),
    device("kvm", "/dev/kvm", "virtual machines", "enable virtualization"),
    program("nft", "the firewall and egress functions call it", "apt-get install nftables"),
    program("ip", "for people; Weft itself does not call it", "apt-get install iproute2"),
    hugepages(),
  ];
}

function device(name: string, path: string, purpose: string, remedy: string): MachineCapability {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return { name, supported: "yes", detail: `${path} can be opened: ${purpose}` };
  } catch (error) {
    const why = hasErrno(error, "ENOENT")
      ? `${path} is missing; ${remedy}`
      : `${path}: ${reason(error)}; run as root, or give this user the right to read and write it`;
    return { name, supported: "no", detail: why };
  }
}

function program(name: string, purpose: string, remedy: string): MachineCapability {
  const folder = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin"].find((each) =>
    existsSync(`${each}/${name}`),
  );
  if (folder === undefined) return { name, supported: "no", detail: `program ${name} is missing (${purpose}); ${remedy}` };
  return { name, supported: "yes", detail: `${folder}/${name}: ${purpose}` };
}

function hugepages(): MachineCapability {
  const free = /^HugePages_Free:\s+(\d+)$/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1] ?? "0";
  const supported = free === "0" ? "no" : "yes";
  return { name: "hugepages", supported, detail: `${free} free; only a DPDK data plane wants them (sysctl vm.nr_hugepages)` };
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
