/** The examples are what the README shows: short, and they work. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "../sdk/testing/until.js";
import { startDomain } from "./start-domain.js";

const limits = { client: 15, endpoint: 20 };
for (const [name, lines] of Object.entries(limits)) {
  test(`the ${name} of the examples has at most ${lines} lines`, () => {
    const code = readFileSync(pathOf(name), "utf8").trimEnd().split("\n");
    assert.ok(code.length <= lines, `${code.length} lines`);
  });
}

test("the examples connect to each other and leave when asked to", async (t) => {
  const domain = await startDomain();
  t.after(() => domain.stop());
  const { url } = domain.nodes[0];
  const endpoint = start(t, "endpoint", ["icmp-responder", url]);
  await until("the endpoint", () => endpoint.out().includes("serves icmp-responder"), 30_000);
  // nothing is built here: without packets the client would look for another endpoint for ever, which it may, and say so
  const client = start(t, "client", ["kernel://icmp-responder/nsm-1", url]);
  await until("the client", () => client.out().includes("connected: nsm-1 [ '172.16.1.1/32', 'fd00:16::1/128' ]"), 30_000);
  await until("the endpoint to hear of it", () => /client \S+ of/.test(endpoint.out()));
  assert.equal(await client.end(), 0, client.out());
  assert.equal(await endpoint.end(), 0, endpoint.out());
});

function pathOf(name: string): string {
  return fileURLToPath(new URL(`../examples/${name}.ts`, import.meta.url));
}

function start(t: TestContext, name: string, args: readonly string[]) {
  const child: ChildProcess = spawn(process.execPath, ["--import", "tsx", pathOf(name), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let written = "";
  const keep = (chunk: unknown): void => {
    written += String(chunk);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  t.after(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return {
    out: () => written,
    end() {
      child.kill("SIGTERM");
      return ended;
    },
  };
}
