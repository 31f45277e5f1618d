/**
 * What a forwarder asks of the thing that moves packets. Desired state, not commands: `ensure` is called with the
 * whole cross-connect as it should be, as often as anybody likes, and changes only what differs.
 *
 * Every implementation (kernel, fast, none; later vpp) passes dataplane/compliance.ts with real packets.
 */
import type { MechanismType, Payload } from "../../sdk/api.js";

/** An interface in a workload's network namespace. */
export interface KernelPort {
  readonly kind: "kernel";
  /** file:///proc/PID/ns/net, file:///run/netns/NAME, inode://DEV/INO, or a bare name under /run/netns. */
  readonly netnsUrl: string;
  /** At most 15 bytes (IFNAMSIZ − 1, linux/if.h). */
  readonly interfaceName: string;
  /** Marks the link as ours in the kernel (IFLA_IFALIAS). */
  readonly alias: string;
  /** Empty: the kernel chooses once, and the choice is kept. */
  readonly macAddress: string;
  /** CIDR. */
  readonly addresses: readonly string[];
  /** CIDR, reached directly through the interface. */
  readonly onLinkPrefixes: readonly string[];
  readonly routes: readonly IpRoute[];
  readonly neighbors: readonly { readonly address: string; readonly macAddress: string }[];
  readonly policies: readonly PolicyRule[];
}

export interface IpRoute {
  /** CIDR. */
  readonly prefix: string;
  /** Address of the gateway, installed with the onlink flag; empty = directly through the interface. */
  readonly nextHop: string;
}

/** One ip rule with a routing table of its own. */
export interface PolicyRule {
  /** CIDR or empty. */
  readonly from: string;
  /** IP protocol number; 0 = any. */
  readonly protocol: number;
  readonly sourcePorts: PortRange | undefined;
  readonly destinationPorts: PortRange | undefined;
  readonly routes: readonly IpRoute[];
}
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** One end of a VXLAN tunnel (RFC 7348) in the forwarder's own network namespace. */
export interface VxlanPort {
  readonly kind: "vxlan";
  /** 1 … 2^24−1, unique in this namespace for its UDP port. */
  readonly vni: number;
  readonly udpPort: number;
  readonly localAddress: string;
  readonly remoteAddress: string;
}

/** Keys and UDP ports of one WireGuard tunnel. */
export interface WireguardTunnel {
  /** 32 bytes of Curve25519 in standard base64. It stands in the ledger and nowhere else: never in a log or a report. */
  readonly privateKey: string;
  /** UDP port of this end, unique in this namespace. */
  readonly listenPort: number;
  readonly remotePort: number;
  /** In standard base64. */
  readonly remotePublicKey: string;
  /** When this end's keys were made; milliseconds since the epoch. */
  readonly madeAtMs: number;
}

/** One end of a WireGuard tunnel in the forwarder's own network namespace; it carries IP packets. */
export interface WireguardPort extends WireguardTunnel {
  readonly kind: "wireguard";
  readonly localAddress: string;
  readonly remoteAddress: string;
  /**
   * While keys are being rotated: a second tunnel to the same forwarder, which receives and is not sent through. To make the
   * two change places loses no packet.
   */
  readonly beside?: WireguardTunnel | undefined;
}

/** One end of a memif: rings in shared memory with a workload, behind a unix socket (docs/fast-path.md). */
export interface MemifPort {
  readonly kind: "memif";
  /** "server": we listen and the workload connects; "client": the workload listens. */
  readonly role: "server" | "client";
  /** "@name" is abstract; else a path. */
  readonly socketFile: string;
  /** Network namespace of an abstract name, or URL of the socket itself; empty = the forwarder's own namespace. */
  readonly netnsUrl: string;
}

/** A port that is negotiated and not built: NOOP, or any mechanism under `--dataplane none`. */
export interface NoopPort {
  readonly kind: "noop";
  readonly mechanism: MechanismType;
}

export type Port = KernelPort | VxlanPort | WireguardPort | MemifPort | NoopPort;

/** Limits and class of a connection's packets. */
export interface Traffic {
  /** From the client, in bits a second; 0 = no limit. */
  readonly upBitsPerSecond: number;
  readonly downBitsPerSecond: number;
  /** 0 … 63, written into each IP header; absent = left alone. */
  readonly dscp?: number;
}

