/** kill -9 of real registry processes under load. WEFT_CRASH_ROUNDS sets how often (default 6). */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import type { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { createDialer, type RemoteRegistry } from "../sdk/transport/dial.js";
import { collect, endpoint } from "./test-registry.js";

const rounds = Number(process.env["WEFT_CRASH_ROUNDS"] ?? 6);
const workers = 8;

/** What the clients know of one name: the url last acknowledged ("" = removed), and the one asked for but not answered. */
interface Known {
  acknowledged: string;
  asked: string | undefined;
}

test("rows 3.1, 7.4: what was acknowledged survives kill -9 at any moment", { timeout: 60_000 + rounds * 5_000 }, async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), "wt-crash-"));
  let child: ChildProcess | undefined;
  t.after(async () => {
    await kill(child);
    rmSync(stateDir, { recursive: true });
  });
  const known = new Map<string, Known>();
  let acknowledged = 0;
  for (let round = 0; round < rounds; round++) {
    const started = await startProcess(stateDir);
    child = started.child;
    const dialer = createDialer({ dialTimeoutMs: 5_000 });
    try {
      const endpoints = dialer.endpointRegistry(started.url);
      await check(endpoints, known, round).catch((error: unknown) => {
        const { exitCode, signalCode } = started.child;
        throw new Error(`round ${round}, registry ended with ${exitCode ?? signalCode}: ${started.lines.join("\n")}`, {
          cause: error,
        });
      });
      const stopping = new AbortController();
      const load = Promise.all(
        Array.from({ length: workers }, (_, worker) =>
          change(endpoints, known, worker, round, stopping.signal, () => {
            acknowledged++;
          }),
        ),
      );
      await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 400));
      await kill(child);
      stopping.abort();
      await load;
    } finally {
      dialer.close();
    }
  }
  t.diagnostic(`${rounds} kills, ${acknowledged} changes acknowledged`);
  assert.ok(acknowledged > rounds, `only ${acknowledged} changes were acknowledged`);
});

/** Registers, changes and removes its own names until the registry is gone. */
async function change(
  endpoints: RemoteRegistry<NetworkServiceEndpoint>,
  known: Map<string, Known>,
  worker: number,
  round: number,
  signal: AbortSignal,
  done: () => void,
): Promise<void> {
  for (let step = 0; ; step++) {
    const name = `w${worker}-${step % 40}`;
    const state = known.get(name) ?? { acknowledged: "", asked: undefined };
    known.set(name, state);
    const remove = step % 5 === 4;
    state.asked = remove ? "" : `tcp://h:${round}-${step}`;
    try {
      if (remove) await endpoints.unregister(endpoint(name), { signal });
      else await endpoints.register(endpoint(name, { url: state.asked, network_service_names: ["s"] }), { signal });
    } catch {
      return;
    }
    Object.assign(state, { acknowledged: state.asked, asked: undefined });
    done();
  }
}

async function check(endpoints: RemoteRegistry<NetworkServiceEndpoint>, known: Map<string, Known>, round: number): Promise<void> {
  const signal = AbortSignal.timeout(10_000);
  const all = await collect(endpoints.find(endpoint(""), { watch: false, signal }));
  const found = new Map(all.map(({ name, url }) => [name, url]));
  for (const [name, state] of known) {
    const url = found.get(name) ?? "";
    const possible = state.asked === undefined ? [state.acknowledged] : [state.acknowledged, state.asked];
    assert.ok(
      possible.includes(url),
      `round ${round}: ${name} is "${url}" after the restart, not one of ${JSON.stringify(possible)}`,
    );
    Object.assign(state, { acknowledged: url, asked: undefined });
  }
  const byService = await collect(endpoints.find(endpoint("", { network_service_names: ["s"] }), { watch: false, signal }));
  assert.equal(byService.length, all.length);
}

async function startProcess(stateDir: string): Promise<{ child: ChildProcess; url: string; lines: string[] }> {
  const main = new URL("./main.js", import.meta.url).href;
  const argv = JSON.stringify(["--insecure", "--listen-on", "tcp://127.0.0.1:0", "--state-dir", stateDir]);
  const script = `import { run } from ${JSON.stringify(main)};
    process.exitCode = await run({ argv: ${argv}, env: {}, signal: new AbortController().signal });`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", script], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    lines.push(line);
    const { message, urls } = parse(line);
    if (message === "registry is up") {
      child.stderr.on("data", (text: Buffer) => lines.push(text.toString()));
      return { child, url: urls?.[0] ?? "", lines };
    }
  }
  throw new Error(`the registry did not start:\n${lines.join("\n")}`);
}

function parse(line: string): { message?: string; urls?: string[] } {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

async function kill(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
