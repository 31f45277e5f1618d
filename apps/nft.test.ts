import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { Code } from "../sdk/status.js";
import { createNft } from "./nft.js";

test("a missing nft is named with the way to get it", async () => {
  const nft = createNft((_command, args) => spawn("/nonexistent/nft", args));
  await assert.rejects(nft("list tables\n"), { code: Code.FAILED_PRECONDITION, details: /apt-get install nftables/ });
});

test("what nft says of a bad script is passed on", async () => {
  const nft = createNft(() => spawn(process.execPath, ["-e", "console.error('-:1:1-3: Error: syntax error'); process.exit(1)"]));
  await assert.rejects(nft("foo\n"), { code: Code.INTERNAL, details: /syntax error/ });
});

test("a missing right is named", async () => {
  const nft = createNft(() =>
    spawn(process.execPath, ["-e", "console.error('Operation not permitted (you must be root)'); process.exit(1)"]),
  );
  await assert.rejects(nft("foo\n"), { code: Code.FAILED_PRECONDITION, details: /NET_ADMIN/ });
});
