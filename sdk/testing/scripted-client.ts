/** A client of a scripted node manager, for tests. */
import type { TestContext } from "node:test";
import type { Change } from "../client/changes.js";
import { type ClientConnection, type ConnectOptions, connect } from "../client/connect.js";
import type { ScriptedNodeManager } from "./scripted-node-manager.js";

const neverAborted = new AbortController().signal;

/** A connection "c-1" that is closed after the test. */
export async function start(
  t: TestContext,
  node: ScriptedNodeManager,
  options: Partial<ConnectOptions>,
): Promise<ClientConnection> {
  const connection = await connect({
    url: "kernel://icmp-responder/nsm-1",
    id: "c-1",
    nsmgr: node.url,
    signal: neverAborted,
    ...options,
  });
  t.after(() => connection.close());
  return connection;
}

/** What the connection tells; grows as it happens. */
export function listenTo(connection: ClientConnection): Change[] {
  const heard: Change[] = [];
  void (async () => {
    for await (const change of connection.changes) heard.push(change);
  })();
  return heard;
}
