/** The settings of the address server. Names and defaults are those of upstream's ipam-vl3. */
import { commonSettings } from "../../sdk/config/common.js";
import { address, durationMs, integer, type Kind, list, name } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";
import { type Prefix, parsePrefix } from "../../sdk/ip.js";

const prefix: Kind<Prefix> = {
  label: "CIDR",
  parse(value) {
    const parsed = parsePrefix(value.trim());
    if (parsed === undefined) throw new Error("is no CIDR such as 10.0.0.0/8 or fd00::/64");
    return parsed;
  },
};

export const ipamSettings = {
  ...commonSettings,
  name: setting("NSM_NAME", name, "name in logs", { default: "ipam" }),
  listenOn: setting("NSM_LISTEN_ON", list(address), "where endpoints ask for prefixes", { default: "tcp://:5006" }),
  prefix: setting("NSM_PREFIX", prefix, "what prefixes are lent from", { default: "169.254.0.0/16" }),
  clientPrefixLength: setting("NSM_CLIENT_PREFIX_LEN", integer({ min: 1, max: 128 }), "bits of a lent prefix", { default: "24" }),
  maxTokenLifetimeMs: setting("NSM_MAX_TOKEN_LIFETIME", durationMs, "accepted for upstream's manifests", { default: "10m" }),
} as const;
