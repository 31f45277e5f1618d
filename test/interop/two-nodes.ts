/** Two nodes, each with parts of its own kind: the tunnel between them is agreed on by forwarders of Go and of Weft. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Event, EventProcess } from "./event-process.js";
import { serveIdentities } from "./identities.js";
import { freePorts, launch, type PartOptions } from "./mesh.js";
import type { Chapter } from "./scenarios.js";
import type { Kind, Part } from "./setups.js";

interface Kinds {
  readonly registry: Kind;
  /** Manager, forwarder, and the client or endpoint of each node. */
  readonly near: readonly [nsmgr: Kind, forwarder: Kind, client: Kind];
  readonly far: readonly [nsmgr: Kind, forwarder: Kind, endpoint: Kind];
}

const meshes: Readonly<Record<string, Kinds>> = {
  "client's node of Go, endpoint's node of Weft": { registry: "go", near: ["go", "go", "go"], far: ["weft", "weft", "weft"] },
  "client's node of Weft, endpoint's node of Go": { registry: "weft", near: ["weft", "weft", "weft"], far: ["go", "go", "go"] },
  "managers of Go, forwarders of Weft": { registry: "weft", near: ["go", "weft", "go"], far: ["go", "weft", "weft"] },
  "managers of Weft, forwarders of Go": { registry: "go", near: ["weft", "go", "weft"], far: ["weft", "go", "go"] },
};

export function twoNodes(): Chapter {
  return {
    name: "two nodes",
    shows:
      "mTLS, tokens and policies; each node has its manager and forwarder, the managers reach each other over TCP. The client is " +
      "connected over all six parts with a VXLAN tunnel agreed on between the forwarders, refreshes, heals after the far manager was " +
      "killed (-9), and closes; the endpoint hears of the end.",
    scenarios: Object.entries(meshes).map(([name, kinds]) => ({ name, run: () => overTwoNodes(kinds) })),
  };
}

async function overTwoNodes(kinds: Kinds): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "wt-interop-"));
  const identities = await serveIdentities(folder);
  const [registry = 0, near = 0, far = 0] = await freePorts(3);
  const running: EventProcess[] = [];
  const start = (kind: Kind, part: Part, node: "near" | "far", name: string): EventProcess => {
    const options: PartOptions = {
      part,
      name,
      urls: {
        registry: `tcp://127.0.0.1:${registry}`,
        nsmgr: `unix://${folder}/nsmgr-${node}.sock`,
        nsmgrPublic: `tcp://127.0.0.1:${node === "near" ? near : far}`,
        forwarder: `unix://${folder}/forwarder-${node}.sock`,
        endpoint: `unix://${folder}/endpoint.sock`,
      },
      service: "interop",
      mechanism: "KERNEL",
      security: "mtls",
      id: `${name}-0`,
      stateDir: join(folder, name),
      tunnelIp: "127.0.0.1",
      identitySocket: identities.socket,
    };
    const process = launch(kind, options);
    running.push(process);
    return process;
  };
  const ready = async (process: EventProcess): Promise<EventProcess> => {
    await process.next("ready", ({ event }) => event === "ready");
    return process;
  };
  try {
    await ready(start(kinds.registry, "registry", "near", "registry"));
    await ready(start(kinds.near[0], "nsmgr", "near", "nsmgr-near"));
    const farManager = await ready(start(kinds.far[0], "nsmgr", "far", "nsmgr-far"));
    await ready(start(kinds.near[1], "forwarder", "near", "forwarder-near"));
    await ready(start(kinds.far[1], "forwarder", "far", "forwarder-far"));
    const endpoint = await ready(start(kinds.far[2], "endpoint", "far", "endpoint"));
    const client = start(kinds.near[2], "client", "near", "client");
    const connected = await client.next("the connection", ({ event }) => event === "connected");
    check(connected);
    const refreshed = await client.next("a refresh", isGrant, { from: client.events.indexOf(connected) + 2 });
    check(refreshed);
    assert.deepEqual(refreshed.addresses, connected.addresses);

    await farManager.kill();
    const mark = client.events.length;
    await ready(start(kinds.far[0], "nsmgr", "far", "nsmgr-far"));
    const healed = await client.next("a grant through the new far manager", isGrant, { from: mark, timeoutMs: 40_000 });
    check(healed);
    client.tell("close");
    await client.next("the end", ({ event }) => event === "closed");
    await endpoint.next("the end of the connection", ({ event }) => event === "closed");
  } finally {
    for (const process of running.reverse()) await process.kill();
    await identities.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const isGrant = ({ event, state }: Event): boolean => (event === "granted" || event === "connected") && state === "UP";

function check({ segments = [], mechanism, addresses = [] }: Event): void {
  assert.deepEqual(
    segments.map(({ name }) => name),
    ["client", "nsmgr-near", "forwarder-near", "nsmgr-far", "forwarder-far", "endpoint"],
  );
  assert.ok(
    segments.every(({ signed }) => signed),
    "every segment has a token",
  );
  assert.equal(mechanism, "KERNEL");
  assert.ok(addresses.length >= 2, `an address at each end, not ${addresses}`);
}
