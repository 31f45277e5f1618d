/** Row 6.4: callers of another trust domain, with and without its bundle, at managers of Go and of Weft. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EventProcess } from "./event-process.js";
import { serveIdentities } from "./identities.js";
import { freePorts, launch, type PartOptions } from "./mesh.js";
import type { Chapter, Scenario } from "./scenarios.js";
import type { Kind, Part } from "./setups.js";

export function strangers(): Chapter {
  const scenarios: Scenario[] = [];
  for (const mesh of ["weft", "go"] as const) {
    for (const client of ["go", "weft"] as const) {
      const who = `a client of ${called[client]} at a mesh of ${called[mesh]}`;
      scenarios.push({
        name: `row 6.4: ${who}: refused without the other domain's bundle, connected with it`,
        run: () => acrossDomains(mesh, client),
      });
    }
  }
  return {
    name: "trust domains",
    shows:
      "The mesh and the client have Workload APIs of different trust domains. As long as the mesh has not the client's bundle the " +
      "client is refused in the handshake, as is one that speaks no TLS, and a mesh of Weft has a line of audit that names the " +
      "domain. Given each other's bundle while they run, the next client is connected, and every hop has vouched.",
    scenarios,
  };
}

const called = { go: "Go", weft: "Weft" } as const;

async function acrossDomains(mesh: Kind, clientKind: Kind): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "wt-interop-"));
  const [home, foreign] = [await serveIdentities(folder), await serveIdentities(folder, "foreign.test")];
  const [registry = 0, manager = 0] = await freePorts(2);
  const running: EventProcess[] = [];
  const start = (kind: Kind, part: Part, more: Partial<PartOptions> = {}): EventProcess => {
    const process = launch(kind, {
      part,
      name: part,
      urls: {
        registry: `tcp://127.0.0.1:${registry}`,
        nsmgr: `unix://${folder}/nsmgr.sock`,
        nsmgrPublic: `tcp://127.0.0.1:${manager}`,
        forwarder: `unix://${folder}/forwarder.sock`,
        endpoint: `unix://${folder}/endpoint.sock`,
      },
      service: "interop",
      mechanism: "KERNEL",
      security: "mtls",
      id: `${part}-0`,
      stateDir: join(folder, part),
      identitySocket: home.socket,
      ...more,
    });
    running.push(process);
    return process;
  };
  try {
    for (const part of ["registry", "nsmgr", "forwarder", "endpoint"] as const) {
      await start(mesh, part).next("ready", ({ event }) => event === "ready");
    }
    const nsmgr = running[1];
    assert.ok(nsmgr);
    // The client trusts the mesh, so that it is the mesh that refuses.
    foreign.federate(home.authority);
    const refused = [
      start(clientKind, "client", { identitySocket: foreign.socket }),
      start(clientKind, "client", { name: "stranger", id: "stranger-0", security: "plain", identitySocket: undefined }),
    ];
    if (mesh === "weft")
      await written(
        nsmgr,
        /trust domain foreign\.test[^\n]*"audit":"authentication"|"audit":"authentication"[^\n]*trust domain foreign\.test/,
      );
    else await Promise.all(refused.map(settled));
    for (const client of refused) {
      assert.ok(!client.events.some(({ event }) => event === "connected"), "not connected without the bundle");
      await client.kill();
    }

    home.federate(foreign.authority);
    const accepted = start(clientKind, "client", { name: "friend", id: "friend-0", identitySocket: foreign.socket });
    const connected = await accepted.next("the connection", ({ event }) => event === "connected", { timeoutMs: 40_000 });
    const { segments = [] } = connected;
    assert.equal(segments.length, 4);
    assert.ok(
      segments.every(({ signed }) => signed),
      "every segment has a token",
    );
  } finally {
    for (const process of running.reverse()) await process.kill();
    await Promise.all([home.close(), foreign.close()]);
    rmSync(folder, { recursive: true, force: true });
  }
}

const lookEveryMs = 50;
const patienceMs = 20_000;
/** Longer than a client needs to be connected when it may. */
const settleMs = 6_000;

async function written(process: EventProcess, wanted: RegExp): Promise<void> {
  const deadlineMs = Date.now() + patienceMs;
  while (!wanted.test(process.errors)) {
    assert.ok(Date.now() < deadlineMs, `not written: ${wanted}\n${process.errors}`);
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

async function settled(client: EventProcess): Promise<void> {
  const deadlineMs = Date.now() + settleMs;
  while (Date.now() < deadlineMs && !client.events.some(({ event }) => event === "refused" || event === "connected")) {
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}
