/**
 * add-dns — name servers and search domains for the client.
 * Does:   appends each configuration once
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { DNSConfig } from "../gen/connectioncontext.js";
import { editDnsContext } from "./edit-context.js";

export function addDns(configs: readonly DNSConfig[]): Element<ConnectionApi> {
  return {
    name: "add-dns",
    steps: {
      async request(request, _context, rest) {
        if (configs.length === 0) return rest.request(request);
        const connection = editDnsContext(request.connection, (context) => ({
          ...context,
          configs: [...context.configs, ...configs.filter((config) => !context.configs.some((other) => same(config, other)))],
        }));
        return rest.request({ ...request, connection });
      },
    },
  };
}

function same(a: DNSConfig, b: DNSConfig): boolean {
  return equal(a.dns_server_ips, b.dns_server_ips) && equal(a.search_domains, b.search_domains);
}

function equal(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}
