import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDuration, parseDurationMs } from "./duration.js";
import { address, boolean, durationMs, integer, list, map, name, oneOf, optional, text } from "./kinds.js";
import { readSettings, setting, settingsHelp } from "./table.js";

const table = {
  name: setting("NSM_NAME", name, "name of this node manager", { default: "nmgr" }),
  listenOn: setting("NSM_LISTEN_ON", list(address), "addresses to listen on", { default: "unix:///run/nsm.sock" }),
  dialTimeoutMs: setting("NSM_DIAL_TIMEOUT", durationMs, "time to reach a neighbour", { default: "750ms" }),
  labels: setting("NSM_LABELS", map, "labels of this forwarder", { default: "p2p:true" }),
  port: setting("NSM_VXLAN_PORT", integer({ min: 0, max: 65535 }), "UDP port", { default: "0" }),
  insecure: setting("WEFT_INSECURE", boolean, "no identity", { default: "false" }),
  store: setting("WEFT_STORE", oneOf("lmdb", "memory"), "where entries are kept", { default: "lmdb" }),
  tunnelIp: setting("NSM_TUNNEL_IP", optional(text), "address of tunnels", { default: "" }),
  registryUrl: setting("NSM_REGISTRY_URL", address, "the registry"),
};
const command = { name: "weft nsmgr", summary: "The node manager." };
const required = { NSM_REGISTRY_URL: "tcp://localhost:5002" };

function valuesOf(argv: string[], env: Record<string, string>) {
  const read = readSettings(command, table, { argv, env: { ...required, ...env } });
  assert.ok(read.ok, read.ok ? "" : read.text);
  return read.values;
}
function problemsOf(argv: string[], env: Record<string, string>): string {
  const read = readSettings(command, table, { argv, env });
  assert.ok(!read.ok);
  assert.equal(read.exitCode, 2);
  return read.text;
}

test("defaults are read in the words of the environment", () => {
  const values = valuesOf([], {});
  assert.equal(values.dialTimeoutMs, 750);
  assert.deepEqual({ ...values.labels }, { p2p: "true" });
  assert.deepEqual(values.listenOn, ["unix:///run/nsm.sock"]);
  assert.equal(values.tunnelIp, undefined);
});

test("a flag wins over its variable, an empty variable counts as not set", () => {
  const values = valuesOf(["--name", "a", "--dial-timeout=2s", "--insecure"], {
    NSM_NAME: "b",
    NSM_DIAL_TIMEOUT: "1h",
    NSM_VXLAN_PORT: "",
  });
  assert.equal(values.name, "a");
  assert.equal(values.dialTimeoutMs, 2000);
  assert.equal(values.insecure, true);
  assert.equal(values.port, 0);
  assert.equal(valuesOf(["--no-insecure"], { WEFT_INSECURE: "true" }).insecure, false);
});

test("all problems are reported together, each with its name and a right example", () => {
  const text = problemsOf(["--dial-timeuot", "1s", "--store", "disk", "surplus"], {
    NSM_DIAL_TIMEOUT: "10",
    NSM_VXLAN_PORT: "70000",
    NSM_LABELS: "x",
  });
  for (const part of [
    "unknown flag --dial-timeuot; did you mean --dial-timeout?",
    '--store: "disk" is not one of lmdb, memory',
    'unexpected argument "surplus"',
    'NSM_DIAL_TIMEOUT: "10" is not a duration; write for example 10s or 10ms',
    "NSM_VXLAN_PORT: 70000 is not between 0 and 65535",
    'NSM_LABELS: "x" is not key:value',
    "NSM_REGISTRY_URL (or --registry-url) is required",
  ]) {
    assert.ok(text.includes(part), `${part}\nis missing in\n${text}`);
  }
});

test("the help names flag, variable and default of every setting", () => {
  const read = readSettings(command, table, { argv: ["--help"], env: {} });
  assert.ok(!read.ok && read.exitCode === 0);
  assert.equal(read.text, settingsHelp(command, table));
  assert.match(read.text, /--dial-timeout DURATION\n.*\n {6}env NSM_DIAL_TIMEOUT, default 750ms/);
  assert.match(read.text, /env NSM_REGISTRY_URL, required/);
});

const durations: readonly [string, number][] = [
  ["10m", 600_000],
  ["1h15m0.5s", 4_500_500],
  ["750ms", 750],
  ["1500us", 1.5],
  ["0", 0],
  ["-2s", -2000],
  [".5s", 500],
];
for (const [written, ms] of durations) {
  test(`duration ${written}`, () => assert.equal(parseDurationMs(written), ms));
}
for (const wrong of ["", "10", "s", "1 s", "1d", "--1s", "1s1", "1e3s", "1.2.3s"]) {
  test(`no duration: "${wrong}"`, () => assert.throws(() => parseDurationMs(wrong), /not a duration/));
}

test("a formatted duration reads back as the same", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 40 }), (ms) => assert.equal(parseDurationMs(formatDuration(ms)), ms)));
});

test("no text makes a parser fail otherwise than with an Error", () => {
  const kinds = [durationMs, map, list(address), integer(), boolean, oneOf("a", "b"), name];
  fc.assert(
    fc.property(fc.string(), fc.constantFrom(...kinds), (written, kind) => {
      try {
        kind.parse(written);
      } catch (error) {
        assert.ok(error instanceof Error && error.message.length > 0);
      }
    }),
  );
});

test("map keys that name members of Object are ordinary keys", () => {
  const labels = map.parse("constructor:a,__proto__:b,url:http://x:1");
  assert.deepEqual(Object.entries(labels), [
    ["constructor", "a"],
    ["__proto__", "b"],
    ["url", "http://x:1"],
  ]);
  assert.equal(Object.getPrototypeOf(labels), null);
});
