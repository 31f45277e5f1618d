/**
 * tell-owner-of-wire — the author's own code hears of each pair of interfaces it is to join.
 * Needs:  context.undoOnFailure (from `undo`)
 * Does:   calls back once the next function has granted the connection, and again when the second interface may have been
 *         made anew; aborts `closed` when the pair ends
 * Fails:  with whatever the callback throws; a new connection is then refused
 */
import { type ConnectionApi, MechanismType } from "../api.js";
import type { Element } from "../chain.js";
import type { HasConnection } from "../elements/serialize.js";
import type { HasUndo } from "../elements/undo.js";
import type { Connection } from "../gen/connection.js";
import { kernelParameter } from "../mechanisms/kernel.js";
import { memifParameter } from "../mechanisms/memif.js";
import type { StandBetween } from "./stand-between.js";

/** Two interfaces of one connection, of the kernel or both memif; what comes in at one is to go out at the other, or not. */
export interface Wire {
  /** Towards the client; empty with memif. The mesh makes it after our answer, so it may appear a moment later. */
  readonly inInterface: string;
  /** Towards the next function; empty with memif. It is there already. */
  readonly outInterface: string;
  /** memif towards the client: the socket on which the function listens. Empty with interfaces of the kernel. */
  readonly inSocket: string;
  /** memif towards the next function: the socket to which the function connects. Empty with interfaces of the kernel. */
  readonly outSocket: string;
  /** As the client has it; do not change it. */
  readonly connection: Connection;
  /** Aborts when the pair is gone. */
  readonly closed: AbortSignal;
}

export type OnWire = (wire: Wire) => void | Promise<void>;

export interface Wires {
  readonly element: Element<ConnectionApi, HasConnection & HasUndo>;
  wires(): readonly Wire[];
}

interface Open extends Wire {
  readonly end: AbortController;
  readonly generation: number;
}

export function tellOwnerOfWire(standBetween: StandBetween, onWire: OnWire): Wires {
  const open = new Map<string, Open>();

  function left(id: string): void {
    open.get(id)?.end.abort();
    open.delete(id);
  }

  return {
    wires: () => [...open.values()].map(({ end: _end, generation: _generation, ...wire }) => wire),
    element: {
      name: "tell-owner-of-wire",
      steps: {
        async request(request, { previous, undoOnFailure }, rest) {
          const connection = await rest.request(request);
          const { id } = connection;
          const generation = standBetween.generation(id);
          const known = open.get(id);
          if (known !== undefined && known.generation === generation) {
            open.set(id, { ...known, connection });
            return connection;
          }
          left(id);
          const end = new AbortController();
          const isMemif = connection.mechanism?.type === MechanismType.MEMIF;
          const parameters = connection.mechanism?.parameters ?? {};
          const wire: Wire = {
            inInterface: isMemif ? "" : (parameters[kernelParameter.interfaceName] ?? ""),
            outInterface: isMemif ? "" : standBetween.outInterface(id),
            inSocket: isMemif ? (parameters[memifParameter.socketFile] ?? "") : "",
            outSocket: standBetween.outSocket(id),
            connection,
            closed: end.signal,
          };
          open.set(id, { ...wire, end, generation });
          if (previous === undefined) undoOnFailure("owner told", () => left(id));
          await onWire(wire);
          return connection;
        },
        async close(connection, _context, rest) {
          left(connection.id);
          await rest.close(connection);
        },
      },
    },
  };
}
