/** What every command of the CLI is given instead of the process. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How to start weft again: program and first arguments. */
  readonly self: readonly string[];
  /** Aborts on SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly out: { write(text: string): unknown; readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
  readonly err: { write(text: string): unknown; readonly isTTY?: boolean | undefined };
}
