import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { findNetns } from "./find-netns.js";
import { createNamedNetns, deleteNamedNetns, openNetns, openOwnNetns, ownNetnsInode, spawnInNetns, withNetns } from "./netns.js";
import { inodeUrl } from "./netns-url.js";

test("a named namespace is opened by name, path and inode, and found from its inode", (t) => {
  const name = create(t, "a");
  const handle = openNetns(name);
  try {
    assert.notEqual(handle.ino, ownNetnsInode().ino);
    for (const url of [`file:///run/netns/${name}`, inodeUrl(handle)]) {
      const again = openNetns(url);
      assert.equal(again.ino, handle.ino);
      again.close();
    }
    assert.equal(findNetns(handle.dev, handle.ino), `/run/netns/${name}`);
  } finally {
    handle.close();
  }
});

test("a synchronous function runs inside, and the thread is back afterwards also when it throws", (t) => {
  const before = ownNetnsInode();
  const handle = openNetns(create(t, "b"));
  try {
    assert.equal(withNetns(handle, ownNetnsInode).ino, handle.ino);
    assert.throws(() =>
      withNetns(handle, () => {
        throw new Error("inside");
      }),
    );
    assert.throws(() => withNetns(handle, async () => 1), TypeError);
    assert.deepEqual(ownNetnsInode(), before);
  } finally {
    handle.close();
  }
});

test("a program started inside lives there, and its namespace is found by its pid", async (t) => {
  const handle = openNetns(create(t, "c"));
  const child = spawnInNetns(handle, "sleep", ["60"], { stdio: "ignore" });
  try {
    assert.equal(readlinkSync(`/proc/${child.pid}/ns/net`), `net:[${handle.ino}]`);
    assert.equal(findNetns(handle.dev, handle.ino, child.pid), `/proc/${child.pid}/ns/net`);
  } finally {
    child.kill();
    await once(child, "exit");
    handle.close();
  }
  assert.notEqual(findNetns(handle.dev, handle.ino, child.pid), `/proc/${child.pid}/ns/net`, "a dead process is not given out");
});

test("a name is taken once, and deleting twice is fine", (t) => {
  const name = create(t, "d");
  assert.throws(() => createNamedNetns(name), { code: 6 });
  deleteNamedNetns(name);
  deleteNamedNetns(name);
  assert.ok(!existsSync(`/run/netns/${name}`));
  assert.throws(() => openNetns(name), { code: 5 });
});

const refusals = [
  { url: "file:///etc/passwd", code: 3, why: "an ordinary file" },
  { url: "file:///dev/null", code: 3, why: "a device" },
  { url: "file:///proc/self/ns/mnt", code: 3, why: "another kind of namespace" },
  { url: "file:///proc/999999999/ns/net", code: 5, why: "a process that is not there" },
  { url: "inode://4/1", code: 5, why: "an inode nobody has" },
];
for (const { url, code, why } of refusals) {
  test(`refused: ${why}`, () => {
    assert.throws(() => openNetns(url), { name: "StatusError", code });
  });
}

test("opening and entering leaks no descriptor", (t) => {
  const name = create(t, "e");
  const count = (): number => readdirSync("/proc/self/fd").length;
  const before = count();
  for (let round = 0; round < 50; round++) {
    const handle = openNetns(name);
    withNetns(handle, () => undefined);
    handle.close();
    openOwnNetns().close();
  }
  assert.equal(count(), before);
});

function create(t: TestContext, suffix: string): string {
  const name = `wt-netns-${process.pid}-${suffix}`;
  createNamedNetns(name);
  t.after(() => deleteNamedNetns(name));
  return name;
}
