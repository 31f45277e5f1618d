import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { test } from "node:test";
import { inUserNamespace } from "../../sdk/linux/netns.js";
import { type Finished, finish, openPlace, weftScript } from "../cli/isolated.js";

const expected = [
  "mesh of two nodes",
  "payload IP between the nodes is encrypted",
  "client → firewall → responder across two nodes",
  "local connection with IPv4 and IPv6",
  "ping client → responder, IPv4",
  "ping client → responder, IPv6",
  "ping responder → client, IPv4",
  "ping responder → client, IPv6",
  "permitted TCP port",
  "denied TCP port",
  "TCP throughput through the firewall, across the nodes",
  "TCP throughput of the local connection",
  "endpoint killed and healed",
  "connections are given back",
  "everything is removed",
];

/** One JSON object on standard output, every proof in it true. */
function checkReport({ code, out, err }: Finished): void {
  const report = JSON.parse(out) as { ok: boolean; proofs: { name: string; ok: boolean; detail: string }[] };
  const failed = report.proofs.filter(({ ok }) => !ok);
  assert.deepEqual(failed, [], err);
  assert.deepEqual(
    report.proofs.map(({ name }) => name),
    expected,
  );
  assert.ok(report.ok);
  assert.equal(code, 0);
  for (const { detail } of report.proofs) assert.notEqual(detail, "");
}

const noNft = spawnSync("nft", ["--version"]).status === 0 ? false : "nft is not installed: the firewall cannot filter";

test("weft demo --json: every proof holds, one object on standard output, nothing is left", {
  timeout: 115_000,
  skip: noNft,
}, async (t) => {
  const place = await openPlace(t);
  checkReport(await place.weft("demo", "--json"));
  const left = await place.run("sh", "-c", "ls /run /run/netns | grep weft; ip -o link | grep -c vxlan");
  assert.equal(left.out, "0\n");
});

/** Another user than root, with nothing but read access to the checkout. */
const nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

function whyNoOtherUser(): string | false {
  if (noNft) return noNft;
  if (inUserNamespace()) return "this already is an ordinary user's namespace: the test above has run in it";
  const [program = "", ...argv] = [...nobody, process.execPath, weftScript, "--version"];
  if (spawnSync(program, argv).status !== 0) return "another user may not read this checkout";
  const unshare = spawnSync(program, [...nobody.slice(1), "unshare", "--user", "--map-root-user", "--net", "true"]);
  return unshare.status === 0 ? false : "this machine allows ordinary users no user namespace";
}

test("weft demo --json as an ordinary user", { timeout: 115_000, skip: whyNoOtherUser() }, async () => {
  const [program = "", ...argv] = [...nobody, process.execPath, weftScript, "demo", "--json"];
  const child = spawn(program, argv, { env: { ...process.env, HOME: "/nonexistent" }, stdio: ["ignore", "pipe", "pipe"] });
  checkReport(await finish(child));
});
