/** Connections in the ledger of a data plane that has a part of its own besides the kernel's, read without touching it. */
import { peekLedger } from "../dataplane/ledger.js";

export interface BookEntry {
  readonly id: string;
  /** It is made, and nothing of it is being changed. */
  readonly isSettled: boolean;
}

export function bookEntries(folder: string): BookEntry[] {
  return peekLedger(folder).flatMap(({ committed, begun }) => {
    const id = idOf(committed) ?? idOf(begun);
    return id === undefined ? [] : [{ id, isSettled: committed !== undefined && begun === undefined }];
  });
}

function idOf(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null || !("id" in value)) return undefined;
  return typeof value.id === "string" ? value.id : undefined;
}
