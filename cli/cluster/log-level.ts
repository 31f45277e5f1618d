/** weft cluster log-level: reads or changes the log level of managers and forwarders, without a restart. */
import { Code, statusError } from "../../sdk/status.js";
import { logLevels, parseLogLevel } from "../../sdk/telemetry/log.js";
import type { CliContext } from "../context.js";
import { agentsOf } from "./agents.js";
import { execThrough } from "./exec.js";
import { type ClusterOptions, defaultNamespace, withCluster } from "./open.js";

/** @param wanted  undefined = only read */
export function clusterLogLevel(
  wanted: string | undefined,
  options: ClusterOptions & { readonly node?: string },
  context: CliContext,
): Promise<number> {
  if (wanted !== undefined && parseLogLevel(wanted) === undefined) {
    throw statusError(Code.INVALID_ARGUMENT, `"${wanted}" is no log level; there are ${logLevels.join(", ")}`);
  }
  return withCluster(options, context, async (api) => {
    const all = await agentsOf(api, options.namespace ?? defaultNamespace, await execThrough(options, context));
    const agents = all.filter(({ node }) => options.node === undefined || node === options.node);
    if (agents.length === 0) {
      throw statusError(
        Code.NOT_FOUND,
        `no agent on node "${options.node}"; there are ${all.map(({ node }) => node).join(", ")}`,
      );
    }
    let worst = 0;
    for (const agent of agents) {
      const level = wanted === undefined ? [] : [wanted];
      // each agent answers for its own node
      for (const part of ["nsmgr", "forwarder"]) {
        const { exitCode, out, err } = await agent.ask(["log-level", ...level, "--of", `${part}-${agent.node}`]);
        worst = Math.max(worst, exitCode);
        context.out.write(out.split("\n").slice(1).join("\n"));
        context.err.write(err);
      }
    }
    return worst;
  });
}
