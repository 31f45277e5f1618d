import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "../status.js";
import { createHealth } from "./health.js";
import { serveHealth } from "./serve-health.js";

test("a probe over HTTP: alive at once, ready when every part serves, not ready while it drains", async () => {
  const health = createHealth();
  const server = await serveHealth(health, "127.0.0.1:0");
  const status = async (path: string, method = "GET"): Promise<number> =>
    (await fetch(`${server.url}${path}`, { method })).status;
  try {
    assert.equal(await status("/livez"), 200);
    assert.equal(await status("/readyz"), 503);
    health.set("", true);
    assert.equal(await status("/readyz"), 200);
    health.set("registry", false);
    assert.equal(await status("/readyz"), 503);
    assert.equal(await status("/metrics"), 404);
    assert.equal(await status("/readyz", "POST"), 405);
    const port = new URL(server.url).port;
    await assert.rejects(serveHealth(health, `127.0.0.1:${port}`), { code: Code.FAILED_PRECONDITION });
  } finally {
    await server.stop();
  }
  await assert.rejects(serveHealth(health, "nonsense"), { code: Code.INVALID_ARGUMENT });
});
