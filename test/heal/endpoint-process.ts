/** An endpoint as a process of its own, configured by arguments: name, service, CIDRs, manager, socket, state folder, labels (k=v). */
import { serve } from "../../sdk/endpoint/serve.js";
import { createLog } from "../../sdk/telemetry/log.js";

const [name = "", service = "", cidr = "", nsmgr = "", listenOn = "", stateDir = "", ...labels] = process.argv.slice(2);
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
const endpoint = await serve({
  name,
  services: [service],
  cidrs: cidr.split(","),
  labels: Object.fromEntries(labels.map((label) => label.split("=") as [string, string])),
  nsmgr,
  listenOn: [listenOn],
  stateDir,
  signal: stop.signal,
  log: createLog({ name, level: "debug" }),
});
await endpoint.closed;
