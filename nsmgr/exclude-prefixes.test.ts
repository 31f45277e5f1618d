import assert from "node:assert/strict";
import { mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ConnectionApi } from "../sdk/api.js";
import { backgroundCall, chain } from "../sdk/chain.js";
import { NetworkServiceRequest } from "../sdk/gen/networkservice.js";
import { createLog } from "../sdk/telemetry/log.js";
import { excludePrefixes, followPrefixes } from "./exclude-prefixes.js";

test("row 4.4: the prefixes of the file reach the endpoint once each and not the client", async () => {
  const seen: string[][] = [];
  const handler = chain<ConnectionApi>("test", ["request", "close"])
    .use(excludePrefixes({ current: () => ["10.0.0.0/8", "fd00::/8"] }))
    .end({
      async request(request) {
        seen.push(request.connection?.context?.ip_context?.excluded_prefixes ?? []);
        assert.ok(request.connection);
        return request.connection;
      },
      async close() {},
    });
  const call = backgroundCall(new AbortController().signal);
  const bare = await handler.request(NetworkServiceRequest.fromPartial({ connection: { id: "c" } }), call);
  const own = NetworkServiceRequest.fromPartial({
    connection: { id: "c", context: { MTU: 9, ip_context: { excluded_prefixes: ["fd00::/8", "1.0.0.0/8"] } } },
  });
  const answer = await handler.request(own, call);
  assert.deepEqual(seen, [
    ["10.0.0.0/8", "fd00::/8"],
    ["fd00::/8", "1.0.0.0/8", "10.0.0.0/8"],
  ]);
  assert.deepEqual(bare.context?.ip_context?.excluded_prefixes, []);
  assert.deepEqual(answer.context?.ip_context?.excluded_prefixes, ["fd00::/8", "1.0.0.0/8"]);
  assert.equal(answer.context?.MTU, 9);
});

test("row 4.4: the file is followed; a malformed one is logged and the last good list stays", async (t) => {
  const { path, list, lines, write } = await start(t);
  assert.deepEqual(list.current(), []);
  await write("Prefixes:\n- 10.0.0.0/8\n");
  await until(() => list.current().length === 1);
  await write("prefixes: [10.0.0.0/99]\n");
  await until(() => lines.some((line) => line.includes("the last good list stays")));
  assert.deepEqual(list.current(), ["10.0.0.0/8"]);
  await write("prefixes: [fd00::/8, 10.0.0.0/8]\n");
  await until(() => list.current().length === 2);
  await rm(path);
  await until(() => list.current().length === 0);
});

test("row 4.4: a mounted ConfigMap, which swaps a link, is followed", async (t) => {
  const { path, list, folder } = await start(t);
  await writeFile(join(folder, "v1"), "prefixes: [10.1.0.0/16]");
  await writeFile(join(folder, "v2"), "prefixes: [10.2.0.0/16]");
  await symlink("v1", path);
  await until(() => list.current()[0] === "10.1.0.0/16");
  await symlink("v2", join(folder, "next"));
  await rename(join(folder, "next"), path);
  await until(() => list.current()[0] === "10.2.0.0/16");
});

async function start(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), "weft-prefixes-"));
  const path = join(folder, "excluded.yaml");
  const lines: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line: string) => lines.push(line) } });
  const list = await followPrefixes(path, log);
  t.after(async () => {
    list.stop();
    await rm(folder, { recursive: true });
  });
  const write = async (text: string): Promise<void> => {
    await writeFile(join(folder, "new"), text);
    await rename(join(folder, "new"), path);
  };
  return { folder, path, list, lines, write };
}

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > deadlineMs) throw new Error("condition not met in time");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
