/** What the clients of the mesh notice, read from what they log: who is in trouble, since when, and who is healed. */
import { logFileOf } from "../mesh/plan.js";
import { lineReader } from "./line-reader.js";

export interface ClientNote {
  readonly atMs: number;
  readonly connection: string;
  readonly kind: "connected" | "trouble" | "asked" | "healed" | "gave-up";
  readonly text: string;
  /** Of a healing: how long it took, as the client sees it. */
  readonly tookMs: number | undefined;
}

export interface ClientsFollowed {
  /** Everything noticed so far. */
  notes(): readonly ClientNote[];
  /** Connections in trouble, or that a client started again has not taken over yet. */
  troubled(): readonly string[];
  /** The process of this pod begins anew. */
  restarted(pod: string): void;
}

const kinds: ReadonlyMap<string, ClientNote["kind"]> = new Map([
  ["connection in trouble", "trouble"],
  ["asking", "asked"],
  ["connection healed", "healed"],
  ["healing gave up", "gave-up"],
]);

/** @param clients  the connections of each pod */
export function followClients(clients: ReadonlyMap<string, readonly string[]>): ClientsFollowed {
  const notes: ClientNote[] = [];
  const troubled = new Set([...clients.values()].flat());
  const read = new Map([...clients.keys()].map((pod) => [pod, lineReader(logFileOf(pod))]));
  const look = (): void => {
    for (const lines of read.values()) {
      for (const line of lines()) {
        const note = noteOf(line);
        if (note === undefined) continue;
        notes.push(note);
        if (note.kind === "trouble") troubled.add(note.connection);
        if (note.kind === "healed" || note.kind === "connected") troubled.delete(note.connection);
      }
    }
  };
  return {
    notes() {
      look();
      return notes;
    },
    troubled() {
      look();
      return [...troubled];
    },
    restarted(pod) {
      look();
      for (const connection of clients.get(pod) ?? []) troubled.add(connection);
    },
  };
}

function noteOf(line: string): ClientNote | undefined {
  try {
    const {
      message = "",
      time = "",
      connectionId = "",
      reason = "",
      how = "",
      tookMs,
    } = JSON.parse(line) as {
      message?: string;
      time?: string;
      connectionId?: string;
      reason?: string;
      how?: string;
      tookMs?: number;
    };
    const kind = message.startsWith("connected to ") ? "connected" : kinds.get(message);
    if (kind === undefined) return undefined;
    // after a planned move it has its other id (sdk/client/beside.ts)
    const connection = connectionId.replace(/-b$/, "");
    return { atMs: Date.parse(time), connection, kind, text: reason === "" ? how : reason, tookMs };
  } catch {
    return undefined; // no line of the log: a program may print what it likes
  }
}
