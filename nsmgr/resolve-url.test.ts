import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { EndpointRegistryApi } from "../sdk/api.js";
import { backgroundCall, chain } from "../sdk/chain.js";
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Peer } from "../sdk/peer.js";
import { Code } from "../sdk/status.js";
import { resolveUrl } from "./resolve-url.js";

test("a socket named by its inode is found among those of the caller, and the caller gets its own URL back", async (t) => {
  const { path, inodeUrl } = await start(t);
  const { answered, passedOn } = await register(inodeUrl, me);
  assert.equal(passedOn, `unix://${path}`);
  assert.equal(answered, inodeUrl);
});

test("a socket of another mount namespace is reached through its process", async (t) => {
  const { path, folder, inodeUrl } = await start(t);
  const proc = join(folder, "p");
  await mkdir(join(proc, "42", "net"), { recursive: true });
  await symlink(folder, join(proc, "42", "root"));
  await writeFile(join(proc, "42", "net", "unix"), unixTable(["/e.sock", "/with blank.sock"]));
  const peer: Peer = { kind: "unix", pid: 42, uid: 0, gid: 0 };
  const through = `unix://${join(proc, "42", "root")}/e.sock`;
  assert.equal((await register(inodeUrl, peer, proc)).passedOn, through);
  assert.equal((await register("unix:///e.sock", peer, proc)).passedOn, through);
  assert.equal((await register("unix:///gone.sock", peer, proc)).passedOn, "unix:///gone.sock");
  assert.equal((await stat(path)).isSocket(), true);
});

test("other URLs are left alone", async () => {
  for (const url of ["tcp://10.0.0.1:5001", "unix:///nowhere/e.sock", "inode://x/y"]) {
    assert.equal((await register(url, me)).passedOn, url);
  }
});

for (const { why, peer } of [
  { why: "the caller came over TCP", peer: { kind: "tcp", address: "10.0.0.9" } as const },
  { why: "the caller's process is in another PID namespace", peer: { kind: "unix", pid: 0, uid: 0, gid: 0 } as const },
  { why: "nobody listens on it", peer: { kind: "unix", pid: process.pid, uid: 0, gid: 0 } as const },
]) {
  test(`refused with a remedy: an inode, and ${why}`, async () => {
    await assert.rejects(register("inode://4/4026531833", peer), { code: Code.INVALID_ARGUMENT, details: /hostPID|unix:\/\// });
  });
}

const me: Peer = { kind: "unix", pid: process.pid, uid: 0, gid: 0 };

async function register(url: string, peer: Peer, proc?: string) {
  let passedOn = "";
  const handler = chain<EndpointRegistryApi>("test", ["register", "unregister"])
    .use(resolveUrl(proc))
    .end({
      async register(endpoint) {
        passedOn = endpoint.url;
        return endpoint;
      },
      async unregister() {},
    });
  const call = { ...backgroundCall(new AbortController().signal), peer };
  const answered = (await handler.register(NetworkServiceEndpoint.fromPartial({ name: "e", url }), call)).url;
  return { passedOn, answered };
}

async function start(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), "weft-url-"));
  const path = join(folder, "e.sock");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.after(async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true });
  });
  const { dev, ino } = await stat(path, { bigint: true });
  return { folder, path, inodeUrl: `inode://${dev}/${ino}` };
}

function unixTable(paths: readonly string[]): string {
  const lines = paths.map((path, index) => `0000000000000000: 00000002 00000000 00010000 0001 01 ${1000 + index} ${path}`);
  return [
    "Num       RefCount Protocol Flags    Type St Inode Path",
    ...lines,
    "0: 00000002 00000000 00010000 0001 01 9 @abstract",
  ].join("\n");
}
