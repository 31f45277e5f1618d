/** The settings of the firewall. Names and defaults are those of upstream's nse-firewall-vpp where it has them. */
import { list, name, optional, text } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";
import { endpointSettings, workloadSettings } from "../workload-settings.js";

export const firewallSettings = {
  ...workloadSettings,
  ...endpointSettings,
  name: setting("NSM_NAME", name, "name of this firewall in the registry", { default: "firewall-server" }),
  serviceName: setting("NSM_SERVICE_NAME", optional(name), "network service of whose chain it is a part", { default: "" }),
  serviceNames: setting("NSM_SERVICE_NAMES", list(name), "the same, several", { default: "" }),
  nextService: setting("WEFT_NEXT_SERVICE", optional(name), "service that comes after us; default: the one asked for", {
    default: "",
  }),
  rulesPath: setting("NSM_ACL_CONFIG_PATH", text, "rules (YAML); watched", {
    default: "/etc/firewall/config.yaml",
    flag: "--rules",
  }),
} as const;
