/** Pairs of memif interfaces in a core, and traffic that tells whether any of it was lost. For tests. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CleanUp } from "../../../sdk/testing/cleanup.js";
import type { PacketCore } from "../core.js";
import { runTool, socketName } from "./tool.js";

/** A folder that goes with the test. */
export function temporary(t: CleanUp): string {
  const folder = mkdtempSync(join(tmpdir(), "wf-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Two memif interfaces, joined. */
export interface Pair {
  readonly a: string;
  readonly b: string;
  readonly portA: number;
  readonly connect: number;
}

export async function pair(core: PacketCore, name: string): Promise<Pair> {
  const [a, b] = [socketName(`${name}-a`), socketName(`${name}-b`)];
  const memif = { kind: "memif", mode: "ethernet", role: "server" } as const;
  const portA = await core.addPort({ ...memif, name: `${name}.a`, path: a });
  const portB = await core.addPort({ ...memif, name: `${name}.b`, path: b });
  return { a, b, portA, connect: await core.setConnect({ name, portA, portB, mtuBytes: 1500 }) };
}

/** Numbered packets from a to b until it is asked whether any was lost. */
export async function runTraffic(t: CleanUp, { a, b }: Pair) {
  const sink = runTool(t, ["sink", "--socket", b, "--interval", "0.05"]);
  await sink.until(({ up }) => up);
  const blast = runTool(t, ["blast", "--socket", a, "--rate", "20000", "--interval", "0.05"]);
  await blast.until(({ sent }) => sent > 100);
  return {
    async lostNothing(core: PacketCore, { connect }: Pair, way: "ab" | "ba" = "ab"): Promise<void> {
      const { sent } = await blast.stop();
      const counted = () => core.board.direction(connect, way);
      await sink.until(
        ({ received }) => BigInt(received) === counted().packets && counted().packets + counted().dropFull === BigInt(sent),
      );
      assert.equal((await sink.stop()).doubled, 0);
    },
  };
}
