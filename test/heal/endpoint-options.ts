import type { ServeOptions } from "../../sdk/endpoint/serve-options.js";
import type { PolicyRoute } from "../../sdk/gen/connectioncontext.js";
import { createLog } from "../../sdk/telemetry/log.js";

/** Of the setting. */
export const policiesName = "WEFT_TEST_POLICIES";

/**
 * What an endpoint that is a process of its own is told by its arguments: name, service, CIDRs, manager, socket, state folder, labels
 * (k=v); by its environment: policies as JSON. SIGTERM ends it.
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
    policies: JSON.parse(process.env[policiesName] ?? "[]") as PolicyRoute[],
    signal: stop.signal,
    log: createLog({ name, level: "debug" }),
  };
}
