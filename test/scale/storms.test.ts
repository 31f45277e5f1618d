/**
 * Storms against a node of real processes: what is too much is refused so that the caller knows what to do, a client next to
 * it is served meanwhile, and afterwards nothing is left of it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Code, toStatusError } from "../../sdk/status.js";
import { startMesh } from "../journey/mesh.js";
import { until } from "../journey/until.js";
import { collectable, isBack, partsOf, type State, stateOf } from "./process-state.js";
import type { Storm, Told } from "./storm-client.js";

const many = 10_000;

test("a node and its registry stand every storm", { timeout: 240_000 }, async (t) => {
  const mesh = await startMesh(t, { processes: true, env: { ...collectable, NSM_LOG_LEVEL: "warn" } });
  const endpoint = await mesh.node("n1").serve({ name: "nse", cidrs: ["10.0.0.0/8"] });
  const storm = await startStorm(t);
  const parts = partsOf(mesh);
  // compilers and heaps get their size: what is looked at later is what a storm leaves
  await storm.rage("requests", mesh.node("n1").url, 1_000);
  await storm.rage("finds", mesh.registryUrl, 1_000);
  const before = new Map<string, State>();
  for (const [name, pid] of parts) before.set(name, await stateOf(pid));

  /** Runs a storm, with one client that asks for little beside it. */
  const stand = async (kind: Storm, url: string, count: number): Promise<Told> => {
    let raging = true;
    const raged = storm.rage(kind, url, count).finally(() => {
      raging = false;
    });
    let served = 0;
    do {
      const connection = await patiently(() => mesh.request("n1", { service: "service", client: "good" }));
      await patiently(() => mesh.close("n1", connection));
      served++;
    } while (raging);
    const told = await raged;
    t.diagnostic(`${kind}: ${JSON.stringify(told)}, beside it ${served} were served`);
    await until("nothing is connected", async () => (await mesh.node("n1").connections()).length === 0, 60_000);
    await until("nor at the endpoint", () => endpoint.connections.length === 0);
    return told;
  };

  await t.test("10,000 Requests at once: what is too much is RESOURCE_EXHAUSTED with a hint, the rest is served", async () => {
    const { outcomes, hints } = await stand("requests", mesh.node("n1").url, many);
    const { OK = 0, RESOURCE_EXHAUSTED = 0, ...others } = outcomes;
    assert.deepEqual(others, {});
    assert.equal(OK + RESOURCE_EXHAUSTED, many);
    assert.ok(OK >= 200, `${OK} were served`);
    assert.ok(RESOURCE_EXHAUSTED > 0, "nothing was refused");
    assert.equal(hints, RESOURCE_EXHAUSTED);
  });
  await t.test("10,000 Finds at once are answered", async () => {
    const { outcomes } = await stand("finds", mesh.registryUrl, many);
    assert.deepEqual(outcomes, { OK: many });
  });
  await t.test("10,000 Requests that are withdrawn leave nothing", async () => {
    const { outcomes } = await stand("cancels", mesh.node("n1").url, many);
    const { OK = 0, CANCELLED = 0, RESOURCE_EXHAUSTED = 0, ...others } = outcomes;
    assert.deepEqual(others, {});
    assert.equal(OK + CANCELLED + RESOURCE_EXHAUSTED, many);
  });
  await t.test("10,000 calls that are begun and not ended, 1,000 monitors that do not read, 5,000 new connections", async () => {
    await stand("half-open", mesh.node("n1").url, many);
    await stand("deaf", mesh.node("n1").url, 1_000);
    await stand("reconnects", mesh.node("n1").url, 5_000);
  });
  await t.test("memory and descriptors are back, and everybody is served", async () => {
    await storm.end();
    for (const [name, pid] of parts) await isBack(name, pid, before.get(name) ?? assert.fail());
    await mesh.request("n1", { service: "service" });
  });
});

/** Asks again as every client does: on a machine that does other things as well a storm may take all of it for seconds. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (tries === 3 || toStatusError(error).code !== Code.DEADLINE_EXCEEDED) throw error;
    }
  }
}

async function startStorm(t: TestContext) {
  const program = fileURLToPath(new URL("./storm-client.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", program], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await lines.next();
  return {
    async rage(storm: Storm, url: string, count: number): Promise<Told> {
      child.stdin.write(`${JSON.stringify({ storm, url, count })}\n`);
      const { value, done } = await lines.next();
      assert.ok(!done, "the storm has ended early");
      return JSON.parse(value) as Told;
    },
    /** It goes, and its connections with it. */
    async end(): Promise<void> {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      await gone;
    },
  };
}
