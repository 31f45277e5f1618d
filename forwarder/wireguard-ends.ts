/**
 * This node's ends of WireGuard tunnels: a key pair and a UDP port for each connection, kept until it is closed, so that
 * a refresh sends the same again; and a second pair beside while the keys are rotated (mechanisms/wireguard-rotation.ts).
 */
import { createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { Code, statusError } from "../sdk/status.js";
import type { WireguardTunnel } from "./dataplane/dataplane.js";

export interface WireguardEnd {
  /** 32 bytes of Curve25519 (RFC 7748) in standard base64, as both keys. */
  readonly privateKey: string;
  readonly publicKey: string;
  readonly listenPort: number;
  /** Milliseconds since the epoch. */
  readonly madeAtMs: number;
}

/** The other forwarder's end. */
export interface RemoteEnd {
  readonly publicKey: string;
  readonly port: number;
}

/** A second pair of ends, while the keys of a connection are rotated. */
export interface BesideEnd extends WireguardEnd {
  /** Undefined: the other forwarder has not said it yet. */
  readonly remote: RemoteEnd | undefined;
}

export interface HeldEnds {
  readonly main: WireguardEnd;
  /** As the other forwarder has said; undefined: not yet. */
  readonly remote: RemoteEnd | undefined;
  /** Newer than `main`: is going to take its place. Older: has been in its place. */
  readonly beside: BesideEnd | undefined;
  /** When the two last changed places, or this process took them over; milliseconds since the epoch. */
  readonly settledAtMs: number;
  /** When the other forwarder was last asked for new keys in vain. */
  readonly refusedAtMs: number;
}

export interface WireguardEnds {
  /**
   * The end of that connection, made at the first call.
   * @throws RESOURCE_EXHAUSTED no UDP port is left
   */
  hold(owner: string): Promise<WireguardEnd>;
  held(owner: string): HeldEnds | undefined;
  /** Notes what the other forwarder says of the end that carries the packets. */
  meet(owner: string, remote: RemoteEnd): void;
  /**
   * New keys and a port beside, made at the first call; `remote` is noted if given.
   * @throws RESOURCE_EXHAUSTED no UDP port is left
   */
  prepare(owner: string, remote?: RemoteEnd): Promise<WireguardEnd>;
  /** Notes what the other forwarder says of the end beside. */
  meetBeside(owner: string, remote: RemoteEnd): void;
  /** The end beside carries the packets from now on. */
  promote(owner: string): void;
  /** @param refused  the other forwarder does not rotate keys: it is not asked again for a while */
  dropBeside(owner: string, refused?: "refused"): void;
  /** After a restart: what the ledger says. A key that is none is forgotten, and a new one made at the next request. */
  restore(owner: string, port: RestoredEnds): void;
  release(owner: string): void;
}

export type RestoredEnds = WireguardTunnel & { readonly beside?: WireguardTunnel | undefined };

const maxPort = 65_535;
const keyBytes = 32;
/** PKCS #8 around a raw X25519 private key (RFC 8410, section 7). */
const pkcs8Header = Buffer.from("302e020100300506032b656e04220420", "hex");

/**
 * @param firstPort  ports are taken from here up, the lowest free one first
 * @param isFree  whether nobody has the UDP port in this namespace
 */
export function createWireguardEnds(
  firstPort: number,
  isFree: (port: number) => Promise<boolean> = isUdpPortFree,
  nowMs: () => number = Date.now,
): WireguardEnds {
  const ends = new Map<string, HeldEnds>();
  const ports = createPorts(firstPort, isFree);
  const change = (owner: string, edit: (held: HeldEnds) => HeldEnds): void => {
    const held = ends.get(owner);
    if (held !== undefined) ends.set(owner, edit(held));
  };
  const drop = ({ beside, ...held }: HeldEnds): HeldEnds => {
    if (beside !== undefined) ports.release(beside.listenPort);
    return { ...held, beside: undefined };
  };
  return {
    async hold(owner) {
      const known = ends.get(owner);
      if (known !== undefined) return known.main;
      const main = { ...newKeys(), listenPort: await ports.take(), madeAtMs: nowMs() };
      ends.set(owner, { main, remote: undefined, beside: undefined, settledAtMs: nowMs(), refusedAtMs: 0 });
      return main;
    },
    held: (owner) => ends.get(owner),
    meet: (owner, remote) => change(owner, (held) => ({ ...held, remote })),
    meetBeside: (owner, remote) => change(owner, (held) => ({ ...held, beside: held.beside && { ...held.beside, remote } })),
    async prepare(owner, remote) {
      const known = ends.get(owner)?.beside;
      const listenPort = known?.listenPort ?? (await ports.take());
      change(owner, (held) => {
        const fresh = { ...newKeys(), listenPort, madeAtMs: Math.max(nowMs(), held.main.madeAtMs + 1) };
        return { ...held, beside: { ...(known ?? fresh), remote: remote ?? known?.remote } };
      });
      const made = ends.get(owner)?.beside;
      if (made !== undefined) return made;
      ports.release(listenPort);
      throw statusError(Code.ABORTED, `connection ${owner} was closed while its keys were being rotated`);
    },
    promote: (owner) =>
      change(owner, ({ main, remote, beside, ...held }) => {
        if (beside === undefined) return { ...held, main, remote, beside };
        const { remote: besideRemote, ...next } = beside;
        return { ...held, main: next, remote: besideRemote, beside: { ...main, remote }, settledAtMs: nowMs() };
      }),
    dropBeside: (owner, refused) =>
      change(owner, (held) => ({ ...drop(held), refusedAtMs: refused === undefined ? held.refusedAtMs : nowMs() })),
    restore(owner, { beside, ...port }) {
      const main = restored(port);
      if (main === undefined) return;
      const second = beside && restored(beside);
      ends.set(owner, {
        main,
        remote: { publicKey: port.remotePublicKey, port: port.remotePort },
        beside: beside && second && { ...second, remote: { publicKey: beside.remotePublicKey, port: beside.remotePort } },
        settledAtMs: nowMs(),
        refusedAtMs: 0,
      });
      for (const each of [main, second]) if (each !== undefined) ports.keep(each.listenPort);
    },
    release(owner) {
      const held = ends.get(owner);
      if (held === undefined) return;
      ends.delete(owner);
      drop(held);
      ports.release(held.main.listenPort);
    },
  };
}

/** Whether the end beside is going to take the place of the other one. */
export function isNext({ main, beside }: HeldEnds): boolean {
  return beside !== undefined && beside.madeAtMs > main.madeAtMs;
}

function restored({ privateKey, listenPort, madeAtMs }: WireguardTunnel): WireguardEnd | undefined {
  const publicKey = publicKeyOf(privateKey);
  // Entries of an earlier version have no time: their keys count as old.
  return publicKey === undefined ? undefined : { privateKey, publicKey, listenPort, madeAtMs: madeAtMs ?? 0 };
}

function createPorts(firstPort: number, isFree: (port: number) => Promise<boolean>) {
  const ports = new Set<number>();
  return {
    async take(): Promise<number> {
      for (let port = firstPort; port <= maxPort; port++) {
        if (ports.has(port)) continue;
        // Ours before anybody else asks, while we look whether a stranger has it.
        ports.add(port);
        if (await isFree(port)) return port;
        ports.delete(port);
      }
      throw statusError(
        Code.RESOURCE_EXHAUSTED,
        `no UDP port from ${firstPort} up is free for another WireGuard tunnel; set WEFT_WIREGUARD_PORT lower or close connections`,
      );
    },
    keep: (port: number) => void ports.add(port),
    release: (port: number) => void ports.delete(port),
  };
}

/** The public key that belongs to a private one, both in standard base64; undefined: it is no key. */
export function publicKeyOf(privateKey: string): string | undefined {
  const raw = Buffer.from(privateKey, "base64");
  if (raw.length !== keyBytes) return undefined;
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Header, raw]), format: "der", type: "pkcs8" });
  // SubjectPublicKeyInfo of X25519 (RFC 8410) ends with the key
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-keyBytes).toString("base64");
}

