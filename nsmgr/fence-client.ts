/**
 * fence-client — of two processes that ask for one connection, under the client's name and id, the younger one has it.
 * Needs:  context.previous (from `serialize`)
 * Does:   remembers which process of this node asked last for a connection, under whichever of the two ids by which it moves
 *         (sdk/client/beside.ts); the Close of an older one is heard and changes nothing. Processes that cannot be seen from here
 *         (pid 0) are not told apart
 * Fails:  ABORTED an older process asks while the younger one lives
 */
import { readFileSync } from "node:fs";
import type { ConnectionApi } from "../sdk/api.js";
import type { Element } from "../sdk/chain.js";
import { baseIdOf } from "../sdk/client/beside.js";
import type { HasConnection } from "../sdk/elements/serialize.js";
import type { Connection } from "../sdk/gen/connection.js";
import type { Peer } from "../sdk/peer.js";
import { Code, statusError } from "../sdk/status.js";

interface Holder {
  readonly pid: number;
  /** In clock ticks after boot; a pid that is used again has another one. */
  readonly startTicks: number;
}

interface Held {
  readonly holder: Holder;
  /** Ids that are not closed yet: while it moves it has two. */
  readonly ids: Set<string>;
}

/** When a process started; undefined: there is none. */
export type StartOf = (pid: number) => number | undefined;

/** @param startOf  tests have processes of their own making */
export function fenceClient(startOf: StartOf = startTicksOf): Element<ConnectionApi, Pick<HasConnection, "previous">> {
  /** By the client's segment of the path: our own id may be another one when the connection has expired in between. */
  const holders = new Map<string, Held>();

  /** The process at the other end of a socket is the one that connected, so it is looked up once for each socket. */
  const peers = new WeakMap<Peer, number>();

  function startOfPeer(peer: Peer & { readonly kind: "unix" }): number | undefined {
    const known = peers.get(peer);
    if (known !== undefined) return known;
    const startTicks = startOf(peer.pid);
    if (startTicks !== undefined) peers.set(peer, startTicks);
    return startTicks;
  }

  /** The process that has the connection, if it is younger than the one that asks, and lives. */
  function younger(connection: Connection, peer: Peer): Holder | undefined {
    const holder = holders.get(clientOf(connection))?.holder;
    const asking = holderOf(connection, peer, startOfPeer);
    if (holder === undefined || asking === undefined || asking.pid === holder.pid) return undefined;
    return asking.startTicks < holder.startTicks && startOf(holder.pid) === holder.startTicks ? holder : undefined;
  }

  return {
    name: "fence-client",
    steps: {
      async request(request, { peer }, rest) {
        const { connection } = request;
        if (connection === undefined) return rest.request(request);
        const holder = younger(connection, peer);
        if (holder !== undefined) {
          throw statusError(
            Code.ABORTED,
            `connection ${connection.id}: a newer incarnation of the client (process ${holder.pid}) has it; this one must let go`,
          );
        }
        const answer = await rest.request(request);
        const asking = holderOf(connection, peer, startOfPeer);
        if (asking !== undefined) {
          const ids = holders.get(clientOf(connection))?.ids ?? new Set();
          holders.set(clientOf(connection), { holder: asking, ids: ids.add(idOf(connection)) });
        }
        return answer;
      },
      async close(connection, { peer }, rest) {
        if (younger(connection, peer) !== undefined) return;
        const held = holders.get(clientOf(connection));
        held?.ids.delete(idOf(connection));
        if (held?.ids.size === 0) holders.delete(clientOf(connection));
        await rest.close(connection);
      },
    },
  };
}

function clientOf(connection: Connection): string {
  return JSON.stringify([connection.path?.path_segments[0]?.name, baseIdOf(idOf(connection))]);
}

function idOf({ path }: Connection): string {
  return path?.path_segments[0]?.id ?? "";
}

/** Only workloads are told apart: a forwarder asks for what others want. */
function holderOf(
  { path }: Connection,
  peer: Peer,
  startOf: (peer: Peer & { readonly kind: "unix" }) => number | undefined,
): Holder | undefined {
  if (peer.kind !== "unix" || peer.pid <= 0 || path?.index !== 1) return undefined;
  const startTicks = startOf(peer);
  return startTicks === undefined ? undefined : { pid: peer.pid, startTicks };
}

/** proc_pid_stat(5): field 22; the second field is the program's name in brackets and may hold blanks. */
function startTicksOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : Number(fields[19]);
  } catch {
    return undefined;
  }
}
