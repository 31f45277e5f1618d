/** Who is refused by name, before anything of a call is looked at: see policies/admission.ts. */
import type { Peer } from "../peer.js";
import { Code, type StatusError, statusError } from "../status.js";

export interface Gate {
  /** @returns undefined = the call is looked at; else its status, and how long that waits, in milliseconds */
  refuse(peer: Peer, method: string): { readonly status: StatusError; readonly holdMs: number } | undefined;
}

/** Answers that wait at once in a process; further ones go out at once. */
const maxHeld = 4096;

/** The part of an edge that asks the gate. */
export interface GatePassage {
  /** @throws what the gate says, after its time */
  pass(method: string, peer: Peer): Promise<void>;
  /** Answers all who wait now. */
  end(): void;
}

export interface GateOptions {
  readonly gate?: Gate | undefined;
  readonly onCall?: ((report: { method: string; code: Code; durationMs: number }) => void) | undefined;
}

export function passGate({ gate, onCall }: GateOptions): GatePassage {
  const waiting = new Set<() => void>();

  function wait(holdMs: number): Promise<void> {
    if (waiting.size >= maxHeld || holdMs <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const go = (): void => {
        clearTimeout(timer);
        waiting.delete(go);
        resolve();
      };
      const timer = setTimeout(go, holdMs);
      waiting.add(go);
    });
  }

  return {
    async pass(method, peer) {
      const shut = gate?.refuse(peer, method);
      if (shut === undefined) return;
      await wait(shut.holdMs);
      onCall?.({ method, code: shut.status.code, durationMs: shut.holdMs });
      throw shut.status;
    },
    end() {
      for (const go of [...waiting]) go();
    },
  };
}

/** What such a caller hears. */
export function tooMuch(name: string, retryMs: number): StatusError {
  return statusError(Code.RESOURCE_EXHAUSTED, `too much at once: "${name}" goes on asking; try again in ${retryMs} ms`);
}