/**
 * Random bytes are a private key once they are clamped (RFC 7748, section 5). Node's own key generation is not used: its job
 * waits for the key's lock when it is collected, and when that happens while the key is being exported as JWK, the process
 * waits for itself for ever (seen with Node 20.20).
 */
function newKeys(): { privateKey: string; publicKey: string } {
  const raw = randomBytes(keyBytes);
  raw[0] = (raw[0] as number) & 248;
  raw[31] = ((raw[31] as number) & 127) | 64;
  const privateKey = raw.toString("base64");
  return { privateKey, publicKey: publicKeyOf(privateKey) as string };
}

/** Tried out by taking it for a moment, on both families where there are two. */
async function isUdpPortFree(port: number): Promise<boolean> {
  const free = await canBind("udp6", port);
  return free === "no such family" ? (await canBind("udp4", port)) === "yes" : free === "yes";
}

function canBind(type: "udp4" | "udp6", port: number): Promise<"yes" | "no" | "no such family"> {
  return new Promise((resolve) => {
    const socket = createSocket({ type });
    socket.once("error", (error) => {
      socket.close();
      const code = "code" in error ? error.code : undefined;
      resolve(code === "EAFNOSUPPORT" || code === "EADDRNOTAVAIL" ? "no such family" : "no");
    });
    socket.bind({ port, exclusive: true }, () => socket.close(() => resolve("yes")));
  });
}
