/** Each component with the Linux capabilities that docs/security.md names, and none besides. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Payload } from "../sdk/api.js";
import { probeWireguard } from "../sdk/linux/wireguard-probe.js";
import { until } from "../sdk/testing/until.js";
import { createDialer } from "../sdk/transport/dial.js";
import { createNodeProcesses, pingAlong } from "./testing/node-processes.js";

const weft = fileURLToPath(new URL("../scripts/weft.mjs", import.meta.url));
const forwarderCapabilities = ["net_admin", "sys_admin", "sys_ptrace", "net_broadcast"];

/** A program that starts another one with these capabilities, and no way to more. */
function only(capabilities: readonly string[]): string[] {
  return ["setpriv", "--no-new-privs", `--bounding-set=-all${capabilities.map((name) => `,+${name}`).join("")}`];
}
const nobody = [
  "setpriv",
  "--reuid=65534",
  "--regid=65534",
  "--clear-groups",
  "--no-new-privs",
  "--bounding-set=-all",
  "--inh-caps=-all",
];

const wireguard = await probeWireguard();
for (const payload of [Payload.ETHERNET, Payload.IP]) {
  const skip = payload === Payload.IP && wireguard.supported !== "yes" ? wireguard.detail : false;
  test(`the forwarder needs ${forwarderCapabilities.join(", ")} and no other capability: payload ${payload} between nodes`, {
    skip,
  }, async (t) => {
    const nodes = await createNodeProcesses(t, {
      payload,
      launcher: only(forwarderCapabilities),
      env: { WEFT_DATAPLANE: "kernel" },
    });
    const before = nodes.inventory();
    await Promise.all([nodes.a.start(), nodes.b.start()]);
    let connection = await nodes.request("remote");
    const flow = pingAlong(t, nodes.client.url, "172.16.2.1", "172.16.2.2");
    await flow.more(5);
    await nodes.a.kill("SIGKILL");
    await nodes.a.start();
    connection = await nodes.request("remote", connection);
    await flow.more(5);
    const { sent, lost } = await flow.stop();
    assert.equal(lost, 0, `of ${sent}`);
    await nodes.close(connection);
    await until("all interfaces are gone", () => JSON.stringify(nodes.inventory()) === JSON.stringify(before));
  });
}

for (const missing of ["net_admin", "sys_admin"]) {
  test(`without CAP_${missing.toUpperCase()} the forwarder does not start, and says what is missing and what it is for`, async (t) => {
    const others = forwarderCapabilities.filter((name) => name !== missing);
    const nodes = await createNodeProcesses(t, { launcher: only(others), env: { WEFT_DATAPLANE: "kernel" } });
    await assert.rejects(nodes.a.start(), new RegExp(`lacks CAP_${missing.toUpperCase()} \\(to `));
  });
}

for (const { name, env } of [
  { name: "registry", env: { WEFT_STORE: "memory" } },
  { name: "nsmgr", env: { NSM_NAME: "nsmgr-1", NSM_REGISTRY_URL: "unix:///nobody.sock" } },
  { name: "forwarder", env: { NSM_NAME: "f-1", NSM_CONNECT_TO: "unix:///nobody.sock", WEFT_DATAPLANE: "none" } },
]) {
  test(`weft ${name} serves as an ordinary user without any capability`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "wt-user-"));
    chmodSync(folder, 0o777);
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const dialer = createDialer({ dialTimeoutMs: 2_000 });
    t.after(() => dialer.close());
    const url = `unix://${folder}/listen.sock`;
    const [program = "", ...args] = [...nobody, process.execPath, weft, name, "--insecure"];
    const settings = {
      PATH: process.env["PATH"],
      HOME: folder,
      NSM_LISTEN_ON: url,
      WEFT_STATE_DIR: join(folder, "state"),
      ...env,
    };
    const child = spawn(program, args, { env: settings, cwd: "/", stdio: ["ignore", "ignore", "pipe"] });
    let log = "";
    child.stderr.on("data", (chunk) => {
      log += String(chunk);
    });
    const ended = once(child, "exit");
    t.after(async () => {
      child.kill("SIGKILL");
      await ended;
    });
    await until(
      `weft ${name} serves`,
      async () => {
        if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}:\n${log}`);
        // Without a registry or a manager it answers that it does not serve yet.
        return (await dialer.health(url, "", AbortSignal.timeout(1_000)).catch(() => undefined)) !== undefined;
      },
      30_000,
    );
  });
}
