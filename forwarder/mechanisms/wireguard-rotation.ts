/**
 * Rotates the static keys of a WireGuard tunnel while packets flow, none of them lost: a second tunnel with new keys and
 * ports is built beside, its handshake is proven, and only then each side sends through it; both receive from both all the
 * time. The asking side leads, in requests and answers that travel anyway:
 *
 *   request  src_next_*            answer  dst_next_*      both build the second tunnel
 *   request  src_* = the new ones  answer  dst_* = theirs  both send through it, the old one only receives
 *   request  a moment later        answer                  both end the old one
 *
 * A forwarder that does not know src_next_* answers without dst_next_*, and is left alone with its keys. Each step can be
 * repeated, and a forwarder that is restarted in between goes on where it was.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Mechanism } from "../../sdk/gen/connection.js";
import { withParameters } from "../../sdk/mechanisms/parameters.js";
import { parseWireguard, wireguardParameter } from "../../sdk/mechanisms/wireguard.js";
import type { DataPlane } from "../dataplane/dataplane.js";
import { type HeldEnds, isNext, type RemoteEnd, type WireguardEnds } from "../wireguard-ends.js";

export interface KeyRotation {
  /** How old keys may become; 0: they are kept for the life of the connection. */
  readonly periodMs: number;
  /** Keys made until then are old, whatever their age; for a rotation on demand. */
  oldUntilMs: number;
  readonly nowMs: () => number;
  /** How long the old tunnel receives after the new one has taken its place; absent: longer than any packet travels. */
  readonly drainMs?: number;
}

export interface RotationOptions {
  readonly ends: WireguardEnds;
  readonly rotation: KeyRotation | undefined;
  readonly dataPlane: Pick<DataPlane, "hasRoomBeside" | "isBesideProven">;
}

const defaultDrainMs = 2_000;
/** Else the next refresh looks again. */
const proofTimeoutMs = 1_500;
const proofPollMs = 20;

/** What the asking side proposes in a refresh, from what was agreed before. */
export async function proposeKeys(id: string, agreed: Mechanism, options: RotationOptions): Promise<Mechanism> {
  const { ends, dataPlane } = options;
  const plain = withParameters(agreed, withoutNext);
  const held = ends.held(id);
  if (held === undefined) return plain;
  if (isNext(held)) {
    const ready = held.beside?.remote !== undefined && (await dataPlane.isBesideProven?.(id)) === true;
    return withParameters(plain, ready ? asMain(held) : asNext(held));
  }
  if (held.beside !== undefined) {
    if (isDrained(held, options)) ends.dropBeside(id);
    return plain;
  }
  if (!isDue(held, options) || (await dataPlane.hasRoomBeside?.(id)) !== true) return plain;
  await ends.prepare(id);
  const prepared = ends.held(id);
  return prepared === undefined ? plain : withParameters(plain, asNext(prepared));
}

/** The asking side takes note of what was answered. */
export function takeAnswer(id: string, answer: Mechanism, remote: RemoteEnd, ends: WireguardEnds): void {
  const held = ends.held(id);
  const { srcPublicKey, dstNext } = parseWireguard(answer, id);
  if (held?.beside !== undefined && srcPublicKey === held.beside.publicKey) ends.promote(id);
  ends.meet(id, remote);
  if (held === undefined || !isNext(held) || srcPublicKey === held.beside?.publicKey) return;
  if (dstNext === undefined) ends.dropBeside(id, "refused");
  else ends.meetBeside(id, dstNext);
}

/** The answering side does as it is asked, and gives its part of the answer. */
export async function answerKeys(id: string, asked: Mechanism, remote: RemoteEnd, options: RotationOptions): Promise<Mechanism> {
  const { ends, dataPlane } = options;
  const { srcNext } = parseWireguard(asked, id);
  await ends.hold(id);
  if (ends.held(id)?.beside?.remote?.publicKey === remote.publicKey) ends.promote(id);
  ends.meet(id, remote);
  const held = ends.held(id);
  if (held?.beside !== undefined && srcNext?.publicKey !== held.beside.remote?.publicKey) {
    if (isNext(held) || isDrained(held, options)) ends.dropBeside(id);
  }
  const free = ends.held(id)?.beside === undefined;
  if (srcNext !== undefined && free && (await dataPlane.hasRoomBeside?.(id)) === true) await ends.prepare(id, srcNext);
  const now = ends.held(id);
  const wanted = srcNext !== undefined && now?.beside?.remote?.publicKey === srcNext.publicKey ? now.beside : undefined;
  return withParameters(asked, {
    [wireguardParameter.dstPort]: now?.main.listenPort,
    [wireguardParameter.dstPublicKey]: now?.main.publicKey,
    [wireguardParameter.dstNextPort]: wanted?.listenPort,
    [wireguardParameter.dstNextPublicKey]: wanted?.publicKey,
  });
}

/** Waits a moment for the handshake of a second tunnel that was just built: whether it can take its place now. */
export async function awaitsProof(id: string, { ends, dataPlane }: RotationOptions): Promise<boolean> {
  const deadline = performance.now() + proofTimeoutMs;
  for (;;) {
    const held = ends.held(id);
    if (held?.beside?.remote === undefined || !isNext(held)) return false;
    if ((await dataPlane.isBesideProven?.(id)) === true) return true;
    if (performance.now() >= deadline) return false;
    await delay(proofPollMs);
  }
}

function isDue({ main, refusedAtMs }: HeldEnds, { rotation }: RotationOptions): boolean {
  if (rotation === undefined) return false;
  const { periodMs, oldUntilMs, nowMs } = rotation;
  if (main.madeAtMs <= oldUntilMs && refusedAtMs <= oldUntilMs) return true;
  return periodMs > 0 && nowMs() - Math.max(main.madeAtMs, refusedAtMs) >= periodMs;
}

function isDrained({ settledAtMs }: HeldEnds, { rotation }: RotationOptions): boolean {
  return (rotation?.nowMs ?? Date.now)() - settledAtMs >= (rotation?.drainMs ?? defaultDrainMs);
}

const withoutNext = {
  [wireguardParameter.srcNextPort]: undefined,
  [wireguardParameter.srcNextPublicKey]: undefined,
  [wireguardParameter.dstNextPort]: undefined,
  [wireguardParameter.dstNextPublicKey]: undefined,
};

function asNext({ beside }: HeldEnds): Record<string, string | number | undefined> {
  return {
    [wireguardParameter.srcNextPort]: beside?.listenPort,
    [wireguardParameter.srcNextPublicKey]: beside?.publicKey,
  };
}

function asMain({ beside }: HeldEnds): Record<string, string | number | undefined> {
  return { [wireguardParameter.srcPort]: beside?.listenPort, [wireguardParameter.srcPublicKey]: beside?.publicKey };
}
