/** An endpoint that can be pinged: the kernel of its namespace answers. */

import { join } from "node:path";
import { resolveStateDir } from "../../sdk/config/state-dir.js";
import { serve } from "../../sdk/endpoint/serve.js";
import { masksOf } from "../../sdk/policies/settings.js";
import { type RunOptions, runWorkload } from "../run-workload.js";
import { icmpResponderSettings } from "./config.js";
import { followPolicies } from "./follow-policies.js";

const command = { name: "weft endpoint", summary: "An endpoint that gives its clients addresses and answers their pings." };

/**
 * The command `weft endpoint`.
 * @returns the exit code
 */
export function run(options: RunOptions): Promise<number> {
  return runWorkload(command, icmpResponderSettings, options, async (values, { log, observer, identity }, signal) => {
    const stateDir = join(resolveStateDir(values.stateDir, values.name, options.env), "connections");
    const policies = await followPolicies(values.pbrConfigPath, log);
    try {
      const endpoint = await serve({
        name: values.name,
        policyMasks: masksOf(values),
        services: values.serviceNames,
        cidrs: values.cidrPrefix,
        ipamPolicy: values.ipamPolicy,
        payload: values.payload,
        labels: values.labels,
        dns: values.dnsConfigs,
        policies: policies.current(),
        nsmgr: values.connectTo,
        idleTimeoutMs: values.idleTimeoutMs,
        registerService: values.registerService,
        unregisterItself: values.unregisterItself,
        drainTimeoutMs: values.leaveTimeoutMs,
        maxTokenLifetimeMs: values.maxTokenLifetimeMs,
        stateDir,
        identity,
        log,
        observer,
        signal,
        ...(values.listenOn === undefined ? {} : { listenOn: [values.listenOn] }),
        ...(values.netns === undefined ? {} : { netns: values.netns }),
      });
      policies.onChange((next) => endpoint.setPolicies(next));
      log.info("endpoint is ready", { url: endpoint.url, services: values.serviceNames });
      return {
        ended: endpoint.closed,
        async stop() {
          policies.stop();
          await endpoint.close();
        },
      };
    } catch (error) {
      policies.stop();
      throw error;
    }
  });
}
