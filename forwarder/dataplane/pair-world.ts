/** Two pods and what can be at each end, for tests of every pair of kinds of ports: an echo goes from the one end to the other. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { runTool, socketName } from "../native/testing/tool.js";
import { publicKeyOf } from "../wireguard-ends.js";
import { type Cleanup, type Namespace, namespace, numbered, pings } from "./compliance-world.js";
import type { MemifPort, Port, WireguardPort } from "./dataplane.js";

export type End = "kernel" | "memif";
export type Payload = "ETHERNET" | "IP";
export const ends: readonly End[] = ["kernel", "memif"];
export const payloads: readonly Payload[] = ["ETHERNET", "IP"];
export const mtuBytes = 1400;

export interface PairWorld {
  port(side: "client" | "endpoint", end: End): Port;
  /** From the client's end to the endpoint's. */
  echo(client: End, endpoint: End): Promise<void>;
}

/** Two pods with 172.16.0.1 and 172.16.0.0. */
export function createWorld(t: Cleanup, payload: Payload): PairWorld {
  const pods: Record<"client" | "endpoint", Namespace> = { client: namespace(t, "client"), endpoint: namespace(t, "endpoint") };
  const kernel = numbered(pods.client, pods.endpoint);
  const sockets = { client: socketName("client"), endpoint: socketName("endpoint") };
  const memif = (side: "client" | "endpoint"): MemifPort => ({
    kind: "memif",
    role: side === "client" ? "server" : "client",
    socketFile: sockets[side],
    netnsUrl: pods[side].url,
  });
  const tool = (name: string, side: "client" | "endpoint", ...more: string[]) =>
    runTool(t, [
      name,
      "--socket",
      sockets[side],
      "--netns",
      `/run/netns/${pods[side].name}`,
      ...(payload === "IP" ? ["--ip"] : []),
      ...more,
    ]);
  const frame = mtuBytes + (payload === "IP" ? 0 : 14);
  return {
    port: (side, end) => (end === "memif" ? memif(side) : kernel[side]),
    async echo(client, endpoint) {
      if (endpoint === "memif") tool("echo", "endpoint", "--server", "--interval", "60");
      if (client === "kernel") {
        assert.ok(await answers(() => pings(pods.client, "172.16.0.0")));
        assert.ok(await pings(pods.client, "172.16.0.0", "", mtuBytes - 28), "a full packet");
        return;
      }
      // What is sent before the other end is there is lost, and the tool sends no more than a hundred beyond what it waits for.
      const ping = (): ReturnType<typeof tool> => {
        const where = ["--from", "172.16.0.1", "--to", "172.16.0.0"];
        return tool("ping", "client", ...where, "--count", "3", "--interval", "0.02", "--seconds", "4", "--size", String(frame));
      };
      const lines: unknown[] = [];
      for (let tries = 0; tries < 3; tries++) {
        const running = ping();
        const code = await running.ended;
        if (code === 0) return;
        lines.push(...running.lines);
      }
      assert.fail(JSON.stringify(lines));
    },
  };
}

/** A peer that has just been started needs a moment to connect. */
async function answers(ask: () => Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 10; tries++) if (await ask()) return true;
  return false;
}

export function pairs<T>(one: readonly T[], two: readonly T[]): (readonly [T, T])[] {
  return one.flatMap((a) => two.map((b) => [a, b] as const));
}

export interface Key {
  readonly secret: string;
  readonly open: string;
}

export function key(): Key {
  const secret = randomBytes(32).toString("base64");
  return { secret, open: publicKeyOf(secret) as string };
}

/** One end of a WireGuard tunnel between the two nodes of `twoNodes`. */
export function wireguardEnd(own: Key, other: Key, localAddress: string, remoteAddress: string): WireguardPort {
  return {
    kind: "wireguard",
    privateKey: own.secret,
    listenPort: 51_900,
    localAddress,
    remoteAddress,
    remotePort: 51_900,
    remotePublicKey: other.open,
    madeAtMs: 1,
  };
}
