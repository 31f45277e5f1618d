/** A log whose lines a test can read. */
import { createLog, type Log } from "../../../sdk/telemetry/log.js";

export function createMemoryLog(): { log: Log; lines(): readonly string[] } {
  const lines: string[] = [];
  const log = createLog({ name: "test", level: "trace", destination: { write: (line: string) => lines.push(line) } });
  return { log, lines: () => lines };
}
