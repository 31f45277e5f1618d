/**
 * What of ours a VPP has (interfaces, by their tags) against the ledger of the data plane vpp. VPP outlives forwarders, and another's VPP
 * outlives everything of ours.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { isThere, removeInterface, type VppInterface } from "../dataplane/vpp/interfaces.js";
import { takeInventory } from "../dataplane/vpp/inventory.js";
import { digest, taggerFor } from "../dataplane/vpp/shape.js";
import { connectVpp, type VppApi } from "../vpp/client.js";
import type { Definitions } from "../vpp/codec.js";
import type { Auditor, Noted, Seen } from "./audit.js";
import { bookEntries } from "./book-entries.js";

export interface VppAuditorOptions {
  /** Of another's VPP; default: that which each forwarder starts for itself. */
  readonly apiSocket?: string | undefined;
  readonly definitions?: Definitions | undefined;
}

/** @param stateDirs  of the forwarders whose ledgers count as ours */
export function vppAuditor(stateDirs: readonly string[], options: VppAuditorOptions = {}): Auditor {
  const withLedger = (): string[] => stateDirs.filter((stateDir) => existsSync(ledgerOf(stateDir)));
  return {
    name: "vpp",
    seen: async () => (await Promise.all(withLedger().map((stateDir) => inVpp(stateDir, options)))).flat(),
    noted: async () => withLedger().flatMap((stateDir) => notesOf(stateDir, options)),
  };
}

const ledgerOf = (stateDir: string): string => join(stateDir, "vpp-cross-connects");
const socketOf = (stateDir: string, { apiSocket }: VppAuditorOptions): string => apiSocket ?? join(stateDir, "vpp", "api.sock");
const keyOf = (stateDir: string, owner: string, side: string): string => `vpp ${stateDir} ${owner} ${side}`;
/** As tags have it (vpp/shape.ts). */
const ownerOf = (id: string): string => digest(id).slice(0, 20);
const sides = ["c", "e"] as const;

function notesOf(stateDir: string, options: VppAuditorOptions): Noted[] {
  const isRunning = existsSync(socketOf(stateDir, options));
  return bookEntries(ledgerOf(stateDir)).flatMap(({ id, isSettled }) =>
    sides.map((side) => ({
      key: keyOf(stateDir, ownerOf(id), side),
      kind: "interface",
      name: `${side === "c" ? "client" : "endpoint"} side in VPP`,
      netns: "",
      owner: `connection ${id}`,
      certain: isSettled && isRunning,
    })),
  );
}

async function inVpp(stateDir: string, options: VppAuditorOptions): Promise<Seen[]> {
  const api = await reach(stateDir, options);
  if (api === undefined) return [];
  const { prefix } = taggerFor(stateDir);
  try {
    const { interfaces } = await takeInventory(api, prefix);
    return [...interfaces.values()].map((found) => seenInterface(stateDir, prefix, found, options));
  } finally {
    await api.close();
  }
}

/** Undefined: no VPP runs there, so nothing is in it. */
async function reach(stateDir: string, options: VppAuditorOptions): Promise<VppApi | undefined> {
  const socketPath = socketOf(stateDir, options);
  if (!existsSync(socketPath)) return undefined;
  return await connectVpp({ socketPath, definitions: options.definitions }).catch(() => undefined);
}

function seenInterface(stateDir: string, prefix: string, found: VppInterface, options: VppAuditorOptions): Seen {
  const [owner = "", side = ""] = found.tag.slice(prefix.length).split(" ");
  return {
    key: keyOf(stateDir, owner, side),
    instance: String(found.swIfIndex),
    kind: "interface",
    name: `${found.kind} ${found.swIfIndex} in VPP`,
    netns: "",
    owner: `ledger ${stateDir}`,
    reclaim: async () => {
      const api = await reach(stateDir, options);
      if (api === undefined) return;
      try {
        if (await isThere(api, found)) await removeInterface(api, found);
      } finally {
        await api.close();
      }
    },
    detail: "its ledger says nothing of it",
    // the way to other nodes serves all connections, and stays
    silent: !sides.some((each) => each === side),
  };
}
