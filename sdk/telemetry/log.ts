/**
 * The log: JSON lines on standard error, one level for the whole process that can be changed while it runs.
 * Lines about a call carry `connectionId` and `traceId` (see callFields).
 */
import { codeName, isStatusError } from "../status.js";
import { jsonLine, writeAll } from "./json-lines.js";

export const logLevels = ["trace", "debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];
export type LogFields = Readonly<Record<string, unknown>>;

/** A log of JSON lines. */
export interface Log {
  trace(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** An `error` field that is an Error is written with its code, cause and, unless it is a status error, its stack. */
  error(message: string, fields?: LogFields): void;
  /** The same log with fields of its own in every line. The level stays common. */
  child(fields: LogFields): Log;
  /** Whether a line of this level would be written: ask before building costly fields. */
  enabled(level: LogLevel): boolean;
  /** Reading gives the level in force; writing changes it for this log, its parents and its children. */
  level: LogLevel;
}

/** Where lines go; a stream, or anything with write. */
export interface LogDestination {
  write(line: string): unknown;
}

/**
 * Makes the log of a component.
 * @param options.name  the component's name (NSM_NAME)
 * @param options.destination  default: standard error, written synchronously so that nothing is lost on a crash
 */
export function createLog(options: { name: string; level?: LogLevel; destination?: LogDestination }): Log {
  const destination = options.destination ?? { write: (line: string): void => writeAll(2, line) };
  const shared: Shared = { rank: logLevels.indexOf(options.level ?? "info"), write: (line) => destination.write(line) };
  return withFields({ component: options.name }, shared);
}

/** A log that writes nothing; for tests and tools. */
export const silentLog: Log = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
  enabled: () => false,
  get level(): LogLevel {
    return "error";
  },
  set level(_level: LogLevel) {},
};

export function parseLogLevel(text: string): LogLevel | undefined {
  const wanted = text.trim().toLowerCase();
  // logrus has two more words for the ends of the scale (upstream's NSM_LOG_LEVEL)
  if (wanted === "warning") return "warn";
  if (wanted === "fatal" || wanted === "panic") return "error";
  return logLevels.find((level) => level === wanted);
}

/** Plain fields for an error: text, gRPC code, errno, causes; the stack only where it helps (our own bugs). */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const fields: Record<string, unknown> = { message: error.message };
  const { code } = error as { code?: unknown };
  if (typeof code === "number") fields["code"] = codeName(code);
  else if (code !== undefined) fields["code"] = code;
  if (!isStatusError(error) && !isGrpcAnswer(error)) fields["stack"] = error.stack;
  // the gRPC library's error behind ours says the same again
  if (error.cause !== undefined && !isGrpcAnswer(error.cause)) fields["cause"] = describeError(error.cause);
  return fields;
}

/** A status that came over the wire, as @grpc/grpc-js throws it: its stack is the library's and says nothing. */
function isGrpcAnswer(error: unknown): boolean {
  const { code, details } = error as { code?: unknown; details?: unknown };
  return error instanceof Error && typeof code === "number" && typeof details === "string" && !isStatusError(error);
}

/** What a log has in common with its children. */
interface Shared {
  /** Lines below it are not written: a place in `logLevels`. */
  rank: number;
  readonly write: (line: string) => void;
}

function withFields(own: LogFields, shared: Shared): Log {
  const writer =
    (level: LogLevel, rank: number) =>
    (message: string, fields?: LogFields): void => {
      if (rank < shared.rank) return;
      const line = { level, time: new Date().toISOString(), ...own, ...fields, message };
      shared.write(`${jsonLine(line, describeError)}\n`);
    };
  return {
    trace: writer("trace", 0),
    debug: writer("debug", 1),
    info: writer("info", 2),
    warn: writer("warn", 3),
    error: writer("error", 4),
    child: (fields) => withFields({ ...own, ...fields }, shared),
    enabled: (level) => logLevels.indexOf(level) >= shared.rank,
    get level() {
      return logLevels[shared.rank] ?? "info";
    },
    set level(level) {
      shared.rank = logLevels.indexOf(level);
    },
  };
}
