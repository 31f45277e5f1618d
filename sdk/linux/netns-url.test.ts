import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isStatusError } from "../status.js";
import { inodeUrl, parseNetnsUrl } from "./netns-url.js";

const accepted = [
  { url: "file:///proc/12/ns/net", is: { kind: "file", path: "/proc/12/ns/net" } },
  { url: "file:///proc/thread-self/ns/net", is: { kind: "file", path: "/proc/thread-self/ns/net" } },
  { url: "inode://4/4026531833", is: { kind: "inode", dev: 4n, ino: 4026531833n } },
  { url: "blue", is: { kind: "file", path: "/run/netns/blue" } },
];
for (const { url, is } of accepted) test(`read: ${url}`, () => assert.deepEqual(parseNetnsUrl(url), is));

for (const url of [
  "",
  ".",
  "..",
  "a/b",
  "file://x",
  "file:///a/../b",
  "file:///a\u0000b",
  "inode://4",
  "inode://-1/2",
  "http://x",
  "-x",
]) {
  test(`refused: ${JSON.stringify(url)}`, () => {
    assert.throws(() => parseNetnsUrl(url), { name: "StatusError", code: 3 });
  });
}

test("any text is read or refused with a status", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.string().map((text) => `file://${text}`),
        fc.string().map((text) => `inode://${text}`),
      ),
      (url) => {
        try {
          const parsed = parseNetnsUrl(url);
          assert.ok(parsed.kind === "inode" || parsed.path.startsWith("/"));
        } catch (error) {
          assert.ok(isStatusError(error));
        }
      },
    ),
  );
});

test("an inode URL survives the way there and back", () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 2n ** 64n - 1n), (dev, ino) => {
      assert.deepEqual(parseNetnsUrl(inodeUrl({ dev, ino })), { kind: "inode", dev, ino });
    }),
  );
});
