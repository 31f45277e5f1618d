/** The address server of a network: lends each endpoint a prefix of its own for as long as its stream lives. */

import { Code, statusError } from "../../sdk/status.js";
import { createHealth } from "../../sdk/telemetry/health.js";
import { listen } from "../../sdk/transport/listen.js";
import { healthService, ipamService } from "../../sdk/transport/services.js";
import { type RunOptions, runWorkload } from "../run-workload.js";
import { ipamSettings } from "./config.js";
import { lendPrefixes } from "./lend-prefixes.js";
import { createPrefixPool } from "./prefix-pool.js";

const command = { name: "weft ipam", summary: "Lends prefixes to the endpoints of one network." };
const drainTimeoutMs = 2_000;

/**
 * The command `weft ipam`.
 * @returns the exit code
 */
export function run(options: RunOptions): Promise<number> {
  return runWorkload(command, ipamSettings, options, async (values, { log, identity }) => {
    const { prefix, clientPrefixLength } = values;
    const longest = prefix.family === 4 ? 32 : 128;
    if (clientPrefixLength < prefix.length || clientPrefixLength > longest) {
      const text = `NSM_CLIENT_PREFIX_LEN is ${clientPrefixLength}; with this NSM_PREFIX it must lie between ${prefix.length} and ${longest}`;
      throw statusError(Code.INVALID_ARGUMENT, text);
    }
    const health = createHealth();
    const services = [ipamService(lendPrefixes(createPrefixPool(prefix, clientPrefixLength), [])), healthService(health)];
    const listener = await listen({ urls: values.listenOn, services, log, identity, signal: new AbortController().signal });
    health.set("", true);
    log.info("address server is ready", { urls: listener.urls });
    return { ended: new Promise(() => {}), stop: () => listener.drain(drainTimeoutMs) };
  });
}
