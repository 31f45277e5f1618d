/**
 * The journal of decisions: why a connection got the endpoint, forwarder or mechanism it has.
 * Bounded twice: the last decisions of each connection, and the connections last decided upon. `weft why` reads it.
 */
import type { Decision } from "../gen/inspect.js";
import { timestampOf } from "../timestamp.js";

export type Verdict = "CHOSEN" | "REFUSED" | "FAILED";

export interface Journal {
  /**
   * @param connectionId  in the terms of this component
   * @param step  the element that decided
   * @param candidate  what was looked at
   * @param rule  what decided, in words
   */
  note(connectionId: string, step: string, candidate: string, verdict: Verdict, rule: string): void;
  /** Decisions on one connection, oldest first; on all of them for an empty id. */
  explain(connectionId: string): Decision[];
}

export interface JournalOptions {
  readonly maxConnections?: number;
  readonly maxPerConnection?: number;
  readonly nowMs?: () => number;
}

interface Note {
  readonly atMs: number;
  readonly step: string;
  readonly candidate: string;
  readonly verdict: Verdict;
  readonly rule: string;
}

/** Longest text kept of one note; a rule may quote what a stranger sent. */
const maxText = 500;

export function createJournal(options: JournalOptions = {}): Journal {
  const { maxConnections = 2_000, maxPerConnection = 64, nowMs = Date.now } = options;
  // Oldest first: a Map keeps the order of insertion, and a connection decided upon anew is inserted anew.
  const notes = new Map<string, Note[]>();
  return {
    note(connectionId, step, candidate, verdict, rule) {
      const known = notes.get(connectionId) ?? [];
      notes.delete(connectionId);
      notes.set(connectionId, known);
      known.push({ atMs: nowMs(), step, candidate: candidate.slice(0, maxText), verdict, rule: rule.slice(0, maxText) });
      if (known.length > maxPerConnection) known.shift();
      if (notes.size > maxConnections) notes.delete(notes.keys().next().value as string);
    },
    explain(connectionId) {
      const asked: [string, Note[]][] = connectionId === "" ? [...notes] : [[connectionId, notes.get(connectionId) ?? []]];
      return asked.flatMap(([id, list]) =>
        list.map(({ atMs, step, candidate, verdict, rule }) => ({
          at: timestampOf(atMs),
          connection_id: id,
          step,
          candidate,
          verdict,
          rule,
        })),
      );
    },
  };
}
