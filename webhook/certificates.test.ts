import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { dueOf, makeCertificates, renewCertificate } from "./certificates.js";

const names = ["weft-webhook.weft-system.svc"];
const dayMs = 24 * 3600_000;

test("row 9.3: own certificates: made once, the leaf renewed by the same authority before it ends", async () => {
  const nowMs = Date.now();
  const first = await makeCertificates(names, nowMs);
  assert.equal(dueOf(undefined, names, nowMs), "all");
  assert.equal(dueOf(first, names, nowMs), "nothing");
  assert.equal(dueOf(first, names, nowMs + 59 * dayMs), "nothing");
  assert.equal(dueOf(first, names, nowMs + 61 * dayMs), "leaf");
  assert.equal(dueOf(first, ["other.svc"], nowMs), "leaf");
  assert.equal(dueOf(first, names, nowMs + 9.5 * 365 * dayMs), "all", "the authority ends within a year");
  const second = await renewCertificate(first, names, nowMs + 61 * dayMs);
  assert.equal(second.caPem, first.caPem);
  assert.equal(dueOf(second, names, nowMs + 61 * dayMs), "nothing");
  assert.ok(new X509Certificate(second.certificatePem).verify(new X509Certificate(first.caPem).publicKey));
});

test("a Secret that somebody filled with something else is made anew", async () => {
  const nowMs = Date.now();
  const set = await makeCertificates(names, nowMs);
  const other = await makeCertificates(names, nowMs);
  assert.equal(dueOf({ ...set, caPem: "nonsense" }, names, nowMs), "all");
  assert.equal(dueOf({ ...set, certificatePem: "nonsense" }, names, nowMs), "all");
  assert.equal(dueOf({ ...set, caPem: other.caPem }, names, nowMs), "leaf", "not signed by the authority beside it");
  const expired = await makeCertificates(names, nowMs, -1000);
  assert.notEqual(dueOf(expired, names, nowMs), "nothing");
});
