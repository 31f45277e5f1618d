/**
 * This node's ends of WireGuard tunnels: a key pair and a UDP port for each connection, kept until it is closed, so that
 * a refresh sends the same again.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { createSocket } from "node:dgram";
import { Code, statusError } from "../sdk/status.js";

export interface WireguardEnd {
  /** 32 bytes of Curve25519 (RFC 7748) in standard base64, as both keys. */
  readonly privateKey: string;
  readonly publicKey: string;
  readonly listenPort: number;
}

export interface WireguardEnds {
  /**
   * The end of that connection, made at the first call.
   * @throws RESOURCE_EXHAUSTED no UDP port is left
   */
  hold(owner: string): Promise<WireguardEnd>;
  held(owner: string): WireguardEnd | undefined;
  /** After a restart: what the ledger says. A key that is none is forgotten, and a new one made at the next request. */
  restore(owner: string, end: Pick<WireguardEnd, "privateKey" | "listenPort">): void;
  release(owner: string): void;
}

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
): WireguardEnds {
  const ends = new Map<string, WireguardEnd>();
  const ports = new Set<number>();

  const takePort = async (): Promise<number> => {
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
  };
  return {
    async hold(owner) {
      const known = ends.get(owner);
      if (known !== undefined) return known;
      const end = { ...newKeys(), listenPort: await takePort() };
      ends.set(owner, end);
      return end;
    },
    held: (owner) => ends.get(owner),
    restore(owner, { privateKey, listenPort }) {
      const publicKey = publicKeyOf(privateKey);
      if (publicKey === undefined) return;
      ends.set(owner, { privateKey, publicKey, listenPort });
      ports.add(listenPort);
    },
    release(owner) {
      const end = ends.get(owner);
      if (end === undefined) return;
      ends.delete(owner);
      ports.delete(end.listenPort);
    },
  };
}

/** The public key that belongs to a private one, both in standard base64; undefined: it is no key. */
export function publicKeyOf(privateKey: string): string | undefined {
  const raw = Buffer.from(privateKey, "base64");
  if (raw.length !== keyBytes) return undefined;
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Header, raw]), format: "der", type: "pkcs8" });
  return rawPart(createPublicKey(key), "x");
}

function newKeys(): { privateKey: string; publicKey: string } {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  return { privateKey: rawPart(privateKey, "d"), publicKey: rawPart(publicKey, "x") };
}

function rawPart(key: KeyObject, part: "d" | "x"): string {
  return Buffer.from(key.export({ format: "jwk" })[part] ?? "", "base64url").toString("base64");
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
