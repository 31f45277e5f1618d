/**
 * The configuration protocol of user-space WireGuard (https://www.wireguard.com/xplatform/): lines of key=value over a
 * unix socket, ended by an empty line, answered with errno=N.
 */
import { connect } from "node:net";
import { parseAddress } from "../ip.js";

/** One device with one peer: what a tunnel between two nodes is. */
export interface WireguardConfiguration {
  /** 32 bytes in standard base64. */
  readonly privateKey: string;
  readonly listenPort: number;
  readonly peerPublicKey: string;
  readonly peerAddress: string;
  readonly peerPort: number;
  readonly keepaliveSeconds: number;
}

/** Replaces whatever the device had. Every address is allowed: what enters the tunnel was routed there. */
export function encodeConfiguration(wanted: WireguardConfiguration): string {
  const { peerAddress, peerPort } = wanted;
  const host = parseAddress(peerAddress)?.family === 6 ? `[${peerAddress}]` : peerAddress;
  return [
    "set=1",
    `private_key=${hexOf(wanted.privateKey)}`,
    `listen_port=${wanted.listenPort}`,
    "replace_peers=true",
    `public_key=${hexOf(wanted.peerPublicKey)}`,
    `endpoint=${host}:${peerPort}`,
    `persistent_keepalive_interval=${wanted.keepaliveSeconds}`,
    "replace_allowed_ips=true",
    "allowed_ip=0.0.0.0/0",
    "allowed_ip=::/0",
    "",
    "",
  ].join("\n");
}

/** The error number of an answer; undefined: it is not of this protocol. */
export function errorNumberOf(answer: string): number | undefined {
  const found = /^errno=(-?\d{1,9})$/m.exec(answer)?.[1];
  return found === undefined ? undefined : Math.abs(Number(found));
}

/**
 * Sends a configuration and waits for the answer.
 * @throws Error the socket's refusal, no answer in time, or the device's refusal by number; never with a key in its text
 */
export async function sendConfiguration(socketPath: string, text: string, timeoutMs = 5_000): Promise<void> {
  const answer = await exchange(socketPath, text, timeoutMs);
  const number = errorNumberOf(answer);
  if (number === 0) return;
  throw new Error(`WireGuard device at ${socketPath} refused its configuration: ${number ? `errno ${number}` : "no answer"}`);
}

/**
 * When the device has last completed a handshake with its peer; milliseconds since the epoch, 0: never.
 * @throws Error the socket's refusal, or no answer in time
 */
export async function readHandshakeMs(socketPath: string, timeoutMs = 5_000): Promise<number> {
  return handshakeMsOf(await exchange(socketPath, "get=1\n\n", timeoutMs));
}

/** The latest of what an answer to get=1 tells. */
export function handshakeMsOf(answer: string): number {
  const of = (unit: "sec" | "nsec"): number =>
    Number(new RegExp(`^last_handshake_time_${unit}=(\\d{1,16})$`, "m").exec(answer)?.[1] ?? 0);
  return of("sec") * 1000 + Math.floor(of("nsec") / 1_000_000);
}

const maxAnswerLength = 65_536;

function exchange(socketPath: string, text: string, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(socketPath);
    const done = (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(timeoutMs, () => {
      socket.destroy();
      reject(new Error(`WireGuard device at ${socketPath} did not answer within ${timeoutMs} ms`));
    });
    socket.on("error", reject);
    socket.on("end", done);
    socket.on("data", (data) => {
      answer += data.toString("latin1");
      if (answer.endsWith("\n\n") || answer.length > maxAnswerLength) done();
    });
    socket.write(text);
  });
}

function hexOf(key: string): string {
  return Buffer.from(key, "base64").toString("hex");
}
