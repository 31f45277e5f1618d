import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { manualClock } from "../../../sdk/clock.js";
import { Code } from "../../../sdk/status.js";
import { silentLog } from "../../../sdk/telemetry/log.js";
import { openEtcdStores } from "./stores.js";

/** Nobody listens there. */
const endpoints = ["http://127.0.0.1:1", "http://127.0.0.1:2"];

test("a store whose members do not answer is not open, and says which members", async () => {
  const common = { prefix: "/x", leasePeriodMs: 1_000, clock: manualClock(0), log: silentLog };
  const opening = openEtcdStores({ endpoints, ...common, signal: AbortSignal.timeout(500) });
  await assert.rejects(opening, { code: Code.UNAVAILABLE, message: /no etcd member of http:\/\/127\.0\.0\.1:1, .*answers/ });
});

test("a registry that waits for its store says so, and ends when it is told to", async () => {
  const weft = fileURLToPath(new URL("../../../scripts/weft.mjs", import.meta.url));
  const env = {
    PATH: process.env["PATH"] ?? "",
    WEFT_STORE: "etcd",
    WEFT_ETCD_ENDPOINTS: endpoints.join(),
    NSM_LISTEN_ON: "tcp://127.0.0.1:0",
  };
  const child = spawn(process.execPath, [weft, "registry", "--insecure"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "exit");
  let said = "";
  let isTold = false;
  for await (const chunk of child.stderr) {
    said += String(chunk);
    if (isTold || !said.includes("etcd cannot be followed")) continue;
    // once: a second one ends it at once
    isTold = child.kill("SIGTERM");
  }
  assert.deepEqual(await ended, [0, null], said);
});
