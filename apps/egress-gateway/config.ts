/** The settings of the egress gateway. Endpoint settings are those of the ICMP responder. */
import { list, name, optional, text } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";
import { prefixGroups } from "../../sdk/endpoint/ipam/groups.js";
import { type Prefix, parsePrefix } from "../../sdk/ip.js";
import { checkInterfaceName } from "../../sdk/mechanisms/interface-name.js";
import { icmpResponderSettings } from "../icmp-responder/config.js";

const prefix = {
  label: "CIDR",
  parse(value: string): string {
    if (parsePrefix(value) === undefined) throw new Error(`"${value}" is not a CIDR`);
    return value;
  },
};

const hostAddress = {
  label: "ADDRESS",
  parse(value: string): string {
    const parsed = parsePrefix(value);
    if (parsed === undefined || value.includes("/")) throw new Error(`"${value}" is not an address`);
    return value;
  },
};

const interfaceName = {
  label: "INTERFACE",
  parse(value: string): string {
    checkInterfaceName(value);
    // It stands in a script of nft, which has no escapes.
    if (!/^[A-Za-z0-9_.@+-]+$/.test(value)) throw new Error(`"${value}": use letters, digits and _ . @ + -`);
    return value;
  },
};

export const egressGatewaySettings = {
  ...icmpResponderSettings,
  name: setting("NSM_NAME", name, "name of this gateway in the registry", { default: "egress-gateway" }),
  serviceNames: setting("NSM_SERVICE_NAMES", list(name), "network services offered", { default: "egress" }),
  routes: setting("WEFT_ROUTES", list(prefix), "what clients reach through us; families without a pool are left out", {
    default: "0.0.0.0/0,::/0",
  }),
  uplink: setting("WEFT_UPLINK", interfaceName, "interface of this namespace that leads outside; made if a parent is given", {
    default: "eth0",
  }),
  uplinkParent: setting(
    "WEFT_UPLINK_PARENT",
    optional(interfaceName),
    "bridge, or interface for a macvlan, to make the uplink on",
    {
      default: "",
    },
  ),
  uplinkParentNetns: setting("WEFT_UPLINK_PARENT_NETNS", text, "network namespace of the parent", {
    default: "file:///proc/1/ns/net",
  }),
  uplinkAddresses: setting("WEFT_UPLINK_ADDRESSES", list(prefix), "addresses of the uplink; default: those it has", {
    default: "",
  }),
  uplinkRouters: setting("WEFT_UPLINK_ROUTERS", list(hostAddress), "next hop of each family; default: the routes that exist", {
    default: "",
  }),
} as const;

/** The routes whose family a client gets an address of. */
export function servedRoutes(routes: readonly string[], cidrs: Parameters<typeof prefixGroups>[0]): string[] {
  const families = new Set(prefixGroups(cidrs).flatMap((group) => group.map(({ family }) => family)));
  return routes.filter((route) => families.has((parsePrefix(route) as Prefix).family));
}
