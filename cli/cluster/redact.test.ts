import assert from "node:assert/strict";
import { test } from "node:test";
import { redact } from "./redact.js";

test("a bundle has no keys, tokens or passwords, and keeps the rest", () => {
  const key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrY\n-----END EC PRIVATE KEY-----";
  const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
  const text = [
    key,
    `{"authorization":"Bearer abcdefghijkl"}`,
    `token ${token} was refused`,
    `DB_PASSWORD=hunter2 next`,
    `{"apiKey": "s3cr3t", "name": "web"}`,
    `{"level":"info","message":"connected to web","connectionId":"a-1"}`,
  ].join("\n");
  const clean = redact(text);
  for (const secret of ["MHcCAQEEIIrY", "abcdefghijkl", token, "hunter2", "s3cr3t"]) assert.ok(!clean.includes(secret), secret);
  for (const kept of ["was refused", "next", `"name": "web"`, `"connectionId":"a-1"`]) assert.ok(clean.includes(kept), kept);
});
