/** Functions in a chain that speak memif through the SDK, each a small program in C between its two sockets. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { addressesOf, socketArgs } from "../../cli/fast/workloads.js";
import { notBuilt, runTool } from "../../forwarder/native/testing/tool.js";
import { MechanismType } from "../../sdk/api.js";
import type { ClientConnection } from "../../sdk/client/connect.js";
import type { Serving } from "../../sdk/endpoint/serve.js";
import { NetworkService } from "../../sdk/gen/registry.js";
import type { Passthrough, Wire } from "../../sdk/passthrough/passthrough.js";
import { type CleanUp, cleanUp } from "../../sdk/testing/cleanup.js";
import { temporaryNetns } from "../../sdk/testing/netns.js";
import { until } from "../../sdk/testing/until.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import type { Component } from "../../testing/components.js";
import { startDomain } from "../../testing/start-domain.js";
import { interfaces, pings as netnsPings } from "./one-node.js";

const skip = notBuilt() ?? false;
const top = fileURLToPath(new URL("../..", import.meta.url));
const names = ["first", "second", "third"] as const;

for (const direct of [true, false]) {
  test(`rows 1.6, 2.8: client → three memif functions → memif endpoint, ${direct ? "rings shared along the chain" : "the core between"}`, {
    skip,
  }, async (context) => {
    const t = cleanUp(context);
    const program = buildWire(t);
    const env = { WEFT_CORE_HOST: "thread", WEFT_DIRECT_MEMIF: String(direct) };
    const domain = await startDomain({ dataplane: "fast", env });
    t.after(() => domain.stop());
    const [node] = domain.nodes;
    const signal = new AbortController().signal;
    await domain.dialer.serviceRegistry(node.url).register(chainOf([...names, "echo"]), { signal });
    const functions: Passthrough[] = [];
    for (const name of names) {
      const labels = { app: name };
      const onConnection = (wire: Wire): void => runWire(t, program, wire);
      const mechanisms = [MechanismType.MEMIF];
      functions.push(await node.passthrough({ name, services: ["chain"], labels, mechanisms, onConnection, signal }));
    }
    const endpoint = await node.serve({
      ...{ name: "echo-1", services: ["chain"], labels: { app: "echo" }, cidrs: [["172.16.9.0/28"]], signal },
      mechanisms: [MechanismType.MEMIF],
      onConnection: ({ connection }) => void runTool(t, ["echo", "--server", ...socketArgs(connection)]),
    });
    const asked = { url: "memif://chain", liveness: false, connectTimeoutMs: 30_000, signal } as const;
    const connection = await node.connect(asked);
    const hops = connection.connection.path?.path_segments.map(({ name }) => name) ?? [];
    assert.deepEqual(
      hops.filter((name) => names.some((each) => each === name)),
      [...names],
    );
    await until("frames to pass along the chain", () => pings(t, connection, "--size", "1400"));
    assert.ok(await pings(t, connection, "--count", "50"), "and none is lost");
    const wires = functions.flatMap((each) => each.wires);
    assert.equal(wires.length, names.length);
    await connection.close();
    // a forwarder on a busy machine waits 150 ms for the next hop's close and answers then (forwarder/wait-for-close.ts): the rest follows
    await until("every wire to end", () => wires.every(({ closed }) => closed.aborted));
    await until("the endpoint to let go", () => endpoint.connections.length === 0);
    await until("the forwarder to hold nothing", async () => (await objectsAt(domain.dialer, node.forwarder)).length === 0);
    assert.equal(functions.flatMap((each) => each.wires).length, 0);
  });
}

test("row 1.7: a memif function between memif or an interface and an endpoint with an interface; it knows nothing of that", {
  skip,
}, async (context) => {
  const t = cleanUp(context);
  const program = buildWire(t);
  const [client, server] = [temporaryNetns(t, "c"), temporaryNetns(t, "s")];
  const domain = await startDomain({ dataplane: "fast", env: { WEFT_CORE_HOST: "thread" } });
  t.after(() => domain.stop());
  const [node] = domain.nodes;
  const signal = new AbortController().signal;
  await domain.dialer.serviceRegistry(node.url).register(chainOf(["first", "web"]), { signal });
  await node.passthrough({
    ...{ name: "first", services: ["chain"], labels: { app: "first" }, mechanisms: [MechanismType.MEMIF], signal },
    onConnection: (wire) => runWire(t, program, wire),
  });
  const cidrs = [["172.16.9.0/28"]];
  await node.serve({ name: "web-1", services: ["chain"], labels: { app: "web" }, cidrs, netns: server.url, signal });
  const asked = { liveness: false, connectTimeoutMs: 30_000, signal } as const;
  const connection = await node.connect({ url: "memif://chain", ...asked });
  await until("a ping through function and core", () => pings(t, connection));
  await connection.close();
  const plain = await node.connect({ url: "kernel://chain/nsm-1", netnsUrl: client.url, ...asked });
  const { own, other } = addressesOf(plain.connection);
  await until("the same from an interface", () => netnsPings(client, own, other));
  await plain.close();
  for (const netns of [client, server]) await until(`${netns.name} to be empty`, () => interfaces(netns).length === 0);
});

test("rows 1.6, 2.9: the endpoint behind a memif function leaves: the function stays, and frames pass to the other endpoint", {
  skip,
}, async (context) => {
  const t = cleanUp(context);
  const program = buildWire(t);
  const domain = await startDomain({ dataplane: "fast", env: { WEFT_CORE_HOST: "thread" } });
  t.after(() => domain.stop());
  const [node] = domain.nodes;
  const signal = new AbortController().signal;
  await domain.dialer.serviceRegistry(node.url).register(chainOf(["first", "echo"]), { signal });
  const mechanisms = [MechanismType.MEMIF];
  const hop = await node.passthrough({
    ...{ name: "first", services: ["chain"], labels: { app: "first" }, mechanisms, signal },
    onConnection: (wire) => runWire(t, program, wire),
  });
  const endpoints = new Map<string, Serving>();
  for (const name of ["echo-1", "echo-2"]) {
    const endpoint = await node.serve({
      ...{ name, services: ["chain"], labels: { app: "echo" }, cidrs: [["172.16.9.0/28"]], mechanisms, signal },
      onConnection: ({ connection }) => void runTool(t, ["echo", "--server", ...socketArgs(connection)]),
    });
    endpoints.set(name, endpoint);
  }
  const connection = await node.connect({ url: "memif://chain", liveness: false, connectTimeoutMs: 30_000, signal });
  const lastHop = (): string => connection.connection.path?.path_segments.at(-1)?.name ?? "";
  await until("frames to pass", () => pings(t, connection));
  const before = lastHop();
  await endpoints.get(before)?.close();
  await until("the connection to go to the other endpoint", () => lastHop() !== before && lastHop().startsWith("echo-"));
  await until("frames to pass again", () => pings(t, connection));
  assert.equal(hop.wires.length, 1);
  await connection.close();
  await until("the function to let go", () => hop.wires.length === 0);
});

async function objectsAt(dialer: Dialer, { urls }: Component): Promise<readonly unknown[]> {
  const { signal } = new AbortController();
  return (await dialer.inspect(urls[0] ?? "").getReport({ section: "objects" }, { signal })).facts;
}

async function pings(t: CleanUp, { connection }: ClientConnection, ...more: string[]): Promise<boolean> {
  const { own, other } = addressesOf(connection);
  const few = ["--from", own, "--to", other, "--count", "3", "--interval", "0.02", ...more];
  return (await runTool(t, ["ping", ...socketArgs(connection), ...few]).ended) === 0;
}

/** A service whose functions follow one another by their labels. */
function chainOf(hops: readonly string[]): NetworkService {
  const [first, ...others] = hops;
  return NetworkService.fromPartial({
    name: "chain",
    payload: "ETHERNET",
    matches: [
      ...others.map((name, index) => ({
        source_selector: { app: hops[index] ?? "" },
        routes: [{ destination_selector: { app: name } }],
      })),
      { routes: [{ destination_selector: { app: first ?? "" } }] },
    ],
  });
}

/** The example, built with the command in its head. */
function buildWire(t: CleanUp): string {
  const folder = mkdtempSync(join(tmpdir(), "wf-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, "wire");
  const head = readFileSync(join(top, "examples/memif-cnf/wire.c"), "utf8");
  const command = /^ \* {3}(cc .*) -o wire (.*)$/m.exec(head);
  assert.ok(command);
  const line = `${command[1]} -Wall -Werror -o ${program} ${command[2]}`;
  const built = spawnSync("bash", ["-c", line], { cwd: top, encoding: "utf8" });
  assert.equal(built.status, 0, built.stderr);
  return program;
}

/** Starts it again when it ends before its wire: the one before it may still hold the socket. */
function runWire(t: CleanUp, program: string, wire: Wire): void {
  const { inSocket, outSocket, closed } = wire;
  const child = spawn(program, [inSocket, outSocket], { stdio: "ignore" });
  const end = (): void => void child.kill();
  let over = false;
  child.once("exit", () => {
    closed.removeEventListener("abort", end);
    if (!closed.aborted && !over) runWire(t, program, wire);
  });
  closed.addEventListener("abort", end);
  t.after(() => {
    over = true;
    end();
  });
}
