/** A node manager whose answers a test decides: real sockets, the monitor's wire form, no mesh behind it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { Connection, ConnectionEvent, ConnectionEventType, State } from "../gen/connection.js";
import type { NetworkServiceRequest } from "../gen/networkservice.js";
import { withSegment } from "../path.js";
import { silentLog } from "../telemetry/log.js";
import { timestampOf } from "../timestamp.js";
import { listen } from "../transport/listen.js";
import { connectionService, monitorService } from "../transport/services.js";

export interface ScriptedNodeManager {
  readonly url: string;
  readonly requests: NetworkServiceRequest[];
  readonly closes: Connection[];
  /** What is granted, by the client's connection id; fill it to have connections from "before the restart". */
  readonly held: Map<string, Connection>;
  /** Open monitor streams. */
  readonly watchers: () => number;
  /** Decides the next answers; default: grants what is asked. Throw to refuse. */
  answer: (request: NetworkServiceRequest) => Promise<Connection> | Connection;
  /** Hears of each Close before it counts. Throw to refuse. */
  onClose: (connection: Connection) => void;
  /** Tells the watchers about a connection. */
  report(id: string, state: State, change?: Partial<Connection>): void;
  reportDeleted(id: string): void;
  start(): Promise<void>;
  /** Stops listening and cuts all streams, as a process that ends. Forgets what it held. */
  stop(): Promise<void>;
}

/** Life it grants. */
const lifeMs = 600_000;

export async function startScriptedNodeManager(t: TestContext): Promise<ScriptedNodeManager> {
  const folder = mkdtempSync(join(tmpdir(), "wt-nodemanager-"));
  const url = `unix://${folder}/nsm.sock`;
  const streams = new Set<(event: ConnectionEvent) => void>();
  const held = new Map<string, Connection>();
  let stopping: (() => Promise<void>) | undefined;

  const send = (type: ConnectionEventType, connection: Connection): void => {
    const event = ConnectionEvent.fromPartial({ type, connections: { [`at-nsmgr-${connection.id}`]: asShown(connection) } });
    for (const stream of streams) stream(event);
  };
  const node: ScriptedNodeManager = {
    url,
    requests: [],
    closes: [],
    held,
    watchers: () => streams.size,
    answer: (request) => grant(request),
    onClose: () => {},
    report(id, state, change = {}) {
      const connection = { ...(held.get(id) ?? Connection.fromPartial({ id })), ...change, state };
      held.set(id, connection);
      send(ConnectionEventType.UPDATE, connection);
    },
    reportDeleted(id) {
      const connection = held.get(id) ?? Connection.fromPartial({ id });
      held.delete(id);
      send(ConnectionEventType.DELETE, connection);
    },
    async start() {
      const controller = new AbortController();
      const handler = {
        async request(request: NetworkServiceRequest): Promise<Connection> {
          node.requests.push(request);
          const answer = await node.answer(request);
          held.set(answer.id, answer);
          return answer;
        },
        async close(connection: Connection): Promise<void> {
          node.closes.push(connection);
          node.onClose(connection);
          held.delete(connection.id);
        },
      };
      const watch = { subscribe: (_selector: unknown, signal: AbortSignal) => subscribe(held, streams, signal) };
      const services = [connectionService(handler), monitorService(watch)];
      const listener = await listen({ urls: [url], services, log: silentLog, signal: controller.signal });
      stopping = async () => {
        await listener.drain(0);
        held.clear();
      };
    },
    async stop() {
      await stopping?.();
      stopping = undefined;
    },
  };
  t.after(async () => {
    await node.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  await node.start();
  return node;
}

/** What a node manager with one endpoint answers. */
export function grant(request: NetworkServiceRequest, change: Partial<Connection> = {}): Connection {
  const connection = Connection.fromPartial({ ...request.connection });
  const [mechanism] = request.mechanism_preferences;
  const granted: Connection = {
    ...connection,
    mechanism: connection.mechanism ?? mechanism,
    network_service_endpoint_name: connection.network_service_endpoint_name || "nse-1",
    state: State.UP,
    ...change,
  };
  return withSegment(granted, 0, (segment) => ({ ...segment, expires: timestampOf(Date.now() + lifeMs) }));
}

function asShown(connection: Connection): Connection {
  const path = connection.path ?? { index: 0, path_segments: [] };
  return { ...connection, id: `at-nsmgr-${connection.id}`, path: { ...path, index: 1 } };
}

async function* subscribe(
  held: Map<string, Connection>,
  streams: Set<(event: ConnectionEvent) => void>,
  signal: AbortSignal,
): AsyncIterable<ConnectionEvent> {
  const queue: ConnectionEvent[] = [
    ConnectionEvent.fromPartial({
      type: ConnectionEventType.INITIAL_STATE_TRANSFER,
      connections: Object.fromEntries([...held].map(([id, connection]) => [`at-nsmgr-${id}`, asShown(connection)])),
    }),
  ];
  let wake = (): void => {};
  const put = (event: ConnectionEvent): void => {
    queue.push(event);
    wake();
  };
  streams.add(put);
  signal.addEventListener("abort", () => wake(), { once: true });
  try {
    while (!signal.aborted) {
      const event = queue.shift();
      if (event !== undefined) yield event;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    streams.delete(put);
  }
}