export interface CrossConnect {
  /** The forwarder's own connection id. */
  readonly id: string;
  /** Grows with each change; a smaller one than the last is refused with ABORTED. */
  readonly generation: number;
  readonly payload: Payload;
  readonly mtuBytes: number;
  /** Absent: as fast as it goes. Only given to a data plane that limits traffic. */
  readonly traffic?: Traffic | undefined;
  /** The side that asked. */
  readonly client: Port;
  /** The side that answers. */
  readonly endpoint: Port;
  /** When nobody has refreshed it by then it may be reclaimed; milliseconds since the epoch. */
  readonly expiresAtMs: number;
  /** Opaque bytes kept in the ledger for the forwarder: what it needs to go on after a restart. */
  readonly record: Uint8Array;
}

export interface Counters {
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxPackets: bigint;
  readonly txPackets: bigint;
  readonly drops: bigint;
}

/** One line of the table a forwarder prints at start. */
export interface Capability {
  readonly name: string;
  readonly supported: "yes" | "no" | "unknown";
  /** How it was found out; when not supported: why, and how to get it. */
  readonly detail: string;
}

/** One object that we made in the world. */
export interface OwnedObject {
  /** link, address, route, rule, neighbor, table, vni, process, socket, udp-port. */
  readonly kind: string;
  readonly name: string;
  readonly netnsUrl: string;
  readonly connectionId: string;
}

/** What a restarted data plane found. */
export interface Recovery {
  readonly adopted: readonly CrossConnect[];
  readonly reclaimed: readonly OwnedObject[];
  /** Cross-connects of the ledger that were not adopted: dead, expired, or only being made. */
  readonly lost: readonly CrossConnect[];
}

export type DataPlaneEvent =
  /** A port of the cross-connect has vanished or lost its link; the other one may still be there. */
  { readonly kind: "broken"; readonly id: string; readonly reason: string };

export interface DataPlane {
  /** "kernel", "fast", "none", … */
  readonly name: string;
  /** Probed once, at the first call. */
  capabilities(): Promise<readonly Capability[]>;
  /** Mechanism types it can build here, in the order in which it would choose them. */
  mechanisms(): Promise<readonly MechanismType[]>;
  /** Whether it enforces `traffic` of a cross-connect. */
  readonly limitsTraffic?: boolean | undefined;
  /** Where its tunnels start, if that is not for the kernel to say. */
  readonly tunnelAddress?: string | undefined;
  /** Largest frame payload of the link that carries tunnels from this address, in bytes. */
  underlayMtuBytes(localAddress: string): Promise<number>;
  /** VNIs in use in the forwarder's own namespace on that UDP port, ours and others'. */
  usedVnis(udpPort: number): Promise<ReadonlySet<number>>;
  /**
   * Makes the world equal to the cross-connect. All or nothing: when it fails, what was there before is still there.
   * @throws ALREADY_EXISTS VNI or interface name taken by somebody else; NOT_FOUND namespace gone;
   *         FAILED_PRECONDITION the pair of ports cannot be built here; INVALID_ARGUMENT a value is malformed
   */
  ensure(crossConnect: CrossConnect, signal: AbortSignal): Promise<void>;
  /** Removes it; unknown ids are fine. */
  remove(id: string, signal: AbortSignal): Promise<void>;
  list(): readonly CrossConnect[];
  /** Undefined for an unknown id or one without packets of its own (noop). Seen from the client's port. */
  counters(id: string): Promise<Counters | undefined>;
  objects(): Promise<readonly OwnedObject[]>;
  /** Called once at start, before `ensure`: adopts what lives, reclaims what is orphaned or expired. */
  recover(nowMs: number): Promise<Recovery>;
  events(signal: AbortSignal): AsyncIterable<DataPlaneEvent>;
  /** Whether a second WireGuard tunnel may stand beside that of the cross-connect; absent: none can. */
  hasRoomBeside?(id: string): Promise<boolean>;
  /** Whether the tunnel beside has completed a handshake with the other end, so that it carries packets both ways. */
  isBesideProven?(id: string): Promise<boolean>;
  /** Frees sockets and descriptors. Cross-connects stay in the kernel and in the ledger. */
  close(): Promise<void>;
}
