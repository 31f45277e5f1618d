/**
 * tell-owner — the endpoint author's own code hears of each connection.
 * Needs:  context.previous (from `serialize`), context.undoOnFailure (from `undo`)
 * Does:   calls back once for each connection (again after a restart of the endpoint), and aborts its `closed` signal when
 *         it ends
 * Fails:  with whatever the callback throws; a new connection is then refused
 */
import type { ConnectionApi } from "../api.js";
import type { Element } from "../chain.js";
import type { HasConnection } from "../elements/serialize.js";
import type { HasUndo } from "../elements/undo.js";
import { type Connection, State } from "../gen/connection.js";
import { kernelParameter } from "../mechanisms/kernel.js";

/** One client, as the author of an endpoint sees it. */
export interface ServedConnection {
  /** As it was answered last; do not change it. */
  readonly connection: Connection;
  /** The interface in the endpoint's namespace; the mesh makes it after the answer. Empty without a kernel mechanism. */
  readonly interfaceName: string;
  /** Aborts when the client has closed the connection or has not refreshed it in time. */
  readonly closed: AbortSignal;
}

export type OnConnection = (served: ServedConnection) => void | Promise<void>;

export interface Owner {
  readonly element: Element<ConnectionApi, HasConnection & HasUndo>;
  connections(): readonly ServedConnection[];
}

export function tellOwner(onConnection: OnConnection = () => {}): Owner {
  const open = new Map<string, ServedConnection & { readonly end: AbortController }>();

  function left(id: string): void {
    open.get(id)?.end.abort();
    open.delete(id);
  }

  const element: Element<ConnectionApi, HasConnection & HasUndo> = {
    name: "tell-owner",
    steps: {
      async request(request, { previous, undoOnFailure }, rest) {
        const answer = await rest.request(request);
        // what was asked for another endpoint comes with that state, and is served now
        const connection = answer.state === State.UP ? answer : { ...answer, state: State.UP };
        const known = open.get(connection.id);
        const end = known?.end ?? new AbortController();
        const served = { connection, interfaceName: interfaceName(connection), closed: end.signal };
        open.set(connection.id, { ...served, end });
        if (previous === undefined) undoOnFailure("owner told", () => left(connection.id));
        if (known === undefined) await onConnection(served);
        return connection;
      },
      async close(connection, _context, rest) {
        left(connection.id);
        await rest.close(connection);
      },
    },
  };
  return { element, connections: () => [...open.values()].map(({ end: _end, ...served }) => served) };
}

function interfaceName({ mechanism }: Connection): string {
  const parameters = mechanism?.parameters ?? {};
  return Object.hasOwn(parameters, kernelParameter.interfaceName) ? (parameters[kernelParameter.interfaceName] ?? "") : "";
}
