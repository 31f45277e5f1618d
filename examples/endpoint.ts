// Serves the network service of the first argument with addresses, a route and labels until Ctrl-C:
//   node endpoint.js icmp-responder unix:///var/lib/networkservicemesh/nsm.io.sock
import { serve } from "../sdk/entry.js";

const [service = "icmp-responder", nsmgr = "unix:///var/lib/networkservicemesh/nsm.io.sock"] = process.argv.slice(2);
const stop = new AbortController();
process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());

const endpoint = await serve({
  name: `${service}-1`,
  services: [service],
  cidrs: ["172.16.1.0/24", "fd00:16::/64"],
  routes: ["10.96.0.0/12"],
  labels: { app: "example" },
  onConnection: ({ connection }) => console.log(`client ${connection.id} of ${connection.labels["nodeName"]}`),
  nsmgr,
  signal: stop.signal,
});
console.log(`${endpoint.name} serves ${service}`);
