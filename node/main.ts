/** `weft node` as a command. */
import { nodeLabels } from "../nsmgr/config.js";
import { type RunOptions, runComponent } from "../sdk/config/run-component.js";
import { readSettings } from "../sdk/config/table.js";
import { nodeSettings } from "./config.js";
import { startNode } from "./start.js";

const command = { name: "weft node", summary: "Node manager and forwarder in one process: less memory, and one hop less." };

/** The command `weft node`; the result is its exit code. Aborting the signal stops it gracefully. */
export const run = (options: RunOptions): Promise<number> =>
  runComponent(readSettings(command, nodeSettings, options), options, {
    command: command.name,
    title: "node",
    start: (values, deps) => startNode({ ...values, nodeLabels: nodeLabels(options.env) }, deps),
    ready: ({ urls, nsmgr, forwarder }) => ({ urls, publicUrl: nsmgr.publicUrl, dataPlane: forwarder.dataPlane.name }),
    registered: ({ forwarder }) => forwarder.registered,
    rotateKeys: ({ forwarder }) => forwarder.rotateKeys(),
  });
