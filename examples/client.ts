// Asks for the network service of the first argument and shows what it gets until Ctrl-C:
//   node client.js kernel://icmp-responder/nsm-1 unix:///var/lib/networkservicemesh/nsm.io.sock
import { connect } from "../sdk/entry.js";

const [url = "kernel://icmp-responder", nsmgr = "unix:///var/lib/networkservicemesh/nsm.io.sock"] = process.argv.slice(2);
const stop = new AbortController();
process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());

const connection = await connect({ url, nsmgr, signal: stop.signal });
console.log(`connected: ${connection.interfaceName}`, connection.context.ip_context?.src_ip_addrs);
for await (const change of connection.changes) console.log(change.kind, change.connection.network_service_endpoint_name);
