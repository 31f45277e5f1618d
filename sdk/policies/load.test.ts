import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createTokenVerifier, mintToken } from "../identity/tokens.js";
import { Code } from "../status.js";
import { createLog, silentLog } from "../telemetry/log.js";
import { builtInPolicies } from "./built-in.js";
import type { PolicyInput, ResourceInput } from "./input.js";
import { loadPolicies } from "./load.js";
import { findOpa } from "./opa.js";
import { ask, type Policy } from "./policy.js";
import { defaultMasks } from "./settings.js";

const opa = findOpa(process.env);
const noOpa = "opa is not installed: go install github.com/open-policy-agent/opa@v1.4.0, or OPA=/path/to/opa";
const nowMs = Date.now();
const tools = { nowMs: () => nowMs, isSignedBy: createTokenVerifier({ nowMs: () => nowMs }).isSignedBy };
const builtIn = builtInPolicies(tools);
const reference = fileURLToPath(new URL("rego-reference", import.meta.url));

async function load(t: TestContext, masks: readonly string[], log = silentLog) {
  // read by hand: a test does not wait for the clock
  const loaded = await loadPolicies(masks, { builtIn, tools, log, env: process.env, pollMs: 3_600_000 });
  t.after(() => loaded.close());
  return loaded;
}

const named = (policies: readonly Policy[]) => policies.map(({ name }) => name.replace(/^.*\/([^/]+)\.(rego|wasm)$/, "$1"));

test("row 8.3: upstream's default masks select the built-in rules of their place", async (t) => {
  const selected = async (masks: readonly string[]) => named((await load(t, masks)).source.current());
  const common = ["tokens_chained", "tokens_expired", "tokens_valid"];
  assert.deepEqual(await selected(defaultMasks.server), [...common, "prev_token_signed"]);
  assert.deepEqual(await selected(defaultMasks.client), [...common, "next_token_signed"]);
  assert.deepEqual(await selected(defaultMasks.registryServer), [...common, "client_allowed", "prev_token_signed"]);
  assert.deepEqual(await selected([]), []);
});

test("row 8.3: a mask that selects nothing of the built-in, and one that is no expression, are errors at the start", async () => {
  for (const mask of ["etc/nsm/opa/comon/.*.rego", "etc/nsm/opa/(", "/policies/["]) {
    const loading = loadPolicies([mask], { builtIn, tools, log: silentLog, env: {} });
    await assert.rejects(loading, { code: Code.INVALID_ARGUMENT }, mask);
  }
});

test("row 8.3: the Rego texts, compiled, decide like the built-in rules", { skip: opa === undefined && noOpa }, async (t) => {
  const custom = (await load(t, [`${reference}/.*`])).source.current();
  assert.equal(custom.length, builtIn.length);
  const allowed = (policy: Policy | undefined, input: PolicyInput) => policy?.decide(input) === undefined;
  for (const [i, input] of someInputs().entries()) {
    for (const policy of custom) {
      const same = builtIn.find(({ name }) => name.split("/").pop() === policy.name.split("/").pop());
      if (same?.name.includes("service_connection") !== "selected" in input) continue;
      assert.equal(allowed(policy, input), allowed(same, input), `input ${i}: ${policy.name}`);
    }
  }
});

test("row 8.3: adding, changing and removing a file changes the verdict", { skip: opa === undefined && noOpa }, async (t) => {
  const folder = await ownFolder(t);
  const { source, reload } = await load(t, [`${folder}/.*\\.rego`]);
  assert.deepEqual(source.current(), []);
  const file = join(folder, "names.rego");
  await writeFile(file, 'package names\ndefault valid := false\nvalid if startswith(input.resource_name, "a-")\n');
  await reload();
  const [first] = source.current();
  assert.equal(first?.decide(resource("a-1")), undefined);
  assert.notEqual(first?.decide(resource("b-1")), undefined);
  // the older form of Rego, as NSM's own policies have it
  await writeFile(file, 'package names\ndefault valid = false\nvalid { startswith(input.resource_name, "bb-") }\n');
  await reload();
  assert.equal(source.current()[0]?.decide(resource("bb-1")), undefined);
  await rm(file);
  await reload();
  assert.deepEqual(source.current(), []);
});

