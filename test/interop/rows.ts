/** The named tests that every mesh runs, in this order: each goes on with the connection that the ones before it left. */
import assert from "node:assert/strict";
import type { Described, Event, EventProcess } from "./event-process.js";
import type { Mesh } from "./mesh.js";

export interface Row {
  readonly name: string;
  /** What it shows, for the reader of the matrix. */
  readonly shows: string;
  run(mesh: Mesh): Promise<void>;
}

const main = "client";

export const rows: readonly Row[] = [
  {
    name: "request",
    shows: "a client is connected through manager and forwarder to the endpoint; path, addresses and mechanism are whole",
    run: request,
  },
  { name: "monitor", shows: "the manager tells the client's connection at once, and its refresh", run: monitor },
  { name: "refresh", shows: "the client refreshes by itself; its expiry moves on, addresses and ids stay", run: refresh },
  { name: "heal: endpoint restart", shows: "endpoint killed (-9) and started again", run: healEndpoint },
  {
    name: "heal: nsmgr restart",
    shows: "manager killed (-9) and started again: all register anew, the client heals",
    run: healNsmgr,
  },
  {
    name: "heal: registry restart",
    shows: "registry killed (-9) and started again, empty: a new client is served, the first one goes on",
    run: healRegistry,
  },
  { name: "close", shows: "the endpoint hears of the end, and so do monitors", run: close },
];

async function request(mesh: Mesh): Promise<void> {
  const client = mesh.client(main);
  const connected = await client.next("the connection", ({ event }) => event === "connected");
  checkConnection(mesh, connected, main);
  assert.equal(connected.addresses?.length, 2, `one address at each end, not ${connected.addresses}`);
  await opened(mesh, 0, lastId(connected));
}

async function monitor(mesh: Mesh): Promise<void> {
  const client = mesh.process(main);
  client.tell("monitor");
  const first = await client.next("a first event of the monitor", ({ event }) => event === "monitor");
  assert.equal(first.type, "INITIAL_STATE_TRANSFER");
  const shown = first.connections?.find(({ segments }) => segments[0]?.id.startsWith(`${main}-0`));
  assert.equal(shown?.id, shown?.segments[1]?.id, "the id is the manager's");
  assert.equal(shown?.state, "UP");
  await client.next("an update after a refresh", ({ event, type }) => event === "monitor" && type === "UPDATE");
}

async function refresh(mesh: Mesh): Promise<void> {
  const client = mesh.process(main);
  const before = await client.next("the connection", ({ event }) => event === "connected");
  const later = ({ segments = [] }: Event): boolean => (segments[0]?.expires ?? "") > (before.segments?.[0]?.expires ?? "");
  const after = await client.next("a refresh", (event) => event.event === "granted" && later(event));
  // tokens may serve more than one request: those of the other hops need not be new
  assert.ok(
    (after.segments ?? []).every(({ expires }, i) => Date.parse(expires) >= Date.parse(before.segments?.[i]?.expires ?? "")),
  );
  checkConnection(mesh, after, main);
  assert.deepEqual(after.addresses, before.addresses);
  assert.deepEqual(
    after.segments?.map(({ name, id }) => [name, id]),
    before.segments?.map(({ name, id }) => [name, id]),
  );
}

async function healEndpoint(mesh: Mesh): Promise<void> {
  const client = mesh.process(main);
  await mesh.kill("endpoint");
  const mark = client.events.length;
  await mesh.start("endpoint");
  const healed = await client.next("a grant by the new endpoint", isGrant, { from: mark });
  await opened(mesh, 0, lastId(healed));
  checkConnection(mesh, healed, main);
}

async function healNsmgr(mesh: Mesh): Promise<void> {
  const client = mesh.process(main);
  await mesh.kill("nsmgr");
  const mark = client.events.length;
  await mesh.start("nsmgr");
  checkConnection(mesh, await client.next("a grant through the new manager", isGrant, { from: mark }), main);
}

async function healRegistry(mesh: Mesh): Promise<void> {
  await mesh.kill("registry");
  await mesh.start("registry");
  const mark = mesh.process(main).events.length;
  const second = mesh.client("second");
  const connected = await second.next("the connection", ({ event }) => event === "connected");
  checkConnection(mesh, connected, "second");
  checkConnection(mesh, await mesh.process(main).next("a grant to the first client", isGrant, { from: mark }), main);
}

async function close(mesh: Mesh): Promise<void> {
  const client = mesh.process(main);
  const monitored = client.events.length;
  client.tell("monitor");
  await client.next("a first event of the monitor", ({ event }) => event === "monitor", { from: monitored });
  const last = lastId(client.events.findLast(isGrant));
  client.tell("close");
  const closed = await client.next("the end", ({ event }) => event === "closed");
  assert.equal(closed.error ?? "", "");
  const endpoint = mesh.process("endpoint");
  // one that a client of Weft has left behind a restarted manager of Go, which does not know it, goes by its expiry
  await endpoint.next("the end of the connection", ({ event, id }) => event === "closed" && id === last);
  await client.next("a DELETE", ({ event, type }) => event === "monitor" && type === "DELETE", { from: monitored });
}

const isGrant = ({ event, state }: Event): boolean => (event === "granted" || event === "connected") && state === "UP";

function checkConnection(mesh: Mesh, connection: Partial<Described>, client: string): void {
  const segments = connection.segments ?? [];
  assert.deepEqual(
    segments.map(({ name }) => name),
    [client, "nsmgr", "forwarder", "endpoint"],
  );
  // a client of Weft that is asked to move makes a second connection beside the first
  assert.match(connection.id ?? "", new RegExp(`^${client}-0(-b)?$`));
  assert.equal(segments[0]?.id, connection.id);
  assert.equal(new Set(segments.map(({ id }) => id)).size, segments.length, "ids of segments differ");
  assert.ok(
    segments.every(({ expires }) => Date.parse(expires) > Date.now()),
    "every segment lives",
  );
  assert.equal(connection.state, "UP");
  assert.equal(connection.endpoint, "endpoint");
  assert.equal(connection.mechanism, mesh.mechanism);
  // Go's manager closes connections whose endpoint it does not find for a moment; Go's IPAM then adds a second pair
  assert.ok((connection.addresses?.length ?? 0) >= 2, `an address at each end, not ${connection.addresses}`);
  if (mesh.variant.security === "mtls")
    assert.ok(
      segments.every(({ signed }) => signed),
      "every segment has a token",
    );
}

function lastId({ segments }: Partial<Described> = {}): string {
  return segments?.at(-1)?.id ?? "";
}

function opened(mesh: Mesh, from: number, wanted: string): Promise<Event> {
  const endpoint: EventProcess = mesh.process("endpoint");
  return endpoint.next(`connection ${wanted}`, ({ event, id }) => event === "opened" && id === wanted, { from });
}
