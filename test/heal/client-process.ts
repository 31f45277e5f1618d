/** A client as a process of its own: url, name, id, manager. Tells what happens to it, one JSON object a line. */
import { connect } from "../../sdk/client/connect.js";

const [url = "", name = "", id = "", nsmgr = ""] = process.argv.slice(2);
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
const tell = (kind: string, detail: object): void => void process.stdout.write(`${JSON.stringify({ kind, ...detail })}\n`);
const connection = await connect({ url, name, id, nsmgr, liveness: false, signal: stop.signal, maxTokenLifetimeMs: 5_000 });
tell("connected", {
  endpoint: connection.connection.network_service_endpoint_name,
  ip: connection.context.ip_context?.src_ip_addrs,
});
for await (const change of connection.changes) tell(change.kind, "reason" in change ? { reason: change.reason } : {});
tell("ended", {});
