/** A way out of the mesh: clients get addresses and routes here, and leave through an uplink with its address. */

import { join } from "node:path";
import { resolveStateDir } from "../../sdk/config/state-dir.js";
import { prefixGroups } from "../../sdk/endpoint/ipam/groups.js";
import { serve } from "../../sdk/endpoint/serve.js";
import { openNetns, openOwnNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { masksOf } from "../../sdk/policies/settings.js";
import { createNft } from "../nft.js";
import { type RunOptions, runWorkload } from "../run-workload.js";
import { egressGatewaySettings, servedRoutes } from "./config.js";
import { translate } from "./translate.js";
import { bringUpUplink } from "./uplink.js";

const command = { name: "weft egress-gateway", summary: "An endpoint through which clients reach networks outside of the mesh." };

/**
 * The command `weft egress-gateway`.
 * @returns the exit code
 */
export function run(options: RunOptions): Promise<number> {
  return runWorkload(command, egressGatewaySettings, options, async (values, { log, observer, identity }, signal) => {
    const stops: (() => void | Promise<void>)[] = [];
    const stop = async (): Promise<void> => {
      for (const undo of stops.splice(0).reverse()) await undo();
    };
    try {
      const netns = values.netns === undefined ? openOwnNetns() : openNetns(values.netns);
      stops.push(() => netns.close());
      const { uplink: name, uplinkParent: parent, uplinkParentNetns: netnsUrl } = values;
      const uplink = await bringUpUplink({
        netns,
        name,
        parent: parent === undefined ? undefined : { name: parent, netnsUrl },
        addresses: values.uplinkAddresses,
        routers: values.uplinkRouters,
      });
      stops.push(() => uplink.remove());
      const nft = createNft((program, args, stdio) => spawnInNetns(netns, program, args, stdio));
      const clients = prefixGroups(values.cidrPrefix).flat();
      const translation = await translate({ netns, uplink: name, clients, nft });
      stops.push(() => translation.remove());
      const endpoint = await serve({
        name: values.name,
        policyMasks: masksOf(values),
        services: values.serviceNames,
        cidrs: values.cidrPrefix,
        routes: servedRoutes(values.routes, values.cidrPrefix),
        ipamPolicy: values.ipamPolicy,
        payload: values.payload,
        labels: values.labels,
        dns: values.dnsConfigs,
        nsmgr: values.connectTo,
        idleTimeoutMs: values.idleTimeoutMs,
        registerService: values.registerService,
        unregisterItself: values.unregisterItself,
        drainTimeoutMs: values.leaveTimeoutMs,
        maxTokenLifetimeMs: values.maxTokenLifetimeMs,
        stateDir: join(resolveStateDir(values.stateDir, values.name, options.env), "connections"),
        report: () => translation.report(),
        identity,
        log,
        observer,
        signal,
        ...(values.listenOn === undefined ? {} : { listenOn: [values.listenOn] }),
        ...(values.netns === undefined ? {} : { netns: values.netns }),
      });
      stops.push(() => endpoint.close());
      log.info("gateway is ready", { url: endpoint.url, uplink: name, kind: uplink.kind });
      return { ended: endpoint.closed, stop };
    } catch (error) {
      await stop();
      throw error;
    }
  });
}
