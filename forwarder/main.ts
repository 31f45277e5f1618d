/** `weft forwarder` as a command. */
import { type RunOptions, runComponent } from "../sdk/config/run-component.js";
import { readSettings } from "../sdk/config/table.js";
import { forwarderSettings } from "./config.js";
import { startForwarder } from "./start.js";

const command = { name: "weft forwarder", summary: "The forwarder: builds the node's part of each connection." };

/** The command `weft forwarder`; the result is its exit code. Aborting the signal stops it gracefully. */
export const run = (options: RunOptions): Promise<number> =>
  runComponent(readSettings(command, forwarderSettings, options), options, {
    command: command.name,
    title: "forwarder",
    start: startForwarder,
    ready: ({ urls, dataPlane }, { connectTo }) => ({ urls, dataPlane: dataPlane.name, manager: connectTo }),
    registered: ({ registered }) => registered,
    rotateKeys: ({ rotateKeys }) => rotateKeys(),
  });
