/** What an operator may ask of the registry. There are no decisions here to explain. */
import { type Fact, Report } from "../sdk/gen/inspect.js";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { Code, statusError } from "../sdk/status.js";
import { type Log, logLevels, parseLogLevel } from "../sdk/telemetry/log.js";
import type { Inspect } from "../sdk/transport/services.js";
import type { RegistryConfig } from "./config.js";
import type { Finder } from "./find.js";
import type { Stores } from "./store/store.js";

export function inspectRegistry(parts: {
  readonly config: RegistryConfig;
  readonly log: Log;
  readonly stores: Stores;
  readonly services: Finder<NetworkService>;
  readonly endpoints: Finder<NetworkServiceEndpoint>;
}): Inspect {
  const { config, log, stores, services, endpoints } = parts;
  return {
    explain: async () => ({ component: config.name, decisions: [] }),
    async getReport({ section }) {
      const facts = [
        fact("objects", "store", config.store, "what keeps the entries"),
        ...staleFacts(stores),
        fact("objects", "network services", stores.services.table.size, ""),
        fact("objects", "endpoints", stores.endpoints.table.size, ""),
        fact("counters", "watchers", services.watchers + endpoints.watchers, "watches open now"),
        fact("counters", "dropped watchers", services.dropped + endpoints.dropped, "too slow to read; told to find again"),
      ];
      return Report.fromPartial({
        component: config.name,
        facts: facts.filter((one) => section === "" || one.section === section),
      });
    },
    async setLogLevel({ level }) {
      if (level !== "") {
        const wanted = parseLogLevel(level);
        if (wanted === undefined) {
          throw statusError(Code.INVALID_ARGUMENT, `"${level}" is no log level; there are ${logLevels.join(", ")}`);
        }
        log.level = wanted;
      }
      return { level: log.level };
    },
  };
}

function staleFacts(stores: Stores): Fact[] {
  const stale = stores.staleness?.();
  if (stale === undefined) return [];
  return [fact("objects", "store is stale since", new Date(stale.sinceMs).toISOString(), stale.why)];
}

function fact(section: string, name: string, value: string | number, detail: string): Fact {
  return { section, name, value: String(value), detail, connection_id: "" };
}
