/**
 * The packet core in TypeScript's words: ports, cross-connects, counters. Two hosts give it: `in-process.ts` (threads of this
 * process, through FFI) and `keeper-client.ts` (a keeper process that outlives us). Meaning of every field: weft_fast.h.
 */
import type { Board } from "./board.js";

export type PortKind = "memif" | "packet" | "tap" | "vxlan" | "echo" | "proxy" | "device";

export interface CorePort {
  /** Unique; at most 63 bytes. */
  readonly name: string;
  readonly kind: PortKind;
  readonly mode: "ethernet" | "ip";
  /** memif. */
  readonly role?: "server" | "client";
  /** memif client: slots of a ring as a power of two; default 10. */
  readonly log2Ring?: number;
  /** memif client: bytes of a buffer, a multiple of 64; default 2048. */
  readonly bufferBytes?: number;
  /** memif: the socket, "@name" for an abstract one; packet and tap: the interface. */
  readonly path?: string;
  /** Path of the network namespace of socket or interface, valid during the call; absent = that of the core. */
  readonly netnsPath?: string;
  /** proxy: where the server listens, and in which namespace. */
  readonly peerPath?: string;
  readonly peerNetnsPath?: string;
  /** packet: hardware address behind it, if known. */
  readonly macAddress?: string;
  readonly vni?: number;
  readonly udpPort?: number;
  readonly localAddress?: string;
  readonly remoteAddress?: string;
  /** vxlan: the device that carries the tunnel, instead of a UDP socket; device: the one whose frames come and go here. */
  readonly deviceName?: string;
}

/** An Ethernet device that a DPDK driver of the worker moves frames for. */
export interface CoreDevice {
  readonly name: string;
  /** PCI address, or a virtual device with its options. */
  readonly spec: string;
  /** More options of DPDK's EAL, parted by blanks. */
  readonly ealOptions?: string;
  readonly memoryMiB?: number;
  readonly hugePages?: "auto" | "always" | "never";
  /** Absent: what it has. */
  readonly mtuBytes?: number;
  /** Its own address, with the length of the link's prefix; absent = none, for a port of kind device. */
  readonly address?: string;
  readonly prefixBits?: number;
  readonly gateway?: string;
  /** Of a virtual device's interface, valid during the call; absent = that of the core. */
  readonly netnsPath?: string;
}

export interface CoreConnect {
  readonly name: string;
  readonly portA: number;
  readonly portB: number;
  /** Of the payload; 0 = no limit. */
  readonly mtuBytes: number;
  /** 0 … 63; undefined = left alone. */
  readonly dscp?: number | undefined;
  /** a→b and b→a; 0 = no limit. */
  readonly rateBitsPerSecond?: readonly [bigint, bigint] | undefined;
  readonly burstBytes?: readonly [bigint, bigint] | undefined;
}

export interface CoreEntry {
  readonly kind: PortKind | "connect";
  readonly slot: number;
  readonly portA: number;
  readonly portB: number;
  readonly name: string;
}

export interface PacketCore {
  /** The slot. The same name and values again: the slot it has. @throws SystemError */
  addPort(port: CorePort): Promise<number>;
  /** @throws SystemError ENOENT, EBUSY when it is joined */
  removePort(slot: number): Promise<void>;
  /** Makes or changes. @throws SystemError EBUSY when a port is joined already */
  setConnect(connect: CoreConnect): Promise<number>;
  removeConnect(slot: number): Promise<void>;
  /** The slot; how it goes on is on the board. @throws SystemError ENOTSUP in this process; Error a core that knows no devices */
  addDevice(device: CoreDevice): Promise<number>;
  /** @throws SystemError EBUSY when something uses it */
  removeDevice(slot: number): Promise<void>;
  list(): Promise<readonly CoreEntry[]>;
  /** Another worker takes over; links stay. */
  restartWorker(): Promise<void>;
  readonly board: Board;
  readonly features: { readonly sanitized: boolean };
  /** Told when a link has changed or a worker was replaced. The result ends it. */
  onChange(listener: () => void): () => void;
  /** Told when the core is gone without our doing. */
  onLost(listener: () => void): () => void;
  /** In-process: everything ends. With a keeper: only the conversation. */
  close(): Promise<void>;
  /** Ends the keeper as well. */
  end(): Promise<void>;
}
