/**
 * The interop suite: each of twelve meshes of Go and Weft parts runs the same named tests. Started by run.mjs, which has
 * built the Go binary; what ran, and why something did not, goes to the file $WEFT_INTEROP_RESULTS.
 */
import { writeFileSync } from "node:fs";
import { after, suite, test } from "node:test";
import { createMesh, type Mesh, type Variant } from "./mesh.js";
import { rows } from "./rows.js";
import { runScenarios, type ScenarioResult } from "./scenarios.js";
import { type Setup, setups } from "./setups.js";
import { type Result, skipReason } from "./skips.js";

const { WEFT_INTEROP_RESULTS, WEFT_INTEROP_VARIANTS = "unix+mtls", WEFT_INTEROP_ONLY = "" } = process.env;
/** Meshes that run at the same time: one of five processes leaves a processor half idle. */
const concurrency = 3;

const results: Result[] = [];
const beside: ScenarioResult[] = [];
for (const variant of WEFT_INTEROP_VARIANTS.split(",").map(parseVariant)) {
  suite(`${variant.security} over ${variant.transport}`, { concurrency }, () => {
    for (const setup of setups) if (setup.name.includes(WEFT_INTEROP_ONLY)) suiteOf(setup, variant);
  });
}
runScenarios(beside, WEFT_INTEROP_ONLY);
after(() => {
  if (WEFT_INTEROP_RESULTS === undefined) return;
  writeFileSync(
    WEFT_INTEROP_RESULTS,
    JSON.stringify({ outcomes: results, beside, rows: rows.map(({ name, shows }) => ({ name, shows })) }),
  );
});

function suiteOf(setup: Setup, variant: Variant): void {
  test(setup.name, async (context) => {
    const whole = skipReason(setup, variant);
    let mesh: Mesh | undefined;
    let broken: string | undefined;
    try {
      if (whole === undefined) {
        mesh = await createMesh(setup, variant);
        for (const part of ["registry", "nsmgr", "forwarder", "endpoint"] as const) await mesh.start(part);
      }
      for (const { name, run } of rows) {
        const skip = whole ?? skipReason(setup, variant, name) ?? broken;
        const startedMs = Date.now();
        const result = { setup: setup.name, variant, row: name };
        await context.test(name, { skip: skip ?? false }, async () => {
          if (mesh === undefined) return;
          try {
            await run(mesh);
            results.push({ ...result, outcome: "passed", tookMs: Date.now() - startedMs });
          } catch (error) {
            results.push({ ...result, outcome: "failed", tookMs: Date.now() - startedMs });
            if (name === "request") broken = "there is no connection";
            throw error;
          }
        });
        if (skip !== undefined) results.push({ ...result, outcome: "skipped", reason: skip, tookMs: 0 });
      }
    } finally {
      await mesh?.stop();
    }
  });
}

function parseVariant(text: string): Variant {
  const [transport, security] = text.split("+");
  if ((transport !== "tcp" && transport !== "unix") || (security !== "plain" && security !== "mtls")) {
    throw new Error(`"${text}" is no variant; write tcp+plain, unix+plain, tcp+mtls or unix+mtls`);
  }
  return { transport, security };
}
