/** weft demo: a mesh is built, used, broken, healed and removed, and each promise is proved with packets. */
import { existsSync } from "node:fs";
import type { CliContext } from "../context.js";
import { drawMesh } from "../demo/draw.js";
import { play } from "../demo/play.js";
import { closedCleanly } from "../demo/proofs.js";
import { type Record, startRecord } from "../demo/record.js";
import { openStage } from "../demo/stage.js";
import { isInside, mayMakeNamespaces, mayMakeUserNamespaces, prepareInside, runInside } from "../demo/unprivileged.js";
import { meshNamespaces } from "../mesh/clean.js";
import { launchMesh } from "../mesh/launch.js";
import { runFolder } from "../mesh/plan.js";
import { findMeshProcesses } from "../mesh/processes.js";
import { requireMesh } from "../mesh/state.js";
import { untilAborted } from "../until-aborted.js";
import { takeDown } from "./down.js";

export interface DemoOptions {
  readonly json?: boolean;
  readonly keep?: boolean;
  /** The fast path instead: memif, without namespaces. */
  readonly fast?: boolean;
}

const nodes = 2;

/** @returns 0 when every proof holds */
export async function demo(options: DemoOptions, context: CliContext): Promise<number> {
  if (options.fast === true) return (await import("../fast/demo.js")).fastDemo(options, context);
  if (isInside(context.env)) prepareInside();
  else if (!mayMakeNamespaces()) {
    // A plain container allows neither root's rights nor a user namespace; what needs none of them runs there all the same.
    if (mayMakeUserNamespaces()) return demoInside(options, context);
    const why =
      "\n(this place allows neither root's rights nor user namespaces: the memif mesh is shown instead of the kernel's)";
    return (await import("../fast/demo.js")).fastDemo(options, context, why);
  }
  const show = options.json === true ? context.err : context.out;
  const record = startRecord(context, show);
  const startedAt = performance.now();
  show.write(`Weft demo${isInside(context.env) ? " (ordinary user: everything happens in a user namespace)" : ""}\n`);
  const { self, env, signal } = context;
  await launchMesh({ nodes, self, env, signal, onStep: record.step });
  try {
    await perform(options, context, record, show);
  } finally {
    // also after Ctrl-C: what was started is removed, unless it is to be explored
    if (options.keep !== true || signal.aborted) await takeDown(AbortSignal.timeout(60_000));
  }
  if (options.keep !== true) await record.prove("everything is removed", async () => nothingIsLeft());
  const ok = record.proofs.every((proof) => proof.ok);
  const failed = record.proofs.filter((proof) => !proof.ok).length;
  const leftOut = record.proofs.filter((proof) => proof.skipped === true).length;
  const tried = record.proofs.length - leftOut;
  const took = ((performance.now() - startedAt) / 1000).toFixed(1);
  show.write(
    `\n${ok ? `all ${tried} proofs hold${leftOut === 0 ? "" : `, ${leftOut} left out`}` : `${failed} of ${record.proofs.length} proofs FAILED`} (${took} s)\n`,
  );
  if (options.json === true) context.out.write(`${JSON.stringify({ ok, proofs: record.proofs })}\n`);
  if (options.keep === true) await explain(context, show);
  return ok ? 0 : 1;
}

async function perform(options: DemoOptions, context: CliContext, record: Record, show: CliContext["out"]): Promise<void> {
  const stage = openStage(context);
  try {
    const views = await play(stage, record);
    const drawing = drawMesh(requireMesh(), views);
    if (options.keep !== true) await record.prove("connections are given back", () => closedCleanly(stage));
    show.write(`\nWhat was built\n\n${drawing}\n`);
  } finally {
    stage.close();
  }
}

function nothingIsLeft(): string {
  const namespaces = meshNamespaces();
  const processes = findMeshProcesses(process.pid);
  const left = [
    ...namespaces.map((name) => `namespace ${name}`),
    ...processes.map((pid) => `process ${pid}`),
    ...(existsSync(runFolder) ? [runFolder] : []),
  ];
  if (left.length > 0) throw new Error(`left: ${left.join(", ")}`);
  return `no namespace, no process, no file in ${runFolder}`;
}

/** For an ordinary user: the whole demo in a user namespace. With --keep the way in is told first. */
async function demoInside(options: DemoOptions, context: CliContext): Promise<number> {
  const flags = [...(options.json === true ? ["--json"] : []), ...(options.keep === true ? ["--keep"] : [])];
  return runInside(["demo", ...flags], context, (entry) => {
    if (options.keep === true)
      context.err.write(`from another terminal: ${entry.join(" ")} ${context.self.join(" ")} get connections\n`);
  });
}

/** The mesh goes on: how to look at it, and how to end it. */
async function explain(context: CliContext, show: CliContext["out"]): Promise<void> {
  const look = "weft get connections -o wide, weft why client, weft describe pod firewall, weft exec client -- ip address";
  if (!isInside(context.env)) {
    show.write(`\nThe mesh stays. Look at it: ${look}. End it: weft down\n`);
    return;
  }
  show.write(`\nThe mesh stays until Ctrl-C; the first line says how to enter it. Look at it: ${look}\n`);
  await untilAborted(context.signal);
  await takeDown(AbortSignal.timeout(60_000));
}
