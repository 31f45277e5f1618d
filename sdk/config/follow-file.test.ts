import assert from "node:assert/strict";
import { mkdir, mkdtemp, rename, rm, rmdir, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { followFile, maxFileBytes } from "./follow-file.js";

test("content, absence and swapped links are told, each once", async (t) => {
  const { folder, path, told, until } = await start(t);
  assert.deepEqual(told, [undefined]);
  await writeFile(join(folder, "v1"), "one");
  await writeFile(join(folder, "v2"), "two");
  await symlink("v1", path);
  await until(() => told.at(-1) === "one");
  await symlink("v2", join(folder, "next"));
  await rename(join(folder, "next"), path);
  await until(() => told.at(-1) === "two");
  await rm(path);
  await until(() => told.at(-1) === undefined);
  assert.deepEqual(told, [undefined, "one", "two", undefined]);
});

test("what cannot be read is a problem and not a content", async (t) => {
  const { path, told, problems, until } = await start(t);
  await mkdir(path);
  await until(() => problems.length === 1);
  await rmdir(path);
  await writeFile(path, "x".repeat(maxFileBytes + 1));
  await until(() => /more than/.test(String(problems.at(-1))));
  assert.ok(!told.some((text) => text !== undefined));
});

async function start(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), "weft-follow-"));
  const path = join(folder, "file");
  const told: (string | undefined)[] = [];
  const problems: unknown[] = [];
  const file = followFile(
    path,
    (text) => void told.push(text),
    (error) => void problems.push(error),
  );
  t.after(async () => {
    file.stop();
    await rm(folder, { recursive: true });
  });
  await file.ready;
  const until = async (condition: () => boolean): Promise<void> => {
    const deadlineMs = Date.now() + 10_000;
    while (!condition()) {
      if (Date.now() > deadlineMs) throw new Error(`condition not met in time: ${told} ${problems}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return { folder, path, told, problems, until };
}
