/** The built-in authority beside a real API server: pods join by their service account tokens. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { idsOf } from "../../apps/ca/kubernetes.js";
import { run } from "../../apps/ca/main.js";
import { identityFromCa } from "../../sdk/identity/ca-client.js";
import { Code } from "../../sdk/status.js";
import { silentLog } from "../../sdk/telemetry/log.js";
import { until } from "../../sdk/testing/until.js";
import { noApiServer, startApiServer } from "./rig/api-server.js";

test("row 7.9: an identity from a service account token; the root outlives the authority, another audience is refused", {
  skip: noApiServer(),
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "weft-ca-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const server = await startApiServer();
  t.after(() => server.stop());
  const { kubectl } = server;
  await kubectl(["create", "serviceaccount", "app"]);
  const port = await freePort();
  const start = async (): Promise<{ root: string; stop(): Promise<void> }> => {
    const stopping = new AbortController();
    const env = {
      KUBECONFIG: server.kubeconfig,
      NSM_NAME: "weft-ca",
      NSM_LISTEN_ON: `tcp://127.0.0.1:${port}`,
      WEFT_CA_KUBERNETES: "true",
      WEFT_TRUST_DOMAIN: "weft.test",
      WEFT_STATE_DIR: join(folder, "state"),
      NSM_LOG_LEVEL: "error",
    };
    const ended = run({ argv: [], env, signal: stopping.signal });
    const stop = async (): Promise<void> => {
      stopping.abort();
      assert.equal(await ended, 0);
    };
    t.after(stop);
    const root = await until(
      "the root",
      () => kubectl(["get", "configmap", "weft-ca", "-o", "jsonpath={.data.root}"]).catch(() => undefined),
      20_000,
    );
    return { root, stop };
  };
  const first = await start();
  assert.match(first.root, /^[0-9a-f]{64}$/);
  const file = join(folder, "token");
  const url = `tcp://127.0.0.1:${port}`;
  const ask = (spiffeId?: string) =>
    identityFromCa({ url, join: { file, root: first.root }, spiffeId }, { log: silentLog, signal: AbortSignal.timeout(20_000) });
  writeFileSync(file, await kubectl(["create", "token", "app", "--audience", "weft"]));
  const source = await ask();
  assert.equal(source.current().id.id, "spiffe://weft.test/ns/default/sa/app");
  source.close();
  await assert.rejects(ask("spiffe://weft.test/ns/kube-system/sa/app"), { code: Code.UNAUTHENTICATED });
  writeFileSync(file, await kubectl(["create", "token", "app"]));
  await assert.rejects(ask(), { code: Code.UNAUTHENTICATED }, "a token for the API server is of no use here");
  writeFileSync(file, "a.b.c");
  await assert.rejects(ask(), { code: Code.UNAUTHENTICATED });
  await first.stop();
  const second = await start();
  assert.equal(second.root, first.root, "the root is kept in the Secret");
});

test("what a token proves: the pod, the service account on its node, the service account", () => {
  const extra = { "authentication.kubernetes.io/pod-name": ["web-0"], "authentication.kubernetes.io/node-name": ["n1"] };
  assert.deepEqual(idsOf("d", "system:serviceaccount:shop:web", extra), [
    "spiffe://d/ns/shop/pod/web-0",
    "spiffe://d/ns/shop/sa/web/node/n1",
    "spiffe://d/ns/shop/sa/web",
  ]);
  assert.throws(() => idsOf("d", "system:node:n1", {}), { code: Code.UNAUTHENTICATED });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return typeof address === "object" && address !== null ? address.port : 0;
}
