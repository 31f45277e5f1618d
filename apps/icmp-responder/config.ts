/** The settings of the responder. Names and defaults are those of upstream's nse-icmp-responder. */
import { stateSettings } from "../../sdk/config/common.js";
import { durationMs, type Kind, list, name, oneOf, text } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";
import { type CidrGroups, parseCidrGroups, prefixGroups } from "../../sdk/endpoint/ipam/groups.js";
import { DNSConfig } from "../../sdk/gen/connectioncontext.js";
import { parseAddress } from "../../sdk/ip.js";
import { endpointSettings, workloadSettings } from "../workload-settings.js";

export const icmpResponderSettings = {
  ...workloadSettings,
  ...endpointSettings,
  ...stateSettings,
  name: setting("NSM_NAME", name, "name of this endpoint in the registry", { default: "icmp-server" }),
  baseDir: setting("NSM_BASE_DIR", text, "accepted for upstream's manifests; not used", { default: "./" }),
  serviceNames: setting("NSM_SERVICE_NAMES", list(name), "network services offered", { default: "icmp-responder" }),
  cidrPrefix: setting("NSM_CIDR_PREFIX", cidrGroups(), "address pools: a client gets a pair from every group", {
    default: "169.254.0.0/16",
  }),
  ipamPolicy: setting(
    "NSM_IPAM_POLICY",
    oneOf("polite", "strict"),
    "addresses of a request that are in no pool: leave or replace",
    {
      default: "polite",
    },
  ),
  dnsConfigs: setting("NSM_DNS_CONFIGS", dnsConfigs(), "JSON list of name servers for clients", { default: "[]" }),
  idleTimeoutMs: setting("NSM_IDLE_TIMEOUT", durationMs, "end when there has been no connection for so long; 0 = never", {
    default: "0",
  }),
  pbrConfigPath: setting("NSM_PBR_CONFIG_PATH", text, "policy routes for clients (YAML); watched", {
    default: "/etc/policy-based-routing/config.yaml",
  }),
} as const;

/** `[a,b],[c]`, checked. */
function cidrGroups(): Kind<CidrGroups> {
  return {
    label: "[CIDR,…],…",
    parse(value) {
      const groups = parseCidrGroups(value);
      prefixGroups(groups);
      return groups;
    },
  };
}

function dnsConfigs(): Kind<readonly DNSConfig[]> {
  return {
    label: "JSON",
    parse(value) {
      const parsed: unknown = JSON.parse(value);
      if (!Array.isArray(parsed)) throw new Error(`write a JSON list, as [{"dns_server_ips": ["10.0.0.1"]}]`);
      return (parsed as unknown[]).map((entry) => {
        if (typeof entry !== "object" || entry === null) throw new Error(`${JSON.stringify(entry)} is not an object`);
        const { dns_server_ips, search_domains, ...others } = entry as Record<string, unknown>;
        for (const key of Object.keys(others)) throw new Error(`unknown key "${key}"; known: dns_server_ips, search_domains`);
        const servers = texts("dns_server_ips", dns_server_ips);
        const wrong = servers.find((server) => parseAddress(server) === undefined);
        if (wrong !== undefined) throw new Error(`name server "${wrong}" is not an address`);
        return DNSConfig.fromPartial({ dns_server_ips: servers, search_domains: texts("search_domains", search_domains) });
      });
    },
  };
}

function texts(key: string, value: unknown): string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new Error(`${key} is not a list of texts`);
}
