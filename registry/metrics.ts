/** The registry's own figures, read when somebody looks. */
import { Gauge, type Registry } from "prom-client";
import type { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { Finder } from "./find.js";
import type { Stores } from "./store/store.js";

export function publishFigures(
  registry: Registry,
  parts: {
    readonly stores: Stores;
    readonly services: Finder<NetworkService>;
    readonly endpoints: Finder<NetworkServiceEndpoint>;
  },
): void {
  const { stores, services, endpoints } = parts;
  const publish = (name: string, help: string, read: () => { services: number; endpoints: number }): void => {
    new Gauge({
      name,
      help,
      labelNames: ["kind"],
      registers: [registry],
      collect() {
        const now = read();
        this.set({ kind: "service" }, now.services);
        this.set({ kind: "endpoint" }, now.endpoints);
      },
    });
  };
  publish("weft_registry_entries", "Entries in the registry", () => ({
    services: stores.services.table.size,
    endpoints: stores.endpoints.table.size,
  }));
  new Gauge({
    name: "weft_registry_stale_seconds",
    help: "How long answers may have been older than what the store elsewhere holds; 0 = they are not",
    registers: [registry],
    collect() {
      const stale = stores.staleness?.();
      this.set(stale === undefined ? 0 : (Date.now() - stale.sinceMs) / 1_000);
    },
  });
  publish("weft_registry_watchers", "Watches open now", () => ({ services: services.watchers, endpoints: endpoints.watchers }));
  publish("weft_registry_dropped_watchers", "Watches ended since the start because their readers were too slow", () => ({
    services: services.dropped,
    endpoints: endpoints.dropped,
  }));
}
