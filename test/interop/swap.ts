/** docs/migrate-from-nsm.md, done: one component of a running mesh of Go is replaced by ours, and back. */
import assert from "node:assert/strict";
import type { Event, EventProcess } from "./event-process.js";
import { createMesh, type Mesh } from "./mesh.js";
import type { Chapter, Scenario } from "./scenarios.js";
import { type Kind, type Part, setups } from "./setups.js";

type Swapped = Exclude<Part, "client">;
/** In the order of the page. */
const order: readonly Swapped[] = ["registry", "nsmgr", "forwarder", "endpoint"];
const clients = { "client-go": "go", "client-weft": "weft" } as const;

export function liveSwaps(): Chapter {
  let mesh: Mesh | undefined;
  const inMesh = (run: (mesh: Mesh) => Promise<void>) => async (): Promise<void> => {
    mesh ??= await startLiveMesh();
    await run(mesh);
  };
  const there = (part: Swapped): Scenario[] =>
    (["weft", "go"] as const).map((kind) => ({
      name: `${part}: ${kind === "weft" ? "Go's is stopped, Weft's started in its place" : "and back"}`,
      run: inMesh((live) => swapAndLook(live, part, kind)),
    }));
  const all: Scenario[] = [
    { name: "one after the other until all is Weft", run: inMesh((live) => swapAll(live, order, "weft")) },
    { name: "one after the other until all is Go again", run: inMesh((live) => swapAll(live, [...order].reverse(), "go")) },
    { name: "both clients close what they have had since the beginning", run: inMesh(closeBoth) },
  ];
  return {
    name: "live swap",
    shows:
      "A mesh of Go over unix sockets with mTLS, tokens and policies; a client of Go and one of Weft are connected before the first " +
      "swap and until after the last. After each swap both are granted their connection anew, twice. Where the manager was " +
      "replaced all ids and addresses are what they were; where it was the forwarder, for the client of Go; for the endpoint, its ids " +
      "up to the forwarder; for the registry, its ids up to the manager, because a manager of Go ends connections whose endpoint it does " +
      "not find for a moment, and the client heals. A client of Weft that is asked to move makes a second connection beside the first, " +
      "with an id of its own. Packets are not the subject: a forwarder of Go moves none here.",
    scenarios: [...order.flatMap(there), ...all],
    end: async () => mesh?.stop(),
  };
}

async function startLiveMesh(): Promise<Mesh> {
  const setup = setups.find(({ name }) => name === "all Go");
  assert.ok(setup);
  const mesh = await createMesh(setup, { transport: "unix", security: "mtls" });
  for (const part of order) await mesh.start(part);
  for (const [name, kind] of Object.entries(clients)) {
    const client = mesh.client(name, kind);
    await client.next("the connection", ({ event }) => event === "connected");
    client.tell("monitor");
    await client.next("a first event of the monitor", ({ event }) => event === "monitor");
  }
  return mesh;
}

async function swapAndLook(mesh: Mesh, part: Swapped, kind: Kind): Promise<void> {
  const before = clientsOf(mesh).map((client) => ({ client, last: lastGrant(client), mark: client.events.length }));
  await mesh.swap(part, kind);
  // grants that were under way when the part was stopped are of before: each client has to be heard twice
  for (const { client, last, mark } of before) {
    const first = await client.next("a grant after the swap", isGrant, { from: mark, timeoutMs: patienceMs });
    const from = client.events.indexOf(first) + 1;
    const now = await client.next("a second grant after the swap", isGrant, { from, timeoutMs: patienceMs });
    assert.deepEqual(names(now), names(last));
    const kept = keptBy(part, client);
    assert.deepEqual(ids(now).slice(0, kept), ids(last).slice(0, kept), `ids of ${ids(last)[0]} after ${part}`);
    if (kept === 4) assert.deepEqual(now.addresses, last.addresses);
    assert.ok(!client.events.some(({ event }) => event === "closed"), "no client has given up");
  }
}

/**
 * How many hops keep their ids. A client of Weft that is asked to move, because forwarder or endpoint goes, makes a second
 * connection beside the first; one of Go asks again with the same ids. A manager of Go ends a connection whose endpoint it
 * does not find in the registry for a moment, and a new registry begins empty.
 */
function keptBy(part: Swapped, client: EventProcess): number {
  if (part === "nsmgr") return 4;
  const isWeft = client.events.some(({ segments }) => segments?.[0]?.name === "client-weft");
  if (isWeft) return 0;
  return { registry: 2, forwarder: 4, endpoint: 3 }[part];
}

async function swapAll(mesh: Mesh, parts: readonly Swapped[], kind: Kind): Promise<void> {
  for (const part of parts) await swapAndLook(mesh, part, kind);
}

async function closeBoth(mesh: Mesh): Promise<void> {
  for (const client of clientsOf(mesh)) {
    client.tell("close");
    const closed = await client.next("the end", ({ event }) => event === "closed");
    assert.equal(closed.error ?? "", "");
  }
}

/** A client refreshes every three seconds, and tries again after a failure. */
const patienceMs = 30_000;

function clientsOf(mesh: Mesh): EventProcess[] {
  return Object.keys(clients).map((name) => mesh.process(name as Part));
}

const isGrant = ({ event, state }: Event): boolean => (event === "granted" || event === "connected") && state === "UP";

function lastGrant({ events }: EventProcess): Event {
  const last = events.findLast(isGrant);
  assert.ok(last);
  return last;
}

function names({ segments = [] }: Event): string[] {
  return segments.map(({ name }) => name);
}

function ids({ segments = [] }: Event): string[] {
  return segments.map(({ name, id }) => `${name} ${id}`);
}
