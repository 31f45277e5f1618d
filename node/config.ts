/** The settings of `weft node`: those of the manager, those of the forwarder, and a name and an address for the second. */
import { type ForwarderConfig, forwarderSettings } from "../forwarder/config.js";
import { type NsmgrConfig, nsmgrSettings } from "../nsmgr/config.js";
import { address, list, text } from "../sdk/config/kinds.js";
import { setting, type Values } from "../sdk/config/table.js";

const { name: _name, listenOn: _listenOn, connectTo: _connectTo, publicUrl: _publicUrl, ...ofForwarder } = forwarderSettings;

export const nodeSettings = {
  ...ofForwarder,
  ...nsmgrSettings,
  forwarderName: setting("WEFT_FORWARDER_NAME", text, "name of the forwarder; default: forwarder-NAME with the manager's name", {
    default: "",
  }),
  forwarderListenOn: setting(
    "WEFT_FORWARDER_LISTEN_ON",
    list(address),
    "where others reach the forwarder; the manager in the same process needs no socket for it",
    { default: "unix:///var/lib/networkservicemesh/forwarder.sock" },
  ),
} as const;

export type NodeConfig = Values<typeof nodeSettings> & Pick<NsmgrConfig, "nodeLabels">;

export const nsmgrConfigOf = (config: NodeConfig): NsmgrConfig => config;

/** @param connectTo  a url of the manager in this process */
export function forwarderConfigOf(config: NodeConfig, connectTo: string): ForwarderConfig {
  return {
    ...config,
    name: config.forwarderName || `forwarder-${config.name}`,
    listenOn: config.forwarderListenOn,
    connectTo,
    publicUrl: undefined,
  };
}
