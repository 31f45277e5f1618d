/** What is told of a command that failed, and its exit code. */
import { codeName, isStatusError, toStatusError } from "../sdk/status.js";
import type { CliContext } from "./context.js";

export function reportFailure(error: unknown, { signal, err }: CliContext): number {
  if (signal.aborted) return 130;
  const status = toStatusError(error);
  if (isStatusError(error) || status.cause === undefined) {
    err.write(`weft: ${status.details}\n`);
  } else if (status.code !== 13) {
    err.write(`weft: ${status.details} (${codeName(status.code)})\n`);
  } else {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    err.write(`weft: unexpected failure, please report it with this text:\n${text}\n`);
  }
  return 1;
}
