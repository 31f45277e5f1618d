import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { peerCredentials } from "./peer-credentials.js";

test("the peer of a unix socket is this process and user", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wt-peer-"));
  const server = createServer();
  try {
    server.listen(join(folder, "s"));
    await once(server, "listening");
    const client = connect(join(folder, "s"));
    const [accepted] = (await once(server, "connection")) as [Socket & { _handle: { fd: number } }];
    assert.deepEqual(peerCredentials(accepted._handle.fd), {
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    client.destroy();
    accepted.destroy();
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test("something that is no socket is refused by name", () => {
  const fd = openSync("/dev/null", "r");
  try {
    assert.throws(() => peerCredentials(fd), { name: "SystemError", errno: "ENOTSOCK" });
  } finally {
    closeSync(fd);
  }
});