test("row 8.3: a broken file keeps the last good one and says why", { skip: opa === undefined && noOpa }, async (t) => {
  const folder = await ownFolder(t);
  const file = join(folder, "p.rego");
  await writeFile(file, "package p\nvalid := true\n");
  const lines: string[] = [];
  const log = createLog({ name: "test", destination: { write: (line) => lines.push(line) } });
  const { source, reload } = await load(t, [folder], log);
  const good = source.current();
  await writeFile(file, "package p\nvalid := nonsense(\n");
  await reload();
  assert.deepEqual(source.current(), good);
  assert.match(lines.at(-1) ?? "", /p\.rego cannot be used: .*rego_parse_error.*what was in force stays/);
  await reload();
  assert.equal(lines.filter((line) => line.includes("cannot be used")).length, 1, "said once");
  await assert.rejects(loadPolicies([folder], { builtIn, tools, log, env: process.env }), { code: Code.FAILED_PRECONDITION });
  assert.deepEqual(
    (await readdir(tmpdir())).filter((name) => name.startsWith("weft-policy-")),
    [],
    "no temporary files",
  );
});

test("row 8.3: without opa a .rego file is refused with the remedy, and garbage as .wasm too", async (t) => {
  const folder = await ownFolder(t);
  await writeFile(join(folder, "p.rego"), "package p\nvalid := true\n");
  const from = (mask: string) => loadPolicies([mask], { builtIn, tools, log: silentLog, env: { PATH: folder } });
  await assert.rejects(from(folder), { code: Code.FAILED_PRECONDITION, message: /set OPA or PATH/ });
  await writeFile(join(folder, "q.wasm"), "garbage");
  await assert.rejects(from(`${folder}/.*wasm`), { code: Code.FAILED_PRECONDITION, message: /q\.wasm cannot be used/ });
});

test("row 8.3: undefined and wrong results are INTERNAL, false is PERMISSION_DENIED", {
  skip: opa === undefined && noOpa,
}, async (t) => {
  const verdictOf = async (text: string) => {
    const folder = await ownFolder(t);
    await writeFile(join(folder, "p.rego"), `package p\n${text}\n`);
    const { source } = await load(t, [folder]);
    const lines: string[] = [];
    const question = { method: "find", peer: { kind: "self" as const }, object: "", input: resource("x") };
    assert.throws(
      () => ask(source, question, ({ reason }) => lines.push(reason)),
      (error: { code: number; message: string }) => lines.push(String(error.code), error.message) > 0,
    );
    return lines;
  };
  assert.deepEqual(await verdictOf("valid := false"), ["it says so", String(Code.PERMISSION_DENIED), "no sufficient privileges"]);
  const [why, code, told] = await verdictOf('valid if input.resource_name == "y"');
  assert.match(why ?? "", /cannot be evaluated.*not defined/);
  assert.deepEqual([code, told], [String(Code.INTERNAL), "a policy could not be evaluated"]);
  assert.equal((await verdictOf('valid := "yes"'))[1], String(Code.INTERNAL));
});

function resource(name: string): ResourceInput {
  return { index: 0, segments: [], peer: undefined, resource: { name, owner: "", currentPathIds: undefined } };
}

function someInputs(): PolicyInput[] {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const mint = (sub: string, aud: string, aheadMs: number) => mintToken({ sub, aud, expiresMs: nowMs + aheadMs, privateKey });
  const peer = { publicKey, certificatePem: publicKey.export({ type: "spki", format: "pem" }).toString() };
  const paths = [
    [],
    [""],
    [mint("a", "b", 60_000)],
    [mint("a", "b", 60_000), mint("b", "c", -60_000)],
    [mint("a", "b", 60_000), mint("x", "c", 60_000)],
  ];
  const resources = paths.flatMap((tokens) =>
    [peer, undefined].flatMap((who) =>
      [undefined, ["a"], ["b"], []].map((currentPathIds, i) => ({
        index: i % 3,
        segments: tokens.map((token) => ({ token, name: "é\u0000" })),
        peer: who,
        resource: { name: "nse", owner: "a", currentPathIds },
      })),
    ),
  );
  const monitors = [undefined, [], ["c1"]].map((own) => ({ spiffeId: "a", selected: ["c1", "c2"], own, peer }));
  return [...resources, ...monitors];
}

async function ownFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "wt-policy-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
