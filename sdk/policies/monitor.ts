/**
 * Who may see which connections. A connection is seen by those who have a part in it: the identities of the tokens of its
 * path. So a workload sees its own connections, and managers and forwarders those that go through them.
 * NSM leaves its monitor open to everybody; its rule `monitor/service_connection` may be put on top by a mask.
 */
import type { CallContext } from "../chain.js";
import { type Connection, type ConnectionEvent, ConnectionEventType, type MonitorScopeSelector } from "../gen/connection.js";
import type { MonitorHub } from "../monitor/hub.js";
import { selects } from "../monitor/selector.js";
import { identityOf } from "../peer.js";
import type { ConnectionWatch } from "../transport/services.js";
import type { Audit } from "./audit.js";
import { claimsOf } from "./claims.js";
import { ask, noPrivileges, type PolicySource } from "./policy.js";

export interface MonitorGuardOptions {
  /** Policies on top of what is said above. */
  readonly source: PolicySource;
  readonly audit: Audit;
  /** Identities that may see everything: operators' tools. */
  readonly isOperator: (spiffeId: string) => boolean;
}

/** @throws PERMISSION_DENIED when the selector names a connection that is only others' */
export function guardMonitor(hub: Pick<MonitorHub, "subscribe" | "connections">, options: MonitorGuardOptions): ConnectionWatch {
  const { source, audit, isOperator } = options;
  const participants = rememberParticipants();

  function demand(selector: MonitorScopeSelector, { peer }: CallContext, spiffeId: string): void {
    const selected = selector.path_segments.map(({ id }) => id).filter((id) => id !== "");
    const maySee = (connection: Connection): boolean => participants(connection).has(spiffeId);
    const own: string[] = [];
    const isAsked = source.current().length > 0;
    for (const connection of hub.connections()) {
      if (selected.length > 0 && selects(selector, connection) && !maySee(connection)) {
        const reason = `connection ${connection.id} is not one of "${spiffeId}"`;
        audit({ method: "monitor", peer, object: selected.join(" "), policy: "ownership", reason });
        throw noPrivileges();
      }
      if (isAsked && maySee(connection)) own.push(...(connection.path?.path_segments.map(({ id }) => id) ?? []));
    }
    const input = { spiffeId, selected, own: own.length === 0 ? undefined : own, peer: identityOf(peer) };
    ask(source, { method: "monitor", peer, object: selected.join(" "), input }, audit);
  }

  return {
    async *subscribe(selector, signal, context) {
      const { peer } = context;
      if (peer.kind === "self") return yield* hub.subscribe(selector, signal);
      const spiffeId = identityOf(peer)?.spiffeId ?? "";
      if (spiffeId === "") {
        audit({ method: "monitor", peer, object: "", policy: "identity", reason: "the peer has shown no certificate" });
        throw noPrivileges();
      }
      if (isOperator(spiffeId)) return yield* hub.subscribe(selector, signal);
      demand(selector, context, spiffeId);
      for await (const event of hub.subscribe(selector, signal)) {
        const seen = seenBy(event, (connection) => participants(connection).has(spiffeId));
        if (seen !== undefined) yield seen;
      }
    },
  };
}

/** The event without others' connections; the same object when it has none, so that it stays encoded once for all. */
function seenBy(event: ConnectionEvent, maySee: (connection: Connection) => boolean): ConnectionEvent | undefined {
  const all = Object.entries(event.connections);
  const own = all.filter(([, connection]) => maySee(connection));
  if (own.length === all.length) return event;
  // Whoever watches waits for the first message, even when it is empty.
  if (own.length === 0 && event.type !== ConnectionEventType.INITIAL_STATE_TRANSFER) return undefined;
  return { ...event, connections: Object.fromEntries(own) };
}

function rememberParticipants(): (connection: Connection) => ReadonlySet<string> {
  const known = new WeakMap<Connection, ReadonlySet<string>>();
  return (connection) => {
    let found = known.get(connection);
    if (found === undefined) {
      const subjects = connection.path?.path_segments.map(({ token }) => claimsOf(token)?.sub ?? "") ?? [];
      found = new Set(subjects.filter((subject) => subject !== ""));
      known.set(connection, found);
    }
    return found;
  };
}
