import type { ServeOptions } from "../../sdk/endpoint/serve.js";
import { createLog } from "../../sdk/telemetry/log.js";

/**
 * What an endpoint that is a process of its own is told by its arguments: name, service, CIDRs, manager, socket, state folder, labels
 * (k=v). SIGTERM ends it.
 */
export function endpointOptions(): ServeOptions {
  const [name = "", service = "", cidr = "", nsmgr = "", listenOn = "", stateDir = "", ...labels] = process.argv.slice(2);
  const stop = new AbortController();
  process.once("SIGTERM", () => stop.abort());
  return {
    name,
    services: [service],
    cidrs: cidr.split(","),
    labels: Object.fromEntries(labels.map((label) => label.split("=") as [string, string])),
    nsmgr,
    listenOn: [listenOn],
    stateDir,
    signal: stop.signal,
    log: createLog({ name, level: "debug" }),
  };
}
