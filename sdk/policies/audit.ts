/** The audit log: one line for each refusal, with the reason that the peer is not told. */
import { describePeer, type Peer } from "../peer.js";
import type { Log } from "../telemetry/log.js";

export interface Refusal {
  /** What was asked: request, close, register, unregister, find, monitor, inspect. */
  readonly method: string;
  readonly peer: Peer;
  /** Which connection, endpoint or service; "" = none in particular. */
  readonly object: string;
  readonly policy: string;
  readonly reason: string;
}

export type Audit = (refusal: Refusal) => void;

/** Texts of strangers are cut: a line stays a line. */
const maxText = 512;

export function auditTo(log: Log): Audit {
  return ({ method, peer, object, policy, reason }) => {
    log.warn(`refused ${method}: ${reason.slice(0, maxText)}`, {
      audit: "refused",
      method,
      peer: describePeer(peer),
      object: object.slice(0, maxText),
      policy,
    });
  };
}
