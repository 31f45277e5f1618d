/**
 * A firewall in a chain: its two interfaces are the ends of a wire without addresses, and what the rules permit goes over
 * unchanged from one to the other. Works the same for payload ETHERNET and IP, because a frame is never routed here.
 */

import { openNetns, openOwnNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { passthrough } from "../../sdk/passthrough/passthrough.js";
import { masksOf } from "../../sdk/policies/settings.js";
import { createNft } from "../nft.js";
import { type RunOptions, runWorkload } from "../run-workload.js";
import { firewallSettings } from "./config.js";
import { followRules } from "./follow-rules.js";
import { joinWires } from "./join-wires.js";
import { createPacketFilter } from "./packet-filter.js";

const command = { name: "weft firewall", summary: "A firewall between a client and the next function of a chain." };

/**
 * The command `weft firewall`.
 * @returns the exit code
 */
export function run(options: RunOptions): Promise<number> {
  return runWorkload(command, firewallSettings, options, async (values, { log, observer, identity }, signal) => {
    const stops: (() => void | Promise<void>)[] = [];
    const stop = async (): Promise<void> => {
      for (const undo of stops.splice(0).reverse()) await undo();
    };
    try {
      const netns = values.netns === undefined ? openOwnNetns() : openNetns(values.netns);
      stops.push(() => netns.close());
      const nft = createNft((program, args, stdio) => spawnInNetns(netns, program, args, stdio));
      const filter = await createPacketFilter(nft);
      const rules = await followRules(values.rulesPath, filter, log);
      stops.push(() => rules.stop());
      const wires = joinWires({ netns, filter, log });
      stops.push(() => wires.stop());
      const services = [...new Set([...(values.serviceName === undefined ? [] : [values.serviceName]), ...values.serviceNames])];
      if (services.length === 0) throw new Error("no service: set NSM_SERVICE_NAME or NSM_SERVICE_NAMES");
      const hop = await passthrough({
        name: values.name,
        policyMasks: masksOf(values),
        services,
        payload: values.payload,
        labels: values.labels,
        nsmgr: values.connectTo,
        registerService: values.registerService,
        unregisterItself: values.unregisterItself,
        drainTimeoutMs: values.leaveTimeoutMs,
        maxTokenLifetimeMs: values.maxTokenLifetimeMs,
        onConnection: (wire) => wires.join(wire),
        report: async () => [...rules.report(), ...(await filter.report())],
        identity,
        log,
        observer,
        signal,
        ...(values.nextService === undefined ? {} : { next: { service: values.nextService } }),
        ...(values.listenOn === undefined ? {} : { listenOn: [values.listenOn] }),
        ...(values.netns === undefined ? {} : { netns: values.netns }),
      });
      stops.push(() => hop.close());
      log.info("firewall is ready", { url: hop.url, services });
      return { ended: hop.closed, stop };
    } catch (error) {
      await stop();
      throw error;
    }
  });
}
