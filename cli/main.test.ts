import assert from "node:assert/strict";
import { test } from "node:test";
import { components } from "./components.js";
import { main } from "./main.js";
import { version } from "./version.js";

async function weft(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await main({
    argv,
    env: {},
    self: ["false"],
    out: { write: (text) => out.push(text) },
    err: { write: (text) => err.push(text) },
  });
  return { code, out: out.join(""), err: err.join("") };
}

test("the help names every component and command, and goes to standard output", async () => {
  for (const argv of [[], ["--help"], ["help"]]) {
    const { code, out, err } = await weft(...argv);
    assert.equal(code, 0);
    assert.equal(err, "");
    for (const name of [...components.keys(), "demo", "up", "down", "connect", "serve", "get", "describe", "why", "doctor"]) {
      assert.ok(new RegExp(`^  ${name} `, "m").test(out), `${name} is missing`);
    }
  }
});

test("the version is the package's", async () => {
  assert.deepEqual(await weft("--version"), { code: 0, out: `${version}\n`, err: "" });
  assert.match(version, /^\d+\.\d+\.\d+/);
});

const wrong: readonly { argv: string[]; says: RegExp }[] = [
  { argv: ["frobnicate"], says: /unknown command 'frobnicate'/ },
  { argv: ["dmeo"], says: /Did you mean demo\?/ },
  { argv: ["up", "--nodes", "0"], says: /'0' is invalid.*it must be 1 … 64/ },
  { argv: ["up", "--nodes", "many"], says: /'many' is invalid/ },
  { argv: ["up", "--node", "2"], says: /unknown option '--node'[\s\S]*Did you mean --nodes\?/ },
  { argv: ["get"], says: /missing required argument 'kind'/ },
  { argv: ["get", "services", "-o", "xml"], says: /'xml' is invalid. Allowed choices are wide, json, yaml/ },
  { argv: ["demo", "--jsn"], says: /unknown option '--jsn'/ },
];
for (const { argv, says } of wrong) {
  test(`a wrong command line is explained: weft ${argv.join(" ")}`, async () => {
    const { code, out, err } = await weft(...argv);
    assert.equal(code, 2);
    assert.equal(out, "");
    assert.match(err, says);
  });
}

const refused: readonly { argv: string[]; says: RegExp }[] = [
  { argv: ["get", "things"], says: /there is no kind "things"; there are services, endpoints, connections, forwarders, pods/ },
  { argv: ["describe", "thing", "x"], says: /there is no kind "thing"/ },
  { argv: ["new", "pod", "x"], says: /"pod" cannot be made; there are endpoint, client/ },
  { argv: ["new", "client", "a`b"], says: /is no name of a network service/ },
  { argv: ["log-level", "loud"], says: /"loud" is no log level; there are trace, debug, info, warn, error/ },
  { argv: ["get", "services", "--registry", "tcp://127.0.0.1:1"], says: /127\.0\.0\.1:1/ },
];
for (const { argv, says } of refused) {
  test(`a refusal says what and why: weft ${argv.join(" ")}`, async () => {
    const { code, out, err } = await weft(...argv);
    assert.equal(code, 1);
    assert.equal(out, "");
    assert.match(err, says);
    assert.ok(!err.includes("    at "), "no stack for a mistake of the user");
  });
}

test("signals are let go of when a command ends", async () => {
  const before = process.listenerCount("SIGINT");
  await weft("--version");
  assert.equal(process.listenerCount("SIGINT"), before);
});
