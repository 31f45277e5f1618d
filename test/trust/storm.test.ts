import assert from "node:assert/strict";
import { performance } from "node:perf_hooks";
import { test } from "node:test";
import { Code } from "../../sdk/status.js";
import { startTrustedMesh, type Workload, wanted } from "./mesh.js";

const cycles = Number(process.env["WEFT_TEST_CYCLES"] ?? 25);

test("the storm of one tenant is refused with a remedy, while another is served as before and can heal", async (t) => {
  const limits = { WEFT_TENANT_RATE: "10", WEFT_TENANT_BURST: "60", WEFT_TENANT_CONCURRENCY: "2", WEFT_TENANT_QUOTA: "40" };
  const mesh = await startTrustedMesh(t, limits);
  await mesh.serve({ name: "nse" });
  const [alice, storm] = [await mesh.workload("/alice"), await mesh.workload("/storm")];
  const kept = await alice.request(wanted("kept"));
  const before = await measure(alice, "quiet");

  const refused: { code?: number; details?: string }[] = [];
  let over = false;
  const raging = Array.from({ length: 12 }, async (_, i) => {
    for (let n = 0; !over; n++) {
      await storm.request(wanted(`storm-${i}-${n}`)).catch((error) => refused.push(error as { code: number }));
      // each is refused within a millisecond or two: the rest of the machine is for the others
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
  const during = await measure(alice, "storm");
  await alice.request(kept);
  over = true;
  await Promise.all(raging);

  assert.ok(refused.length > 0, "the storm is refused");
  for (const { code } of refused) assert.equal(code, Code.RESOURCE_EXHAUSTED);
  assert.match(
    refused[0]?.details ?? "",
    /too much at once: "spiffe:\/\/weft.test\/storm".*(try again in \d+ ms|give some back)/,
  );
  const held = (await storm.sees(mesh.urls[0])).length;
  assert.ok(held <= 40, `the quota holds: ${held}`);
  const figures = { refused: refused.length, held, p50: [before.p50, during.p50], p99: [before.p99, during.p99] };
  t.diagnostic(`milliseconds of the other, quiet and in the storm: ${JSON.stringify(figures)}`);
});

async function measure(who: Workload, name: string): Promise<{ p50: number; p99: number }> {
  const times: number[] = [];
  for (let i = 0; i < cycles; i++) {
    const startMs = performance.now();
    const connection = await who.request(wanted(`${name}-${i}`));
    times.push(performance.now() - startMs);
    await who.close(connection);
  }
  times.sort((a, b) => a - b);
  const at = (share: number): number =>
    Math.round((times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0) * 10) / 10;
  return { p50: at(0.5), p99: at(0.99) };
}
